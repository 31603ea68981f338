"""Reading frames by key, from folders, videos or LMDB, in any process; files and LMDB through BasicSR's FileClient."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils import FileClient

from ..priors.lmdb_env import truncated_to
from ..utils.errors import MissingError, UserError, short_of_memory
from ..utils.files import why_no_file
from .found_clips import check_video_name, videos_below
from .images import IMAGE_SUFFIXES, MAX_MEGAPIXELS, DamagedImageError, decode
from .videos import close_videos, read_video_frame

# One client for each LMDB and process, shared by all data sets: LMDB refuses to open an environment twice. The client
# opens it, not SharedReadEnv: io_backend may hold any argument of lmdb.open, as it may for BasicSR's own data sets.
_lmdb_clients: dict[str, tuple[int, FileClient]] = {}


class FrameReader:
    """Frames below one root, by key.

    Opens nothing before the first frame is read and holds no open file of its own, so it may be pickled to a spawned
    worker or inherited by a forked one at any time.

    Args:
        root: Folder of clip folders and videos, one video file, or an LMDB folder.
        io_backend: ``{'type': 'disk'}`` or ``{'type': 'lmdb'}`` with further arguments for BasicSR's backend. Copied.
        option: Name of the option that gave ``root``, for messages.
        max_megapixels: Larger frames are not decoded.
        deep: Images of 16 bits keep them.

    Raises:
        UserError: ``root`` does not exist or does not fit the backend, or the backend is unknown.
    """

    def __init__(
        self,
        root: str | Path,
        io_backend: Mapping[str, Any],
        option: str,
        max_megapixels: float = MAX_MEGAPIXELS,
        deep: bool = False,
    ) -> None:
        self.root = Path(root)
        self.max_megapixels, self.deep = max_megapixels, deep
        self.option = option
        self.backend = str(io_backend.get('type'))
        self._arguments = {key: value for key, value in io_backend.items() if key != 'type'}
        self._suffix = IMAGE_SUFFIXES[0]
        if self.backend not in ('disk', 'lmdb'):
            raise UserError(f"io_backend: type is '{self.backend}'. Choose disk (folders of images, videos) or lmdb.")
        if self.backend == 'disk' and self._arguments:
            raise UserError(f"io_backend: type disk takes no '{next(iter(self._arguments))}'.")
        if self.backend == 'disk' and self.root.is_file():
            check_video_name(self.root, f'{option}: ')
        elif not self.root.is_dir() and not self.root.is_file():
            raise UserError(
                f"{option}: there is no folder '{root}'" + (', nor a video.' * (self.backend == 'disk') or '.')
            )
        is_lmdb = (self.root / 'data.mdb').is_file()
        if self.backend == 'lmdb' and not is_lmdb:
            raise MissingError(
                f"{option}: '{root}' is not an LMDB folder (it has no data.mdb). Give one, or set io_backend: type to "
                'disk for a folder of images, or a video.',
                'clips',
                source=root,
            )
        if self.backend == 'disk' and is_lmdb:
            raise UserError(f"{option}: '{root}' is an LMDB folder. Set io_backend: type to lmdb.")

    def read(self, key: str) -> np.ndarray:
        """Read a frame.

        Args:
            key: ``clip/frame`` without extension, as '000/00000000'.

        Returns:
            (h, w, 3) BGR, uint8; uint16 for images of 16 bits, where ``deep``.

        Raises:
            UserError: No such frame, or a damaged one; names the file or the LMDB and the key.
        """
        found = self._image(key)
        if found is None:
            if (video := self._videos.get(key.rpartition('/')[0])) is not None:
                return self._video_frame(video, key)
            raise UserError(f'{self.option}: there is no frame {self.root / key}.* {self._what_is_there(key)}')
        content, place = found
        try:
            return decode(content, self.max_megapixels, self.deep)
        except DamagedImageError as error:
            raise UserError(f'{self.option}: {place} cannot be used: {error}. Replace it from the source.') from error

    def content(self, key: str) -> bytes | None:
        """The bytes of an image as they lie there; None for a frame of a video.

        Raises:
            UserError: It is there and cannot be read.
        """
        found = self._image(key)
        return None if found is None else found[0]

    def close(self) -> None:
        """Close the LMDB or the videos in this process, for all data sets; the next read opens them again."""
        if '_videos' in vars(self):
            close_videos(self._videos.values())
        held = _lmdb_clients.pop(str(self.root.resolve()), None)
        if held is not None:
            _close_lmdb(held[1])

    @cached_property
    def _videos(self) -> dict[str, Path]:
        """The videos below the root, by the names of their clips."""
        return videos_below(self.root)

    def _video_frame(self, video: Path, key: str) -> np.ndarray:
        name = key.rpartition('/')[2]
        if re.fullmatch('[0-9]{8,10}', name) is None:
            raise UserError(
                f"{self.option}: '{video}' has no frame '{name}'. Frames of videos are called 00000000, 00000001, ...."
            )
        try:
            return read_video_frame(video, int(name), self.max_megapixels)
        except DamagedImageError as error:
            raise UserError(
                f"{self.option}: frame '{name}' of '{video}' cannot be read: {error}. Replace the video."
            ) from error

    def _image(self, key: str) -> tuple[bytes, str] | None:
        return self._lmdb_value(key) if self.backend == 'lmdb' else self._file(key)

    def _file(self, key: str) -> tuple[bytes, str] | None:
        """The content of an image and its place; None where there is none of that name."""
        if not (self.root / key).parent.is_dir():
            return None
        # Frames of one root nearly always share their extension, so the last one that worked is tried first.
        suffixes = [self._suffix, *(s for s in (*IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES)) if s != self._suffix)]
        client = FileClient('disk', **self._arguments)
        for suffix in suffixes:
            path = self.root / f'{key}{suffix}'
            if (wrong := why_no_file(path)) is not None:
                if path.exists() or path.is_symlink():
                    raise UserError(f'{self.option}: {path} cannot be used: {wrong}.')
                continue
            try:
                content = client.get(path)
            except OSError as error:
                raise UserError(f'{self.option}: {path} cannot be read: {error.strerror}.') from error
            self._suffix = suffix
            return content, str(path)
        return None

    def _what_is_there(self, key: str) -> str:
        folder = (self.root / key).parent
        if not folder.is_dir():
            return f"(there is not even a folder '{folder}')."
        names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not names:
            return '(the folder holds no images).'
        return f'(the folder holds {len(names)} images, {names[0]} to {names[-1]}).'

    def _lmdb_value(self, key: str) -> tuple[bytes, str]:
        import lmdb

        try:
            content = self._lmdb_client().get(key)
        except lmdb.Error as error:
            advice = '' if short_of_memory(error) else ' Make it again.'
            raise UserError(f"{self.option}: the LMDB '{self.root}' cannot be read: {error}.{advice}") from error
        except UnicodeEncodeError as error:
            raise UserError(
                f"{self.option}: the key '{key}' has letters that BasicSR's LMDB keys cannot have."
            ) from error
        if content is None:
            raise UserError(
                f"{self.option}: the LMDB '{self.root}' has no key '{key}'. Is the meta info that of this LMDB, "
                'and was it completed? Running the command that made it again completes it.'
            )
        return content, f"key '{key}' of the LMDB '{self.root}'"

    def _lmdb_client(self) -> FileClient:
        path = str(self.root.resolve())
        owner, client = _lmdb_clients.get(path, (None, None))
        if client is not None and owner == os.getpid():
            return client
        if client is not None:
            _close_lmdb(client)  # inherited from the process that forked this one; not ours to read with
        client = FileClient('lmdb', db_paths=path, client_keys='default', **self._arguments)
        self._check_whole(client.client._client['default'])
        _lmdb_clients[path] = (os.getpid(), client)
        return client

    def _check_whole(self, environment: Any) -> None:
        if (sizes := truncated_to(environment, self.root)) is not None:
            environment.close()
            raise UserError(
                f"{self.option}: the LMDB '{self.root}' is truncated: data.mdb has {sizes[0]} of {sizes[1]} bytes. "
                'Copy it again, or make it again.'
            )


def _close_lmdb(client: FileClient) -> None:
    for environment in client.client._client.values():
        environment.close()
