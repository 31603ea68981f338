"""What `basicsr prepare clips` writes: two LMDBs of BasicSR's form, their lists, and a manifest that can be checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ...priors.lmdb_env import GrowingEnv
from ...priors.run_lengths import LARGEST_SIDE, is_side
from ...priors.store_layout import decode_key, is_text
from ...utils.errors import UserError, shown
from ...utils.files import remove_leftovers
from ...utils.folder_lock import FolderLock
from ..images import PNG_LEVEL, png_size

FORMAT = 'basicsr_semantic.clips/1'
MANIFEST = 'manifest.json'
UNFINISHED = 'unfinished.json'
SIDES = ('gt', 'lq')
CUT_RULE = (
    "A clip is cut at a frame that cannot be used. The frames before it keep the clip's name; those after it are a "
    'clip of their own, named with the position at which they begin: "bear" without its frame 10 is "bear" (frames 0 '
    'to 9) and "bear_from_00011". So frames within a clip are always consecutive, and key "bear/00000005" is always '
    'frame 5 of bear.'
)

LARGEST_NUMBER = 10**9
"""Of a frame in its source."""
Kind = TypeVar('Kind', str, list, dict)

_KINDS: dict[type, str] = {str: 'text', list: 'a list', dict: 'an object'}
_BATCH_BYTES = 32 << 20
_SEPARATORS = {'gt_checksums': ' ', 'lq_checksums': ' ', 'frame_names': '/'}  # no file name has a '/' in it


@dataclass
class PreparedClip:
    """A clip in the LMDBs.

    Attributes:
        source: Where it comes from, below the source folder.
        first_frame: Position in the source of its first frame.
        gt_size: (height, width) of its high-resolution frames.
        lq_size: The same of its low-resolution frames.
        gt_checksums: 64-bit BLAKE2b of each high-resolution PNG, in order.
        lq_checksums: The same of the low-resolution ones.
        frame_names: Name without extension of the file each frame came from, in order; empty ones for a video.
    """

    source: str
    first_frame: int
    gt_size: list[int] = field(default_factory=list)
    lq_size: list[int] = field(default_factory=list)
    gt_checksums: list[str] = field(default_factory=list)
    lq_checksums: list[str] = field(default_factory=list)
    frame_names: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.gt_checksums)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what there is for each frame is one text, because a list would take one line for each."""
        words = {key: mark.join(getattr(self, key)) for key, mark in _SEPARATORS.items()}
        return {'frames': len(self), **asdict(self), **words}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> PreparedClip:
        """What ``to_dict`` gave.

        Raises:
            ValueError: It is of another form.
            KeyError: Something is missing.
        """
        words = {key: _of_kind(str, key, content[key]).split(mark) for key, mark in _SEPARATORS.items()}
        numbers = {key: len(parts) for key, parts in words.items()} | {'frames': content['frames']}
        if len(set(map(repr, numbers.values()))) > 1:
            raise ValueError(f'a clip has {", ".join(f"{shown(number)} {key}" for key, number in numbers.items())}')
        first = content['first_frame']
        if type(first) is not int or not 0 <= first < LARGEST_NUMBER:
            raise ValueError(f'first_frame must be a whole number from 0 to {LARGEST_NUMBER:,}, not {shown(first)}')
        sizes = [content[f'{side}_size'] for side in SIDES]
        for size in sizes:
            if not isinstance(size, list) or len(size) != 2 or not all(type(s) is int and is_side(s) for s in size):
                raise ValueError(
                    f'gt_size and lq_size must be a height and a width from 1 to {LARGEST_SIDE:,}, not {shown(size)}'
                )
        return cls(_of_kind(str, 'source', content['source']), first, *sizes, **words)

    def add(self, name: str, pair: tuple[bytes, bytes]) -> None:
        """Append the next frame, given as the name of its file and its two PNGs."""
        if not self.gt_checksums:
            self.gt_size, self.lq_size = [list(png_size(content)) for content in pair]
        self.gt_checksums.append(checksum(pair[0]))
        self.lq_checksums.append(checksum(pair[1]))
        self.frame_names.append(name)


@dataclass
class Prepared:
    """All that was prepared: the content of the manifest.

    Attributes:
        source: The source folder.
        parameters: What decides the pixels: degradation and scale.
        fingerprints: Of each clip of the source, by the name it has in the output.
        clips: By name, in order.
        skipped: ``{'source', 'reason'}`` of frames, videos and folders that could not be used.
    """

    source: str
    parameters: dict[str, Any]
    fingerprints: dict[str, str]
    clips: dict[str, PreparedClip] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Number of frames of all clips."""
        return sum(map(len, self.clips.values()))

    def keys(self) -> Iterator[str]:
        """Keys of all frames, the same in both LMDBs."""
        return (frame_key(name, i) for name, clip in self.clips.items() for i in range(len(clip)))

    def digest(self) -> str:
        """Of the keys and values of both LMDBs, in order: equal for equal records, however the files came to be."""
        records = sorted(
            f'{side}/{frame_key(name, number)} {value}\n'
            for name, clip in self.clips.items()
            for side in SIDES
            for number, value in enumerate(getattr(clip, f'{side}_checksums'))
        )
        return hashlib.blake2b(''.join(records).encode(), digest_size=16).hexdigest()

    def to_json(self) -> str:
        """The manifest. It has no dates: equal input gives equal text."""
        content = {
            'format': FORMAT,
            'source': self.source,
            'parameters': self.parameters,
            'counts': {'clips': len(self.clips), 'frames': self.frames, 'skipped': len(self.skipped)},
            'cut_rule': CUT_RULE,
            'skipped': self.skipped,
            'clips': {name: clip.to_dict() for name, clip in self.clips.items()},
            'fingerprints': self.fingerprints,
        }
        return json.dumps(content, indent=1) + '\n'

    @classmethod
    def from_json(cls, path: Path) -> Prepared:
        """Read a manifest, or the note of an unfinished run.

        Raises:
            UserError: The file is damaged or of another version.
        """
        try:
            content = _of_kind(dict, 'it', json.loads(path.read_text(encoding='utf-8-sig')))
            form = _of_kind(str, 'format', content['format'])
            if form != FORMAT:
                raise UserError(f"'{path}' is of the format {form[:80]}, not {FORMAT}. Choose a new folder.")
            given = _of_kind(dict, 'clips', content.get('clips', {}))
            clips = {
                _of_kind(str, 'the name of a clip', name): PreparedClip.from_dict(_of_kind(dict, shown(name), one))
                for name, one in given.items()
            }
            parameters, fingerprints = (_of_kind(dict, key, content[key]) for key in ('parameters', 'fingerprints'))
            for name, one in fingerprints.items():
                _of_kind(str, f'the fingerprint of {shown(name)}', one)
            skipped = _of_kind(list, 'skipped', content.get('skipped', []))
            for one in skipped:
                for key in ('source', 'reason'):
                    _of_kind(str, f'{key} of a skipped frame', _of_kind(dict, 'a skipped frame', one)[key])
            source = _of_kind(str, 'source', content['source'])
            return cls(source, parameters, fingerprints, clips, skipped)
        except (ValueError, KeyError, OSError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            why = f'{error} is missing' if isinstance(error, KeyError) else error
            raise UserError(
                f"'{path}' is damaged ({why}). Delete '{path.parent}' and prepare the clips again."
            ) from error

    def lists(self) -> dict[str, str]:
        """The text files next to the manifest, by relative path: BasicSR's meta info of clips and of LMDB keys."""
        lists = {'meta_info.txt': ''.join(f'{n} {len(c)} {_shape(c.gt_size)}\n' for n, c in self.clips.items())}
        for side in SIDES:
            sizes = (
                (name, i, _shape(getattr(c, f'{side}_size'))) for name, c in self.clips.items() for i in range(len(c))
            )
            lines = [f'{frame_key(name, i)}.png {shape} {PNG_LEVEL}\n' for name, i, shape in sizes]
            lists[f'{side}.lmdb/meta_info.txt'] = ''.join(lines)
        return lists


class PairWriter:
    """The two LMDBs, written in batches of whole pairs; what is written survives a killed process.

    Args:
        folder: Where ``gt.lmdb`` and ``lq.lmdb`` are or will be.

    Raises:
        UserError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._envs = [GrowingEnv(folder / f'{side}.lmdb') for side in SIDES]
        # A pair counts once both halves are there: a kill between the two commits leaves a half, which is made again.
        self.present = set.intersection(*(self._keys(env) for env in self._envs))
        self._pending: list[tuple[str, tuple[bytes, bytes]]] = []
        self._bytes = 0

    def put(self, key: str, pair: tuple[bytes, bytes]) -> None:
        """Write a pair of PNGs, now or with the next ones."""
        self._pending.append((key, pair))
        self._bytes += sum(map(len, pair))
        if self._bytes >= _BATCH_BYTES:
            self.flush()

    def get(self, key: str) -> tuple[bytes, bytes]:
        """The pair of a key that is ``present``."""
        gt, lq = (env.read(lambda transaction: transaction.get(key.encode())) for env in self._envs)
        assert gt is not None and lq is not None, f'{key} is not present'
        return bytes(gt), bytes(lq)

    def flush(self) -> None:
        """Write what is pending, durably.

        Raises:
            UserError: The disk is full, or became read-only.
        """
        for side, env in enumerate(self._envs):
            env.write(lambda transaction, side=side: self._put_all(transaction, side), self._bytes)
        self.present.update(key for key, _ in self._pending)
        self._pending, self._bytes = [], 0

    def keep_only(self, keys: set[str]) -> None:
        """Delete every other key, as of clips whose source changed."""
        for env in self._envs:
            stale = self._keys(env) - keys
            if stale:
                env.write(lambda transaction, stale=stale: [transaction.delete(key.encode()) for key in stale])
        self.present &= keys

    def close(self) -> None:
        """Close both; pending pairs are dropped."""
        for env in self._envs:
            env.close()

    @staticmethod
    def _keys(env: GrowingEnv) -> set[str]:
        return env.read(lambda transaction: _all_keys(transaction, env.path))

    def _put_all(self, transaction: Any, side: int) -> None:
        for key, pair in self._pending:
            transaction.put(key.encode(), pair[side])


def original_keys(lmdb_folder: Path) -> dict[str, str]:
    """What the frames of a prepared LMDB were called in their source, as annotations made for the source name them.

    Args:
        lmdb_folder: ``DST/gt.lmdb`` or ``DST/lq.lmdb``.

    Returns:
        Key -> clip/frame below the source folder, as 'bear_from_00011/00000000' -> 'bear/00011'; without frames of
        videos, and empty for an LMDB without a manifest of ours next to it.

    Raises:
        UserError: The manifest is damaged.
    """
    manifest = lmdb_folder.resolve().parent / MANIFEST
    if lmdb_folder.resolve().name not in {f'{side}.lmdb' for side in SIDES} or not manifest.is_file():
        return {}
    return {
        frame_key(clip_name, number): f'{clip.source}/{name}'
        for clip_name, clip in Prepared.from_json(manifest).clips.items()
        for number, name in enumerate(clip.frame_names)
        if name
    }


def frame_key(clip: str, number: int) -> str:
    """Key of a frame, as 'bear/00000005'."""
    return f'{clip}/{number:08d}'


def checksum(content: bytes) -> str:
    """64-bit BLAKE2b in hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


@contextlib.contextmanager
def only_writer(target: Path) -> Iterator[None]:
    """Prepare in a folder that no other process or thread prepares in; what killed ones left is removed.

    Raises:
        UserError: Another process or thread prepares there.
    """
    lock = FolderLock(target, path=target / '.prepare.lock', otherwise='choose another folder')
    try:
        lock.acquire()
        for folder in (target, *(target / f'{side}.lmdb' for side in SIDES)):
            remove_leftovers(folder)
    except UserError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        # a folder in which no file can be made: writing there gives a better message, and what is finished needs none
    try:
        yield
    finally:
        lock.release()


def _all_keys(transaction: Any, path: Path) -> set[str]:
    return {decode_key(key, path) for key in transaction.cursor().iternext(values=False)}


def _of_kind(kind: type[Kind], what: str, value: Any) -> Kind:
    """A value of a manifest.

    Raises:
        ValueError: It is of another kind.
    """
    if not isinstance(value, kind) or (isinstance(value, str) and not is_text(value)):
        raise ValueError(f'{what} is {shown(value)} instead of {_KINDS[kind]}')
    return value


def _shape(size: list[int]) -> str:
    return f'({size[0]},{size[1]},3)'
