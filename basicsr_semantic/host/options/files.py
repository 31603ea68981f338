"""Files and folders that an option file names and that are not there, with the command that would make them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .prepare import META_INFO_FOLDER, shipped_meta_info
from .problems import nearest
from .report import Report

DEMO_FOLDER = 'datasets/demo'
DEMO_COMMAND = 'make demo-data'
PREPARE_COMMAND = 'basicsr prepare clips FRAMES_OR_VIDEOS {folder}'
EXTRACT_COMMAND = 'basicsr extract --extractor sam --frames {frames} --out {store}'
EXTRACT_REGIONS = '(or --extractor regions, which needs no weights)'


def check_dataset_files(report: Report, path: tuple[str, ...], dataset: Mapping[str, Any]) -> None:
    """Check the data roots and the meta info file of a data set section."""
    for key, value in dataset.items():
        if not isinstance(value, str) or not isinstance(key, str) or _exists(value):
            continue
        if key.startswith('dataroot'):
            message = f"The folder '{value}' does not exist."
            report.add((*path, key), message, _how_to_make(key, value, dataset), missing_file=True)
        elif key.startswith('meta_info') and shipped_meta_info(value) is None:
            shipped = sorted(entry.name for entry in META_INFO_FOLDER.glob('*.txt'))
            near = nearest(Path(value).name, shipped, 0.8)
            advice = f'Did you mean basicsr/data/meta_info/{near}, which comes with this package?' if near else ''
            report.add((*path, key), f"The file '{value}' does not exist.", advice, missing_file=True)


def _how_to_make(key: str, root: str, dataset: Mapping[str, Any]) -> str:
    if Path(root).as_posix().startswith(DEMO_FOLDER):
        return f'Make the demo clips with: {DEMO_COMMAND}'
    if key == 'dataroot_priors':
        frames = dataset.get('dataroot_lq') or dataset.get('dataroot_gt') or 'FRAMES'
        return f'Extract the priors with: {EXTRACT_COMMAND.format(frames=frames, store=root)} {EXTRACT_REGIONS}'
    if 'Clip' in str(dataset.get('type')) or root.endswith('.lmdb'):
        parent = Path(root).parent
        return f'Make it from frames or videos with: {PREPARE_COMMAND.format(folder=parent)}'
    return 'Give the folder of your data; datasets/README.md shows the layout.'


def check_weight_files(report: Report, path: tuple[str, ...], section: Mapping[str, Any]) -> None:
    """Check the checkpoints of section ``path`` (pretrain_*, resume_state) or of a network (*_path)."""
    for key, value in section.items():
        if not isinstance(value, str) or not isinstance(key, str) or not value:
            continue
        is_file = key.startswith('pretrain') or key == 'resume_state' or (path != ('path',) and key.endswith('_path'))
        if is_file and not _exists(value):
            folder = Path(os.path.expanduser(value)).parent  # noqa: PTH111
            near = nearest(Path(value).name, [e.name for e in folder.iterdir()]) if folder.is_dir() else None
            if value.lower() == 'none':
                advice = 'Write ~ for no file.'
            else:
                advice = f'Did you mean {folder / near}?' if near else 'Give the path of the file, or ~ for none.'
            report.add((*path, key), f"The file '{value}' does not exist.", advice, missing_file=True)


def _exists(path: str) -> bool:
    return Path(os.path.expanduser(path)).exists()  # noqa: PTH111
