"""Files and folders that an option file names and that are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..utils.errors import shown
from ..utils.files import why_no_file
from .named_weights import named_weights, nearest_name
from .section import Section

META_INFO_FOLDER = Path(__file__).parents[1] / 'data' / 'meta_info'
"""Our copies of BasicSR's lists of clips."""


def shipped_meta_info(path: str) -> Path | None:
    """Our copy of a file ``basicsr/data/meta_info/X.txt`` that is not there.

    BasicSR's option files name its own lists of clips, which its package on PyPI does not have.

    Args:
        path: Value of ``meta_info_file``.

    Returns:
        Our file of that name, or None where the path exists, points elsewhere, or names a list we do not have.
    """
    asked = Path(path)
    if asked.parts[-4:-1] != ('basicsr', 'data', 'meta_info') or os.path.exists(asked):  # noqa: PTH110  (never raises)
        return None
    ours = META_INFO_FOLDER / asked.name
    return ours if ours.is_file() else None


def missing_files(
    path: tuple[str, ...], section: Mapping[str, Any], options: type[Section]
) -> Iterator[tuple[str, str]]:
    """(key, sentence) for what a section names and what is not there; a folder in the place of a file is reported, too.

    Args:
        path: Where the section is: a data set, ``path`` (pretrain_*, resume_state), a network or a metric.
        section: The section.
        options: Its model, which knows the files that a run reads.
    """
    for key, value in section.items():
        if not isinstance(value, str) or not isinstance(key, str):
            continue
        folder = key.startswith('dataroot')
        if path[:1] == ('datasets',):
            named = folder or key == 'annotation_file' or key.startswith('meta_info')
        else:
            named = key.startswith('pretrain') or key in ('resume_state', 'text_embeddings', 'checkpoint', 'weights')
            named |= path != ('path',) and key.endswith(('_path', '_weights', '_checkpoint'))
            named = named and options.reads_file(key, section)
        if not named:
            continue
        if not value:
            if path[:1] == ('datasets',):
                yield key, 'It is empty. Give a path, or ~ for none.'
            continue
        place = Path(value)
        try:
            place = place.expanduser()
            is_folder, is_absent = place.is_dir(), not place.exists() and not place.is_symlink()
        except (OSError, RuntimeError) as error:  # too long a name, circular links, no such user
            yield key, f'{shown(value)} cannot be a path: {getattr(error, "strerror", error)}.'
            continue
        if is_folder and path[:1] != ('datasets',):
            yield key, f"'{value}' is a folder. Give a file in it."
        elif is_absent or '\0' in value:
            weights = None if folder else named_weights(value)
            missing = f"The {'folder' if folder else 'file'} '{value}' does not exist."
            yield key, weights.missing() if weights else missing + ('' if folder else nearest_name(value))
        elif not folder and not is_folder and (wrong := why_no_file(place)) is not None:
            yield key, f"'{value}' cannot be used: {wrong}."
