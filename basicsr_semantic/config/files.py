"""Files and folders that an option file names and that are not there, with the command that would make them."""

from __future__ import annotations

import inspect
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
EXTRACT_COMMAND = 'basicsr extract --extractor {extractor} --frames {frames} --out {store}'
EXTRACT_REGIONS = '(or --extractor regions, which needs no weights)'


def check_dataset_files(report: Report, path: tuple[str, ...], dataset: Mapping[str, Any]) -> None:
    """Check the data roots, the meta info file and the annotations of a data set section."""
    for key, value in dataset.items():
        if not isinstance(value, str) or not isinstance(key, str) or _path(value).exists():
            continue
        if key.startswith('dataroot') or key == 'annotation_file':
            message = f"The {'folder' if key.startswith('dataroot') else 'file'} '{value}' does not exist."
            report.add((*path, key), message, _how_to_make(report, key, value, dataset), missing_file=True)
        elif key.startswith('meta_info') and shipped_meta_info(value) is None:
            shipped = sorted(entry.name for entry in META_INFO_FOLDER.glob('*.txt'))
            near = nearest(Path(value).name, shipped, 0.8)
            advice = f'Did you mean basicsr/data/meta_info/{near}, which comes with this package?' if near else ''
            report.add((*path, key), f"The file '{value}' does not exist.", advice, missing_file=True)


def _how_to_make(report: Report, key: str, root: str, dataset: Mapping[str, Any]) -> str:
    """What to type. An option file may say it itself in ``prepare``."""
    made_with_the_clips = key != 'dataroot_priors' or not dataset.get('with_features')
    if Path(root).as_posix().startswith(DEMO_FOLDER) and made_with_the_clips:
        return f'Make the demo clips with: {DEMO_COMMAND}'
    if key == 'dataroot_priors':
        frames = dataset.get('dataroot_lq') or dataset.get('dataroot_gt') or 'FRAMES'
        extractor = _extractor(report, root, dataset)
        command = EXTRACT_COMMAND.format(extractor=extractor, frames=frames, store=root)
        return f'Extract the priors with: {command}' + (f' {EXTRACT_REGIONS}' if extractor == 'sam' else '')
    if isinstance(dataset.get('prepare'), str) and dataset['prepare']:
        return f'Make it with: {dataset["prepare"].replace("{folder}", str(Path(root).parent))}'
    if 'Clip' in str(dataset.get('type')) or root.endswith('.lmdb'):
        parent = Path(root).parent
        return f'Make it from frames or videos with: {PREPARE_COMMAND.format(folder=parent)}'
    return 'Give the folder of your data; datasets/README.md shows the layout.'


def _extractor(report: Report, root: str, dataset: Mapping[str, Any]) -> str:
    """The extractor for the kind of priors that the data set asks for, with the arguments it cannot do without."""
    kind = dataset.get('prior_kind') or 'sam'
    if kind == 'annotations':
        return f'annotations --annotations {Path(root).parent / "instances.json"}'
    if kind in ('xdecoder', 'openseed'):
        return f'{kind} {_flags(kind, report.opt.get("network_s"), dataset.get("with_features"))}'
    return str(kind)


def _flags(kind: str, frozen: Any, with_features: Any) -> str:
    """What section ``network_s`` says about the extraction, less what is the extractor's default anyhow."""
    from ..extractors import extractor_class

    section = frozen if isinstance(frozen, Mapping) and frozen.get('type') == kind else {}
    files = ['checkpoint', 'text_embeddings' if kind == 'openseed' else 'instance_checkpoint']
    if kind == 'xdecoder' and section.get('instance_source', 'vita') != 'vita':
        files.pop()
    flags = [f'--{name.replace("_", "-")} {section.get(name) or name.upper()}' for name in files]
    parameters = inspect.signature(extractor_class(kind)).parameters
    for name in ('instance_source', 'short_side', 'max_instances', 'score_threshold', 'num_tokens'):
        default = parameters[name].default if name in parameters else None
        value = section.get(name, default)
        if value != default:
            flags.append(f'--{name.replace("_", "-")} {0 if value is None else value}')
    return ' '.join([*flags, '--pixel-features'] if kind == 'xdecoder' and with_features else flags)


def check_weight_files(report: Report, path: tuple[str, ...], section: Mapping[str, Any]) -> None:
    """Check the checkpoints of section ``path`` (pretrain_*, resume_state) or of a network (*_path)."""
    for key, value in section.items():
        if not isinstance(value, str) or not isinstance(key, str) or not value:
            continue
        named = key.startswith('pretrain') or key in ('resume_state', 'text_embeddings')
        is_file = named or (path != ('path',) and key.endswith('_path'))
        file = _path(value)
        if is_file and file.is_dir():
            report.add((*path, key), f"'{value}' is a folder.", 'Give a file in it.')
        elif is_file and not file.exists():
            folder = file.parent
            near = nearest(Path(value).name, [e.name for e in folder.iterdir()]) if folder.is_dir() else None
            if value.lower() == 'none':
                advice = 'Write ~ for no file.'
            elif near:
                advice = f'Did you mean {folder / near}?'
            else:
                general = _of_a_run(report, value) or 'Give the path of the file, or ~ for none.'
                advice = _REMEDIES.get(key, general).format(value=value)
            report.add((*path, key), f"The file '{value}' does not exist.", advice, missing_file=True)


def _of_a_run(report: Report, file: str) -> str | None:
    """How to make ``experiments/RUN/models/FILE``: by the option file of that name in the folder of this one."""
    parts = Path(file).parts
    if 'models' not in parts[-2:-1] or len(parts) < 3 or parts[-3] == 'pretrained_models':
        return None
    option_file = Path(report.file).parent / f'{parts[-3]}.yml'
    how = f': basicsr train -opt {option_file}' if option_file.is_file() else '.'
    return f'The run {parts[-3]} writes it{how}'


def check_source_files(report: Report, path: tuple[str, ...], section: Mapping[str, Any], online: bool) -> None:
    """Check the checkpoints of the frozen extractor; that of single frames is needed ``online`` only."""
    remedies = {
        'checkpoint': 'Give the released file of X-Decoder, or net_f_*.pth of a stage 1 that trained it.',
        'text_embeddings': 'Make it with: python tools/make_text_embeddings.py OPENSEED --tokenizer FOLDER --classes '
        'coco_panoptic --out FILE',
        'instance_checkpoint': 'Stage 1 trains it: basicsr train -opt options/semantic_lens/stage1_*.yml',
    }
    if section.get('type') == 'openseed':
        remedies['checkpoint'] = 'Give the released file of OpenSeeD, model_state_dict_swint_51.2ap.pt.'
    for key, remedy in remedies.items():
        value = section.get(key)
        needed = online or key == 'instance_checkpoint'
        if needed and isinstance(value, str) and value and not _path(value).exists():
            report.add((*path, key), f"The file '{value}' does not exist.", remedy, missing_file=True)


def check_metric_files(report: Report, path: tuple[str, ...], section: Mapping[str, Any]) -> None:
    """Check the local copies of weights (``weights``, ``*_weights``) that a metric is given."""
    for key, value in section.items():
        is_file = isinstance(key, str) and (key == 'weights' or key.endswith('_weights'))
        if is_file and isinstance(value, str) and value and not _path(value).exists():
            advice = 'Write ~ to download the official file once; docs/metrics.md names it.'
            report.add((*path, key), f"The file '{value}' does not exist.", advice, missing_file=True)


#: What to do about a missing file that comes from somewhere certain.
_REMEDIES = {
    'pretrain_frame_decoder': (
        'Put the released file of X-Decoder there (model zoo of https://github.com/microsoft/X-Decoder), or train the '
        'frame decoder, too: train:trainable: [frame_decoder, instance].'
    ),
    'text_embeddings': (
        'Make it with: python tools/make_text_embeddings.py XDECODER --tokenizer FOLDER --classes ytvis2019 (or '
        'ytvis2021) --out {value}; or do without the similarity loss: ~ and train:instance_opt:sim_weight: 0.'
    ),
}


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111
