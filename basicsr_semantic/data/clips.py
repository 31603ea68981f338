"""Which clips there are and how their frames are called: from meta info files, LMDB, folders of images and videos."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path

from ..utils.errors import MissingError, UserError
from ..utils.names import as_text
from ..utils.nearest import nearest
from .clip_folders import frame_names_of_folder, image_files, is_image, parts_of_clip
from .clip_lists import read_lmdb_meta_info, read_meta_info, resolve_meta_info
from .found_clips import FoundClip, find_clips, in_order, videos_below
from .images import MAX_MEGAPIXELS, DamagedImageError
from .videos import VideoLength, video_length

VAL_PARTITIONS: dict[str, tuple[str, ...]] = {
    'REDS4': ('000', '011', '015', '020'),
    'official': tuple(f'{clip:03d}' for clip in range(240, 270)),
}

_VIMEO_CLIP = re.compile(r'\d{5}/\d{4}')
_VIMEO_FRAMES = 7


@dataclass(frozen=True)
class Clip:
    """A clip: its name and the names of its frames in order, without extension.

    Attributes:
        name: Folder below the root with '/', as '000' or '00001/0001'; of a later part of a folder, 'bear_from_00011';
            of a video the name that preparation gives it.
        frames: Frame names, as ('00000000', '00000001', ...); those of a video are always of this form.
        part_of: The folder, for such a part.
    """

    name: str
    frames: tuple[str, ...]
    part_of: str | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def folder(self) -> str:
        """Where its frames are below the root: its name, except for a later part."""
        return self.part_of or self.name

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all frames, as '000/00000000': the LMDB key, and the path below the root without extension."""
        return tuple(map(self.key, range(len(self))))

    def key(self, position: int) -> str:
        """Key of the frame at ``position``, counted from 0."""
        return f'{self.folder}/{self.frames[position]}'


class ClipIndex:
    """The clips of a data set, in order.

    Args:
        clips: The clips.
        source: Where they come from, for messages.

    Attributes:
        clips: The clips.
        source: Where they come from.
        remarks: Sentences on videos that are shorter than they announce; filled by ``load``.

    Raises:
        UserError: No clip, or two of one name.
    """

    def __init__(self, clips: Iterable[Clip], source: str) -> None:
        self.clips = tuple(clips)
        self.source = source
        self.remarks: list[str] = []
        self._by_name = {clip.name: clip for clip in self.clips}
        if not self.clips:
            raise UserError(f'{source} has no clips.')
        if len(self._by_name) < len(self.clips):
            seen: set[str] = set()
            twice = next(clip.name for clip in self.clips if clip.name in seen or seen.add(clip.name))
            raise UserError(f"{source} has the clip '{twice}' twice.")

    @classmethod
    def load(
        cls,
        root: str | Path,
        backend: str = 'disk',
        meta_info_file: str | Path | None = None,
        filename_tmpl: str | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> ClipIndex:
        """Find the clips of a data set.

        A line of ``meta_info_file`` is ``000 100 (720,1280,3)`` (BasicSR: clip, frames, shape), ``00001/0001 7
        (256,448,3)``, or a clip's name alone (Vimeo-90K's own ``sep_trainlist.txt``); without a file, all clips below
        ``root`` are taken. The names of the frames are

        - in an LMDB: those of its own ``meta_info.txt``, if it has one;
        - in a video: ``00000000`` and so on, as ``basicsr prepare clips`` calls them, for as many frames as the file
          gives or as can be decoded;
        - else, where the file gives a number of frames: ``filename_tmpl``, by default ``'{:08d}'`` counted from 0, and
          ``im1`` to ``im7`` for clips named as those of Vimeo-90K;
        - else those of the images in the clip's folder, in natural order (2 before 10).

        Where the numbers of a clip's frames jump, it is cut: no clip has a jump in time. Its first part keeps the name.

        Args:
            root: Folder of clip folders and videos, one video file, or LMDB folder.
            backend: ``disk`` or ``lmdb``.
            meta_info_file: The clips to take; a list of BasicSR that does not exist is looked up among ours.
            filename_tmpl: Python format of a frame's name given its number, as ``'{:05d}'``.
            max_megapixels: Videos of larger frames are refused before they are decoded.

        Raises:
            UserError: No clips, or a line, a folder, a video or a template that does not fit; says which.
        """
        listed = None if meta_info_file is None else read_meta_info(resolve_meta_info(meta_info_file))
        source = str(root if meta_info_file is None else meta_info_file)
        root = Path(root)
        if not root.is_dir() and (backend == 'lmdb' or not root.is_file()):
            raise UserError(f"There is no folder '{root}'.")
        if filename_tmpl is not None and (wrong := wrong_template(filename_tmpl)):
            raise UserError(f'filename_tmpl: {wrong}')
        if backend == 'lmdb':
            return cls(_cut(_clips_of_lmdb(root, listed, filename_tmpl)), source)
        remarks: list[str] = []
        if listed is None:
            clips = [_found_clip(one, max_megapixels, remarks) for one in _all_clips(root)]
        else:
            clips = _listed_clips(root, listed, filename_tmpl, max_megapixels, remarks)
        index = cls(_cut(clips), source)
        index.remarks = remarks
        return index

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def __getitem__(self, name: str) -> Clip:
        """The clip of that name; UserError with the nearest name where there is none."""
        if name not in self._by_name:
            near = nearest(name, self._by_name)
            hint = f" Did you mean '{near}'?" if near else f" Its first clip is '{self.clips[0].name}'."
            raise UserError(f"{self.source} has no clip '{name}'.{hint}")
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def without(self, names: Iterable[str]) -> ClipIndex:
        """The other clips; the name of a folder means all its parts.

        Names that are not there are not an error (a partition may be left out already).
        """
        left_out = set(names)
        return ClipIndex(
            (clip for clip in self if left_out.isdisjoint((clip.name, clip.folder))),
            f'{self.source} (less its validation)',
        )

    def only(self, names: Iterable[str]) -> ClipIndex:
        """Only these clips, in the order of the index; the name of a folder means all its parts."""
        wanted = set(names)
        return ClipIndex(
            (clip for clip in self if not wanted.isdisjoint((clip.name, clip.folder))),
            f'{self.source} (validation only)',
        )

    def check_same_frames(self, other: ClipIndex) -> None:
        """Raise UserError unless ``other`` (the GT of these LQ clips, say) has all these clips with the same frames."""
        for clip in self:
            if clip.name not in other:
                raise UserError(f"Clip '{clip.name}' is in {self.source} but not in {other.source}.")
            frames = other[clip.name].frames
            if len(frames) != len(clip):
                raise UserError(
                    f"Clip '{clip.name}' has {len(clip)} frames in {self.source} but {len(frames)} in {other.source}. "
                    'If the first ones belong together, say how many to use in a meta_info_file.'
                )
            for ours, theirs in zip(clip.frames, frames, strict=True):
                if ours != theirs:
                    raise UserError(
                        f"Clip '{clip.name}' calls a frame '{ours}' in {self.source} but '{theirs}' in {other.source}. "
                        'Frames that belong together need the same name.'
                    )

    def check_on_disk(self, root: Path, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        """Find out at the start, not in the middle of a training, that clips are shorter than their list says.

        Args:
            root: Folder of clip folders and videos, or one video file.
            max_megapixels: Videos of larger frames are refused before they are decoded.

        Raises:
            UserError: A folder, a video or a frame of a clip is not there.
        """
        videos = _Videos(root)
        for clip in self:
            folder = root / clip.folder
            if (video := videos.get(clip.folder)) is not None:
                if (frames := _length(video, max_megapixels).frames) < len(clip):
                    raise UserError(
                        f"{self.source} gives the clip '{clip.name}' {len(clip)} frames, but '{video}' has {frames}. "
                        'Correct the list.'
                    )
                continue
            try:
                stored = {entry.name.rpartition('.')[0] for entry in os.scandir(folder) if is_image(entry.name)}
            except OSError as error:
                raise UserError(
                    f"{self.source} names the clip '{clip.name}', but '{folder}': {error.strerror}."
                ) from None
            missing = [frame for frame in clip.frames if frame not in stored]
            if missing:
                more = f' and lacks {len(missing)} in all' if len(missing) > 1 else ''
                raise UserError(
                    f"{self.source} gives the clip '{clip.name}' {len(clip)} frames, but '{folder}', with {len(stored)}"
                    f' images, has no frame {missing[0]}{more}. Complete the folder, or correct the list.'
                )


def val_partition_clips(partition: str) -> tuple[str, ...]:
    """Names of the REDS clips held out for validation: ``REDS4`` (of EDVR) or ``official`` (of the challenge)."""
    if partition not in VAL_PARTITIONS:
        raise UserError(f"val_partition is '{partition}'. Choose one of {', '.join(VAL_PARTITIONS)}.")
    return VAL_PARTITIONS[partition]


def wrong_template(template: str) -> str | None:
    """What is wrong with a ``filename_tmpl``, as a sentence; None if it is a format for the number of a frame."""
    # one number and nothing else: a wider format could ask for gigabytes, or for attributes of the number
    if re.fullmatch(r'[^{}]*\{0?(:0?[0-9]{0,2}d?)?\}[^{}]*', template):
        return None
    return f"'{template[:80]}' is not a format for one number, as '{{:08d}}' is."


@cache
def _frame_names(template: str, count: int) -> tuple[str, ...]:
    return tuple(template.format(number) for number in range(count))


@cache
def _vimeo_names(count: int) -> tuple[str, ...]:
    return tuple(f'im{number}' for number in range(1, count + 1))


def _cut(clips: Iterable[Clip]) -> Iterator[Clip]:
    """Clips without a jump in time."""
    for clip in clips:
        for name, frames in parts_of_clip(clip.name, clip.frames):
            yield clip if frames == clip.frames else Clip(name, frames, clip.name)


def _names_by_rule(name: str, count: int | None, filename_tmpl: str | None) -> tuple[str, ...] | None:
    """Frame names by template or custom; None where the number of frames is unknown."""
    is_vimeo = filename_tmpl is None and _VIMEO_CLIP.fullmatch(name) is not None
    if is_vimeo:
        return _vimeo_names(count or _VIMEO_FRAMES)
    return None if count is None else _frame_names(filename_tmpl or '{:08d}', count)


class _Videos:
    """The videos below a root by the names of their clips; looked for when the first clip has no folder.

    Args:
        root: A folder, or one video file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._found: dict[str, Path] | None = None

    def get(self, name: str) -> Path | None:
        """The video of a clip, None where a folder with images or nothing has its name."""
        with contextlib.suppress(OSError):  # there is no such folder
            if any(is_image(entry.name) for entry in os.scandir(self.root / name)):
                return None
        if self._found is None:
            self._found = videos_below(self.root)
        return self._found.get(name)


def _all_clips(root: Path) -> list[FoundClip]:
    """All clips below a root, in order; what cannot be read is an error."""
    found, left_out = find_clips(root)
    unreadable = next((one for one in left_out if 'cannot be read' in one[1]), None)
    if unreadable is not None:
        raise UserError(f"'{root / unreadable[0]}': {unreadable[1]}. Make it readable, or move it away.")
    return in_order(found, attrgetter('key'))


def _found_clip(found: FoundClip, max_megapixels: float, remarks: list[str]) -> Clip:
    if found.video is None:
        return Clip(found.key, frame_names_of_folder(found.key, list(found.images)))
    return _video_clip(found.key, found.video, None, max_megapixels, remarks)


def _video_clip(name: str, video: Path, count: int | None, max_megapixels: float, remarks: list[str]) -> Clip:
    if count is None:
        length = _length(video, max_megapixels)
        if length.why_short is not None:
            remarks.append(
                f"'{as_text(str(video))}', frame {length.frames}: {length.why_short}. The frames before are used."
            )
        count = length.frames
    return Clip(name, _frame_names('{:08d}', count))


def _length(video: Path, max_megapixels: float) -> VideoLength:
    try:
        return video_length(video, max_megapixels)
    except DamagedImageError as error:
        raise UserError(
            f"'{as_text(str(video))}' cannot be used: {error}. Replace it from the source, or move it away."
        ) from error


def _listed_clips(
    root: Path,
    listed: list[tuple[str, int | None]],
    filename_tmpl: str | None,
    max_megapixels: float,
    remarks: list[str],
) -> list[Clip]:
    videos, clips = _Videos(root), []
    for name, count in listed:
        if (video := videos.get(name)) is not None:
            clips.append(_video_clip(name, video, count, max_megapixels, remarks))
        else:
            clips.append(_listed_clip(root, name, count, filename_tmpl))
    if videos.get(clips[0].name) is None:
        _check_first_folder(root, clips[0])
    return clips


def _listed_clip(root: Path, name: str, count: int | None, filename_tmpl: str | None) -> Clip:
    frames = _names_by_rule(name, count, filename_tmpl)
    if frames is None:
        if not (root / name).is_dir():
            raise UserError(f"The meta info names the clip '{name}', but there is no folder '{root / name}'.")
        frames = frame_names_of_folder(name, image_files(root / name, name))
    return Clip(name, frames)


def _check_first_folder(root: Path, clip: Clip) -> None:
    """Find out at the start, not in a worker an hour later, that a root or a template is wrong."""
    folder = root / clip.name
    if not folder.is_dir():
        raise UserError(f"The meta info begins with the clip '{clip.name}', but there is no folder '{folder}'.")
    images = image_files(folder, clip.name)
    if clip.frames[0] not in {path.stem for path in images}:
        digits = images[0].stem
        template = f"Set filename_tmpl: '{{:0{len(digits)}d}}', or leave" if digits.isdecimal() else 'Leave'
        raise UserError(
            f"Clip '{clip.name}' in '{folder}' should begin with frame '{clip.frames[0]}', but holds {images[0].name} "
            f'to {images[-1].name}. {template} the number of frames out of the meta info file: then the images of '
            'each folder are taken as they are.'
        )


def _clips_of_lmdb(
    root: Path, listed: list[tuple[str, int | None]] | None, filename_tmpl: str | None
) -> Iterator[Clip]:
    found = read_lmdb_meta_info(root) if filename_tmpl is None else None
    if listed is None:
        if found is None:
            raise MissingError(
                f"The LMDB '{root}' has no meta_info.txt with its keys. If the command that makes it was "
                'interrupted, run it again; otherwise give a meta_info_file.',
                'clips',
                folder=root.parent,
            )
        yield from (Clip(name, frames) for name, frames in found.items())
        return
    for name, count in listed:
        if found is None:
            frames = _names_by_rule(name, count, filename_tmpl)
            if frames is None:
                raise UserError(
                    f"How many frames has clip '{name}'? Neither the meta info file says it nor a meta_info.txt in "
                    f"the LMDB '{root}'."
                )
            yield Clip(name, frames)
            continue
        if name not in found:
            near = nearest(name, found)
            hint = f" It has '{near}'." if near else ''
            raise UserError(
                f"The meta info names the clip '{name}', but the LMDB '{root}' has none of that name.{hint}"
            )
        frames = found[name]
        if count is not None and len(frames) < count:
            raise UserError(
                f"The meta info says that clip '{name}' has {count} frames, but the LMDB '{root}' has {len(frames)}."
            )
        yield Clip(name, frames[:count])
