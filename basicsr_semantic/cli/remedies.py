"""Which command makes what is missing: one table, and the arguments that an option file itself gives."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config.files import META_INFO_FOLDER
from ..config.option_file import OptionFile
from ..config.problems import Problem
from ..utils.errors import What, full_stop, missing_in
from ..utils.nearest import nearest

_DEMO = 'datasets/demo'
_REMEDIES: dict[What, str] = {
    'priors': 'Extract the priors with: basicsr extract --extractor {kind} --frames {frames} --out {store}',
    'tokens': (
        'Extract the priors with: basicsr extract --extractor xdecoder --checkpoint XDECODER --instance-checkpoint '
        'STAGE1 --frames {frames} --out {store}'
    ),
    'features': (
        'Extract the priors with: basicsr extract --extractor openseed --checkpoint OPENSEED --text-embeddings WORDS '
        '--frames {frames} --out {store} (or --extractor xdecoder --pixel-features)'
    ),
    'openseed text': (
        'Make the file with: basicsr prepare text OPENSEED {file} --tokenizer FOLDER --classes coco_panoptic'
    ),
    'xdecoder text': (
        'Make the file with: basicsr prepare text XDECODER {file} --tokenizer FOLDER --classes ytvis2019 (or ytvis2021)'
    ),
    'clips': 'Make the data set of frames or videos with: basicsr prepare clips {source} {folder}',
    'component': '"basicsr components --kind {kind}" lists all; --import adds those of your own modules.',
    'processes': (
        'Start the processes with: torchrun --nproc_per_node=N -m basicsr_semantic {verb} -opt FILE --launcher pytorch'
    ),
}
"""What is missing -> the command that makes, lists or starts it."""
_NOT_KNOWN = {'kind': 'sam|regions|annotations|xdecoder|openseed', 'frames': 'LR_FRAMES', 'store': 'STORE'}
_NOT_KNOWN |= {'file': 'FILE', 'source': 'FRAMES_OR_VIDEOS', 'folder': 'FOLDER', 'verb': 'train'}
"""The placeholder in a command for a value that an error does not know."""

_STAGE_ONE = 'Stage 1 trains it: basicsr train -opt options/semantic_lens/stage1_*.yml'
_MISSING_FILES = {
    ('network_s', 'checkpoint', 'openseed'): 'Give the released file of OpenSeeD, model_state_dict_swint_51.2ap.pt.',
    ('network_s', 'checkpoint', 'xdecoder'): (
        'Give the released file of X-Decoder, or net_f_*.pth of a stage 1 that trained it.'
    ),
    ('network_s', 'text_embeddings', 'openseed'): _REMEDIES['openseed text'],
    ('network_s', 'instance_checkpoint', 'xdecoder'): _STAGE_ONE,
    ('network_s', 'instance_checkpoint', 'stored_tokens'): _STAGE_ONE,
    ('path', 'pretrain_frame_decoder', None): (
        'Put the released file of X-Decoder there (model zoo of https://github.com/microsoft/X-Decoder), or train the '
        'frame decoder, too: train:trainable: [frame_decoder, instance].'
    ),
    ('frame_decoder', 'text_embeddings', 'xdecoder'): (
        f'{_REMEDIES["xdecoder text"]}; or do without the similarity loss: ~ and train:instance_opt:sim_weight: 0.'
    ),
}
"""What to do about a missing file whose source is known: (section, key, type) -> sentence."""


def remedy_of(error: BaseException | None) -> str:
    """The command for what an error, or the one it was raised from, says is missing; empty where there is none."""
    missing = missing_in(error)
    return '' if missing is None or missing.what is None else _filled(missing.what, **missing.values)


def with_remedy(message: str, error: BaseException) -> str:
    """What an error says, and the command that resolves it."""
    remedy = remedy_of(error)
    return f'{full_stop(message)} {remedy}' if remedy else message


def with_remedies(problems: Iterable[Problem], file: OptionFile) -> list[Problem]:
    """The problems, each that is a missing file or for which there is a command with what to do about it.

    Args:
        problems: What the check found.
        file: The options.
    """
    return [replace(one, suggestion=_suggestion(one, file)) for one in problems]


def _filled(what: What, **values: str) -> str:
    """The entry of the table."""
    return _REMEDIES[what].format_map(_NOT_KNOWN | values)


def _suggestion(problem: Problem, file: OptionFile) -> str:
    if not problem.missing_file:
        return f'{problem.suggestion} {remedy_of(problem.error)}'.strip()
    path = tuple(problem.key.split(':'))
    key, section = path[-1], file.value(path[:-1])
    if path[0] != 'datasets':
        return _advice(file.file, path[:-1], key, problem.value, section.get('type'))
    if key.startswith('meta_info'):
        near = nearest(Path(problem.value).name, sorted(entry.name for entry in META_INFO_FOLDER.glob('*.txt')), 0.8)
        return f'Did you mean basicsr/data/meta_info/{near}, which comes with this package?' if near else ''
    return _how(file.values, key, problem.value, section)


def _how(opt: Mapping[str, Any], key: str, root: str, dataset: Mapping[str, Any]) -> str:
    """What to type. An option file may say it itself in ``prepare``."""
    made_with_the_clips = key != 'dataroot_priors' or not dataset.get('with_features')
    if Path(root).as_posix().startswith(_DEMO) and made_with_the_clips:
        return 'Make the demo clips with: make demo-data'
    if key == 'dataroot_priors':
        frames = dataset.get('dataroot_lq') or dataset.get('dataroot_gt') or 'FRAMES'
        extractor = _extractor(opt, root, dataset)
        other = ' (or --extractor regions, which needs no weights)' if extractor == 'sam' else ''
        return _filled('priors', kind=extractor, frames=str(frames), store=root) + other
    if isinstance(dataset.get('prepare'), str) and dataset['prepare']:
        return f'Make it with: {dataset["prepare"].replace("{folder}", str(Path(root).parent))}'
    if 'Clip' in str(dataset.get('type')) or root.endswith('.lmdb'):
        return _filled('clips', folder=str(Path(root).parent))
    return 'Give the folder of your data; datasets/README.md shows the layout.'


def _extractor(opt: Mapping[str, Any], root: str, dataset: Mapping[str, Any]) -> str:
    """The extractor for the kind of priors that the data set asks for, with the arguments it cannot do without."""
    from ..extractors import extractor_class

    kind, section = dataset.get('prior_kind') or 'sam', opt.get('network_s')
    if kind == 'annotations':
        return f'annotations --annotations {Path(root).parent / "instances.json"}'
    section = section if isinstance(section, Mapping) else {}
    if kind not in ('xdecoder', 'openseed'):
        return ' '.join([str(kind), *_needed(kind, section if section.get('type') == kind else {})])
    # what makes instances of stored tokens is what the extractor makes masks of instances with
    section = section if section.get('type') in (kind, 'stored_tokens') else {}
    files = ['checkpoint', 'text_embeddings' if kind == 'openseed' else 'instance_checkpoint']
    if kind == 'xdecoder' and section.get('instance_source', 'vita') != 'vita':
        files.pop()
    flags = [kind, *(f'--{name.replace("_", "-")} {section.get(name) or name.upper()}' for name in files)]
    parameters = inspect.signature(extractor_class(kind)).parameters
    for name in ('instance_source', 'short_side', 'max_instances', 'score_threshold', 'num_tokens'):
        default = parameters[name].default if name in parameters else None
        if (value := section.get(name, default)) != default:
            flags.append(f'--{name.replace("_", "-")} {0 if value is None else value}')
    return ' '.join([*flags, '--pixel-features'] if kind == 'xdecoder' and dataset.get('with_features') else flags)


def _needed(kind: Any, section: Mapping[str, Any]) -> list[str]:
    """The flags without which an extractor that somebody else has registered does nothing."""
    from ..config.signatures import arguments_of
    from ..extractors import EXTRACTOR_REGISTRY, EXTRACTORS

    if kind in EXTRACTORS or kind not in EXTRACTOR_REGISTRY:
        return []
    chosen = EXTRACTOR_REGISTRY.get(kind)
    needed = [name for name, one in arguments_of(chosen).model_fields.items() if one.is_required()]
    flags = [f'--{name.replace("_", "-")} {section.get(name) or name.upper()}' for name in needed]
    return [*flags, f'--import {chosen.__module__}']


def _advice(file: str, path: tuple[str, ...], key: str, value: str, kind: Any) -> str:
    place = Path(value).expanduser()
    names = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
    if value.lower() == 'none':
        return 'Write ~ for no file.'
    if path[:2] == ('val', 'metrics') and key.endswith('weights'):
        return 'Write ~ to download the official file once; docs/metrics.md names it.'
    if (near := nearest(place.name, names)) is not None:
        return f'Did you mean {place.parent / near}?'
    if (remedy := _MISSING_FILES.get((path[-1], key, kind))) is not None:
        return remedy.format(file=value)
    if 'models' in place.parts[-2:-1] and len(place.parts) > 2 and place.parts[-3] != 'pretrained_models':
        option_file = Path(file).parent / f'{place.parts[-3]}.yml'
        how = f': basicsr train -opt {option_file}' if option_file.is_file() else '.'
        return f'The run {place.parts[-3]} writes it{how}'
    return 'Give the path of the file, or ~ for none.'
