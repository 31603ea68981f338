"""Files and folders that an option file names and that are not there, with the command that would make them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..utils.nearest import nearest

META_INFO_FOLDER = Path(__file__).parents[1] / 'data' / 'meta_info'
"""Our copies of BasicSR's lists of clips."""

_DEMO = 'datasets/demo'
_STAGE_ONE = 'Stage 1 trains it: basicsr train -opt options/semantic_lens/stage1_*.yml'
_OPENSEED_TEXT = (
    'Make it with: python tools/make_text_embeddings.py OPENSEED --tokenizer FOLDER --classes coco_panoptic --out FILE'
)
_REMEDIES = {
    ('network_s', 'checkpoint', 'openseed'): 'Give the released file of OpenSeeD, model_state_dict_swint_51.2ap.pt.',
    ('network_s', 'checkpoint', 'xdecoder'): (
        'Give the released file of X-Decoder, or net_f_*.pth of a stage 1 that trained it.'
    ),
    ('network_s', 'text_embeddings', 'openseed'): _OPENSEED_TEXT,
    ('network_s', 'instance_checkpoint', 'xdecoder'): _STAGE_ONE,
    ('path', 'pretrain_frame_decoder', None): (
        'Put the released file of X-Decoder there (model zoo of https://github.com/microsoft/X-Decoder), or train the '
        'frame decoder, too: train:trainable: [frame_decoder, instance].'
    ),
    ('frame_decoder', 'text_embeddings', 'xdecoder'): (
        'Make it with: python tools/make_text_embeddings.py XDECODER --tokenizer FOLDER --classes ytvis2019 (or '
        'ytvis2021) --out {value}; or do without the similarity loss: ~ and train:instance_opt:sim_weight: 0.'
    ),
}
"""What to do about a missing file that comes from somewhere certain: (section, key, type) -> sentence."""


def shipped_meta_info(path: str) -> Path | None:
    """Our copy of a file ``basicsr/data/meta_info/X.txt`` that is not there.

    BasicSR's option files name its own lists of clips, which its package on PyPI does not have.

    Args:
        path: Value of ``meta_info_file``.

    Returns:
        Our file of that name, or None where the path exists, points elsewhere, or names a list we do not have.
    """
    asked = Path(path)
    if asked.parts[-4:-1] != ('basicsr', 'data', 'meta_info') or asked.exists():
        return None
    ours = META_INFO_FOLDER / asked.name
    return ours if ours.is_file() else None


def missing_data(opt: Mapping[str, Any], dataset: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(key, message, advice) for the data roots, meta info file and annotations of a data set that are not there."""
    for key, value in dataset.items():
        if not isinstance(value, str) or not isinstance(key, str) or Path(value).expanduser().exists():
            continue
        if key.startswith('dataroot') or key == 'annotation_file':
            what = 'folder' if key.startswith('dataroot') else 'file'
            yield key, f"The {what} '{value}' does not exist.", _how(opt, key, value, dataset)
        elif key.startswith('meta_info') and value:
            near = nearest(Path(value).name, sorted(entry.name for entry in META_INFO_FOLDER.glob('*.txt')), 0.8)
            advice = f'Did you mean basicsr/data/meta_info/{near}, which comes with this package?' if near else ''
            yield key, f"The file '{value}' does not exist.", advice


def _how(opt: Mapping[str, Any], key: str, root: str, dataset: Mapping[str, Any]) -> str:
    """What to type. An option file may say it itself in ``prepare``."""
    made_with_the_clips = key != 'dataroot_priors' or not dataset.get('with_features')
    if Path(root).as_posix().startswith(_DEMO) and made_with_the_clips:
        return 'Make the demo clips with: make demo-data'
    if key == 'dataroot_priors':
        frames = dataset.get('dataroot_lq') or dataset.get('dataroot_gt') or 'FRAMES'
        extractor = _extractor(opt, root, dataset)
        other = ' (or --extractor regions, which needs no weights)' if extractor == 'sam' else ''
        return f'Extract the priors with: basicsr extract --extractor {extractor} --frames {frames} --out {root}{other}'
    if isinstance(dataset.get('prepare'), str) and dataset['prepare']:
        return f'Make it with: {dataset["prepare"].replace("{folder}", str(Path(root).parent))}'
    if 'Clip' in str(dataset.get('type')) or root.endswith('.lmdb'):
        return f'Make it from frames or videos with: basicsr prepare clips FRAMES_OR_VIDEOS {Path(root).parent}'
    return 'Give the folder of your data; datasets/README.md shows the layout.'


def _extractor(opt: Mapping[str, Any], root: str, dataset: Mapping[str, Any]) -> str:
    """The extractor for the kind of priors that the data set asks for, with the arguments it cannot do without."""
    from ..extractors import extractor_class

    kind, section = dataset.get('prior_kind') or 'sam', opt.get('network_s')
    if kind == 'annotations':
        return f'annotations --annotations {Path(root).parent / "instances.json"}'
    if kind not in ('xdecoder', 'openseed'):
        return str(kind)
    section = section if isinstance(section, Mapping) and section.get('type') == kind else {}
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


def missing_weights(
    file: str, path: tuple[str, ...], section: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, bool]]:
    """(key, message, advice, whether it is only missing) for the checkpoints that a section names.

    Args:
        file: The option file: one of a run whose name is in the path of a checkpoint may lie beside it.
        path: Where the section is: ``path`` (pretrain_*, resume_state), a network or a metric.
        section: The section.
    """
    cached = path == ('network_s',) and str(section.get('extract_mode', 'cached')) == 'cached'
    for key, value in section.items():
        if not isinstance(value, str) or not isinstance(key, str) or not value or path[:1] == ('datasets',):
            continue
        named = key.startswith('pretrain') or key in ('resume_state', 'text_embeddings', 'checkpoint', 'weights')
        ends = path != ('path',) and key.endswith(('_path', '_weights', '_checkpoint'))
        if (named or ends) and not (cached and key != 'instance_checkpoint'):
            place = Path(value).expanduser()
            if place.is_dir():
                yield key, f"'{value}' is a folder.", 'Give a file in it.', False
            elif not place.exists():
                advice = _advice(file, path, key, value, section.get('type'))
                yield key, f"The file '{value}' does not exist.", advice, True


def _advice(file: str, path: tuple[str, ...], key: str, value: str, kind: Any) -> str:
    place = Path(value).expanduser()
    names = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
    if value.lower() == 'none':
        return 'Write ~ for no file.'
    if path[:2] == ('val', 'metrics') and key.endswith('weights'):
        return 'Write ~ to download the official file once; docs/metrics.md names it.'
    if (near := nearest(place.name, names)) is not None:
        return f'Did you mean {place.parent / near}?'
    if (remedy := _REMEDIES.get((path[-1], key, kind))) is not None:
        return remedy.format(value=value)
    if 'models' in place.parts[-2:-1] and len(place.parts) > 2 and place.parts[-3] != 'pretrained_models':
        option_file = Path(file).parent / f'{place.parts[-3]}.yml'
        how = f': basicsr train -opt {option_file}' if option_file.is_file() else '.'
        return f'The run {place.parts[-3]} writes it{how}'
    return 'Give the path of the file, or ~ for none.'
