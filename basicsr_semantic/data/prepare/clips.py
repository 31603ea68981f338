"""Folders of frames and videos to pairs of LMDBs: resumable, checked, the same whether interrupted or not."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ...priors.lmdb_env import SharedReadEnv, lmdb_errors
from ...utils.errors import MissingError, UserError, short_of_memory
from ...utils.files import write_whole
from ...utils.names import as_text
from ..clip_folders import part_name
from ..degradations import check_degradation, degrade, mod_crop
from ..found_clips import old_name
from ..images import MAX_MEGAPIXELS, DamagedImageError, encode_png
from .input import RawFrame, SourceClip, VideoClip, find_source_clips
from .output import (
    MANIFEST,
    SIDES,
    UNFINISHED,
    PairWriter,
    Prepared,
    PreparedClip,
    checksum,
    frame_key,
    only_writer,
)

Pair = tuple[bytes, bytes]


def prepare_clips(
    source: Path,
    target: Path,
    degradation: str = 'BI',
    scale: int = 4,
    strict: bool = False,
    workers: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Prepared:
    """Write ``target/gt.lmdb``, ``target/lq.lmdb``, ``target/meta_info.txt`` and ``target/manifest.json``.

    GT are the frames as 8-bit PNG, cut to multiples of the scale; LQ is made from them. Keys are ``clip/00000000``,
    the same in both. A run that was interrupted, at any moment, is continued by the same call, with the same result
    as one that was not; lists and manifest come last, and ``unfinished.json`` is there until they do. A clip whose
    files have changed is made again; new clips are added.

    Frames that are damaged or of another size than their clip's are not written; the clip is cut there (the manifest's
    ``cut_rule`` says how) and they are listed in its ``skipped``.

    Args:
        source: Folder of frame folders or videos (see ``find_source_clips``), or one video.
        target: Output folder; made if absent.
        degradation: ``BI``, ``BD`` or ``BD_DUF``.
        scale: Downsampling factor.
        strict: Refuse anything that would be skipped.
        workers: Threads that decode, degrade and encode; None takes the number of CPUs, at most 8.
        max_megapixels: Frames that their headers say to be larger are not decoded and count as damaged.

    Returns:
        What is in the manifest.

    Raises:
        UserError: Nothing usable in the source, a target made from other clips or with other parameters, a frame
            refused by ``strict``, a full disk, a folder that cannot be written, or one in which another call prepares.
    """
    check_degradation(degradation, scale)
    with only_writer(target):
        clips, left_out = find_source_clips(source, max_megapixels)
        return prepare_found(source, clips, left_out, target, degradation, scale, strict, workers)


def prepare_found(
    source: Path,
    clips: Sequence[SourceClip],
    left_out: Sequence[tuple[str, str]],
    target: Path,
    degradation: str,
    scale: int,
    strict: bool,
    workers: int | None,
) -> Prepared:
    """``prepare_clips`` of clips that are found already, with the folders that are left out and why.

    The caller must be the :func:`only_writer` of ``target``.
    """
    check_degradation(degradation, scale)
    _keep_old_names(clips, target)
    wanted = Prepared(
        source=as_text(str(source.resolve())),
        parameters={'degradation': degradation, 'scale': scale},
        fingerprints={clip.name: clip.fingerprint() for clip in clips},
    )
    if strict and left_out:
        name, reason = left_out[0]
        raise UserError(f"--strict: '{source / name}': {reason}. Remove it, or run without --strict.")
    changed, finished = _compare(wanted, target)
    if finished is not None:
        if strict and finished.skipped:
            first = finished.skipped[0]
            raise UserError(
                f"--strict: '{target}' was prepared without {len(finished.skipped)} that could not be used; the first "
                f'is {first["source"]}: {first["reason"]}.'
            )
        return finished
    begun = any((target / name).is_file() for name in (UNFINISHED, MANIFEST))
    with lmdb_errors(target, 'write to'):
        target.mkdir(parents=True, exist_ok=True)
        write_whole(target / UNFINISHED, wanted.to_json().encode())
        for stale in (MANIFEST, *wanted.lists()):
            (target / stale).unlink(missing_ok=True)

    writer = PairWriter(target)
    try:
        writer.keep_only({key for key in writer.present if not changed.intersection(_clips_of_key(key))})
        wanted.skipped += [{'source': folder, 'reason': reason} for folder, reason in left_out]
        _write_clips(clips, wanted, writer, strict, workers or min(os.cpu_count() or 1, 8))
        writer.flush()
        writer.keep_only(set(wanted.keys()))
    finally:
        writer.close()
    if not wanted.clips:
        if not begun:  # or the folder would be that of this source from now on
            _remove_made(target)
        first = wanted.skipped[0]
        raise UserError(f"No frame of '{source}' can be used. {first['source']}: {first['reason']}.")
    for name, text in wanted.lists().items():
        write_whole(target / name, text.encode())
    write_whole(target / MANIFEST, wanted.to_json().encode())
    (target / UNFINISHED).unlink()
    return wanted


def _remove_made(target: Path) -> None:
    for side in SIDES:
        shutil.rmtree(target / f'{side}.lmdb', ignore_errors=True)
    (target / UNFINISHED).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # what else is in it is not ours
        target.rmdir()


def verify_clips(target: Path) -> Prepared:
    """Read every frame again and compare it with the manifest, and the lists too.

    Returns:
        The manifest.

    Raises:
        UserError: The preparation is not finished, or something differs; names up to ten frames.
    """
    if not (target / MANIFEST).is_file():
        state = 'is not finished' if (target / UNFINISHED).is_file() else 'has no manifest.json'
        raise MissingError(f"'{target}' {state}. Prepare it of its source folder first.", 'clips', folder=target)
    prepared = Prepared.from_json(target / MANIFEST)
    wrong = [f'{name} differs from the manifest' for name in _wrong_lists(target, prepared)]
    with tqdm(total=2 * prepared.frames, unit='frame', desc='Verify') as bar:
        for side in SIDES:
            wrong += _verify_lmdb(target / f'{side}.lmdb', prepared, side, bar)
    if wrong:
        listed = '\n  '.join(wrong[:10] + ([f'and {len(wrong) - 10} more'] if len(wrong) > 10 else []))
        raise UserError(
            f"'{target}' is damaged in {len(wrong)} places:\n  {listed}\nDelete the folder and prepare the clips again."
        )
    return prepared


def _wrong_lists(target: Path, prepared: Prepared) -> list[str]:
    """Names of the lists that are not there, or not as the manifest has them."""
    lists = {target / name: text for name, text in prepared.lists().items()}
    return [
        path.name
        for path, text in lists.items()
        if not path.is_file() or path.read_text(encoding='utf-8', errors='replace') != text
    ]


def _verify_lmdb(path: Path, prepared: Prepared, side: str, bar: tqdm) -> Iterator[str]:
    shared = SharedReadEnv(path)
    try:
        with lmdb_errors(path, 'read'), shared.get().begin() as transaction:
            for name, clip in prepared.clips.items():
                for number, expected in enumerate(getattr(clip, f'{side}_checksums')):
                    content = transaction.get(frame_key(name, number).encode())
                    if content is None:
                        yield f'{path.name}: {frame_key(name, number)} is missing'
                    elif checksum(content) != expected:
                        yield f'{path.name}: {frame_key(name, number)} has another checksum'
                    bar.update()
            if (entries := transaction.stat()['entries']) > prepared.frames:
                yield f'{path.name} has {entries} keys instead of {prepared.frames}'
    finally:
        shared.close()


def _keep_old_names(clips: Sequence[SourceClip], target: Path) -> None:
    """Let a folder that was begun with names without foreign letters go on with those names."""
    begun = next((target / name for name in (UNFINISHED, MANIFEST) if (target / name).is_file()), None)
    known = Prepared.from_json(begun).fingerprints.keys() if begun is not None else set()
    for clip in clips:
        before = old_name(clip.source.rpartition('.')[0] if isinstance(clip, VideoClip) else clip.source)
        if clip.name not in known and before in known:
            clip.name = before


def _compare(wanted: Prepared, target: Path) -> tuple[set[str], Prepared | None]:
    """What an earlier run left: the clips whose files have changed, and its manifest if nothing is left to do."""
    found = next((target / name for name in (UNFINISHED, MANIFEST) if (target / name).is_file()), None)
    if found is None:
        leftovers = [f'{side}.lmdb' for side in SIDES if (target / f'{side}.lmdb').exists()]
        if leftovers:
            raise UserError(
                f"'{target}' has a {leftovers[0]} but no manifest. Choose a folder that holds no clips yet."
            )
        return set(), None
    earlier = Prepared.from_json(found)
    for key, value in wanted.parameters.items():
        if earlier.parameters.get(key) != value:
            raise UserError(
                f"'{target}' was prepared with --{key} {earlier.parameters.get(key)}, not {value}. Choose another "
                'folder for other clips, or delete it.'
            )
    changed = {name for name, old in earlier.fingerprints.items() if wanted.fingerprints.get(name, old) != old}
    gone = [name for name in earlier.fingerprints if name not in wanted.fingerprints]
    if gone or (changed and earlier.source != wanted.source):
        example = gone[0] if gone else min(changed)
        what = 'it is not there' if gone else 'it has other files'
        raise UserError(
            f"'{target}' was prepared from '{earlier.source}' with the clip '{example}'; in '{wanted.source}' {what}. "
            'Choose another folder for other clips, or delete it.'
        )
    same = not changed and earlier.fingerprints.keys() == wanted.fingerprints.keys()
    return changed, earlier if same and found.name == MANIFEST and _is_whole(target, earlier) else None


def _is_whole(target: Path, prepared: Prepared) -> bool:
    """Whether what a manifest names is there, as far as that shows without reading every frame.

    Raises:
        UserError: An LMDB is damaged.
    """
    for side in SIDES:
        if not (target / f'{side}.lmdb' / 'data.mdb').is_file():
            return False
        shared = SharedReadEnv(target / f'{side}.lmdb')
        try:
            with lmdb_errors(shared.path, 'read'), shared.get().begin() as transaction:
                if transaction.stat()['entries'] != prepared.frames:
                    return False
        finally:
            shared.close()
    return not _wrong_lists(target, prepared)


def _write_clips(
    clips: Sequence[SourceClip], prepared: Prepared, writer: PairWriter, strict: bool, workers: int
) -> None:
    with tqdm(total=sum(map(len, clips)), unit='frame', desc='Prepare') as bar, ThreadPoolExecutor(workers) as pool:
        try:
            for clip in clips:
                _write_clip(clip, prepared, writer, strict, pool, 3 * workers, bar)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_clip(
    clip: SourceClip,
    prepared: Prepared,
    writer: PairWriter,
    strict: bool,
    pool: ThreadPoolExecutor,
    ahead: int,
    bar: tqdm,
) -> None:
    """Write one clip, ``ahead`` frames of which are being made while the first of them is written."""
    part: PreparedClip | None = None
    start = 0  # position at which the current part begins
    waiting: deque[tuple[int, RawFrame, Future[Pair] | None]] = deque()

    def is_there(position: int) -> bool:
        # Right unless a frame still waiting turns out unusable; `finish` looks again when it knows.
        return frame_key(part_name(clip.name, start), position - start) in writer.present

    def finish() -> None:
        nonlocal part, start
        position, frame, future = waiting.popleft()
        key = frame_key(part_name(clip.name, start), position - start)
        try:
            if key in writer.present:
                pair = writer.get(key)
            else:
                pair = future.result() if future is not None else make_pair(frame, **prepared.parameters)
                writer.put(key, pair)
        except (DamagedImageError, OSError) as error:
            if short_of_memory(error):  # not caused by the frame
                raise
            reason = str(error) if isinstance(error, DamagedImageError) else f'it cannot be read: {error.strerror}'
            if strict:
                raise UserError(
                    f'--strict: {frame.label} cannot be used: {reason}. Repair or remove it, or run without --strict '
                    'to cut its clip there. What is already prepared is kept.'
                ) from error
            prepared.skipped.append({'source': frame.label, 'reason': reason})
            part, start = None, position + 1
        else:
            if part is None:
                part = PreparedClip(clip.source, start)
                name = part_name(clip.name, start)
                if name in prepared.fingerprints and name != clip.name:
                    raise UserError(
                        f"The rest of clip '{clip.name}' would be called '{name}', as another clip is. Rename it."
                    )
                prepared.clips[name] = part
            part.add(frame.name, pair)
        bar.update()

    for position, frame in enumerate(clip.frames(lambda position: not is_there(position))):
        future = None if is_there(position) else pool.submit(make_pair, frame, **prepared.parameters)
        waiting.append((position, frame, future))
        if len(waiting) >= ahead:
            finish()
    while waiting:
        finish()


def make_pair(frame: RawFrame, degradation: str, scale: int) -> Pair:
    """The PNGs of a frame at high and low resolution.

    Raises:
        DamagedImageError: The frame is unusable.
        OSError: The file cannot be read.
    """
    gt = mod_crop(frame.load(), scale)
    if not gt.size:
        raise DamagedImageError(f'it is smaller than {scale}x{scale} pixels')
    return encode_png(gt), encode_png(degrade(gt, degradation, scale))


def _clips_of_key(key: str) -> tuple[str, str]:
    """The clip of a key, and the source clip if that is a later part of one."""
    name = key.rpartition('/')[0]
    return name, name.rpartition('_from_')[0]
