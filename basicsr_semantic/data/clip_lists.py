"""Text files that list clips: meta info files as BasicSR's, Vimeo-90K's own lists, and the list inside an LMDB."""

from __future__ import annotations

import re
from pathlib import Path

from ..utils.errors import MissingError, UserError, shown
from ..utils.names import wrong_inner_name
from ..utils.nearest import nearest
from .clip_folders import natural_order

META_INFO_FOLDER = Path(__file__).parent / 'meta_info'


def resolve_meta_info(path: str | Path) -> Path:
    """The file, or ours of the same name where ``basicsr/data/meta_info/X.txt`` does not exist.

    BasicSR's option files name lists that its package on PyPI does not contain; ours has those of REDS.

    Raises:
        UserError: Neither is there.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path
    shipped = META_INFO_FOLDER / path.name
    if path.parts[-4:-1] == ('basicsr', 'data', 'meta_info') and shipped.is_file():
        return shipped
    names = sorted(file.name for file in META_INFO_FOLDER.glob('*.txt'))
    near = nearest(path.name, names)
    hint = f"'basicsr/data/meta_info/{near}' is there. " if near else ''
    raise MissingError(
        f"meta_info_file: there is no file '{path}'. {hint}For Vimeo-90K give the sep_trainlist.txt or "
        'sep_testlist.txt that comes with it, for clips of your own the meta_info.txt in the LMDB made of them.',
        'clips',
    )


def read_meta_info(path: Path) -> list[tuple[str, int | None]]:
    """Read a list of clips.

    Args:
        path: Text file; see ``ClipIndex.load`` for its lines. Empty lines are ignored.

    Returns:
        (clip name, number of frames or None) of each line.

    Raises:
        UserError: The file is empty, not text, or a line has another form; names the line.
    """
    listed: list[tuple[str, int | None]] = []
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if not words:
            continue
        if len(words) > 1 and not re.fullmatch('0*[1-9][0-9]{0,5}', words[1]):
            if re.fullmatch('[0-9]+', words[1]):
                raise UserError(
                    f"'{path}', line {number}: a clip has 1 to 999999 frames, not {words[1][:20]}. Is the list damaged?"
                )
            raise UserError(
                f"'{path}', line {number}: {shown(line.strip())} is not of the form 'clip frames (height,width,3)', as "
                "'000 100 (720,1280,3)'. Is it a list of single images?"
            )
        name = words[0].strip('/')
        wrong = wrong_inner_name(name) or (None if name.isprintable() else 'has invisible characters')
        if wrong is not None:
            raise UserError(f"'{path}', line {number}: the clip's name {shown(name)} {wrong}.")
        listed.append((name, int(words[1]) if len(words) > 1 else None))
    if not listed:
        raise UserError(f"The meta info file '{path}' is empty.")
    return listed


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"The meta info file '{path}' is not a text file.") from error


def read_lmdb_sizes(root: Path) -> dict[str, tuple[int, int]]:
    """Clip -> (height, width) of its first frame, as far as the LMDB's meta_info.txt says.

    Args:
        root: Folder of the LMDB; the lines of its meta_info.txt are as '000/00000000.png (720,1280,3) 1'.
    """
    sizes: dict[str, tuple[int, int]] = {}
    path = root / 'meta_info.txt'
    for line in _lines(path) if path.is_file() else ():
        found = re.match(r'(\S+)/\S+ \(([0-9]{1,6}),([0-9]{1,6}),[0-9]{1,6}\)', line)
        if found is not None:
            sizes.setdefault(found[1], (int(found[2]), int(found[3])))
    return sizes


def read_lmdb_meta_info(root: Path) -> dict[str, tuple[str, ...]] | None:
    """Clip -> frame names of an LMDB, in natural order; None without the file.

    Args:
        root: Folder of the LMDB; the lines of its meta_info.txt are as '000/00000000.png (720,1280,3) 1'.

    Raises:
        UserError: The file is not text, or a key is not of the form clip/frame.
    """
    path = root / 'meta_info.txt'
    if not path.is_file():
        return None
    clips: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        name, slash, frame = line.split()[0].rpartition('/')
        if not slash:
            raise UserError(f"'{path}', line {number}: the key '{frame}' is not of the form clip/frame.png.")
        clips.setdefault(name, []).append(frame)
    ordered: dict[tuple[str, ...], tuple[str, ...]] = {}  # tens of thousands of clips name their frames alike
    found = {}
    for name in sorted(clips, key=natural_order):
        files = tuple(clips[name])
        if files not in ordered:
            ordered[files] = tuple(sorted((file.rpartition('.')[0] or file for file in files), key=natural_order))
        found[name] = ordered[files]
    return found
