"""``basicsr extract``: make the priors of frames and keep them in a store for training and testing."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.limits import MAX_MEGAPIXELS
from ..utils.printing import say
from .limits import add_max_megapixels, check_max_megapixels

if TYPE_CHECKING:
    import numpy as np

# What the arguments of the extractors mean. Their types and defaults are those of the constructors, read off them.
_HELP: dict[tuple[str, ...], dict[str, str]] = {
    ('sam', 'xdecoder', 'openseed'): {
        'checkpoint': 'weights: for sam the official sam_vit_h_4b8939.pth, sam_vit_l_0b3195.pth or '
        'sam_vit_b_01ec64.pth; for xdecoder the released xdecoder_focalt_last.pt, or one of stage 1 (net_f_*.pth); for '
        'openseed the released model_state_dict_swint_51.2ap.pt',
        'device': 'where the network runs: cpu, cuda, cuda:1, ...',
        'checksum': 'SHA-256 that the checkpoint must have; files whose official digits are known are checked anyhow',
    },
    ('sam',): {
        'model_type': 'vit_h, vit_l or vit_b',
        'points_per_side': 'points of the prompt grid along each side',
        'points_per_batch': 'points the network handles at once; changes speed and memory only',
        'pred_iou_thresh': 'drop masks with a lower predicted IoU',
        'stability_score_thresh': 'drop masks with a lower stability',
        'stability_score_offset': 'shift of the cut-off that measures the stability',
        'box_nms_thresh': 'drop the weaker of two masks whose boxes overlap more',
        'crop_n_layers': 'also segment crops, 2^i along each side in layer i',
        'crop_nms_thresh': 'as --box-nms-thresh, between crops',
        'crop_overlap_ratio': 'overlap of crops as a share of the side',
        'crop_n_points_downscale_factor': 'thin out the grid by the i-th power of this in layer i',
        'min_mask_region_area': 'remove holes and islands below this many pixels',
        'order': 'order of the masks: area, iou or grid',
        'keep': 'masks kept when there are too many: area (the largest) or iou (the most confident)',
    },
    ('regions',): {
        'scales': 'coarseness of each segmentation, one or more numbers',
        'sigma': 'smoothing before the segmentation in pixels',
        'min_size': 'smallest region in pixels',
    },
    ('xdecoder',): {
        'instance_checkpoint': 'weights of the instance network that stage 1 has trained; needed with vita',
        'instance_source': 'where instances come from: vita, mean_over_time or xdecoder_frame',
        'max_instances': 'most instances a clip',
        'score_threshold': 'drop instances with a lower score',
        'feature_memory': 'gigabytes of features kept between the two passes; changes speed and memory only',
        'frames_at_once': 'frames the network handles at once; changes speed and memory only',
        'pixel_features': 'also store the features of each 4x4 pixels, for SeeClear',
    },
    ('openseed',): {
        'text_embeddings': 'file of tools/make_text_embeddings.py: the names of things to look for',
        'num_tokens': 'tokens of a frame, those that are most like any of the names',
    },
    ('xdecoder', 'openseed'): {
        'short_side': 'shorter side in pixels that the networks see, 0 for frames as they are; openseed only enlarges',
    },
    ('annotations',): {
        'annotations': 'YouTube-VIS JSON file, or DAVIS folder of clips of indexed PNG',
    },
}


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command."""
    from ..extractors import EXTRACTORS
    from ..extractors.parameters import parameters_of

    parser = subparsers.add_parser(
        'extract',
        help='make masks, tokens and pixel features of frames and keep them in a store',
        description='Make the semantic priors of whole low-resolution frames and keep them in a store (dataroot_priors '
        'of an option file): masks for SEEM; with xdecoder tokens and the masks of instances for Semantic Lens; with '
        'openseed tokens and pixel features for SeeClear. Frames (with xdecoder: clips) that the store has already are '
        'skipped, so a run that was stopped is continued by the same command.',
    )
    parser.add_argument('--extractor', required=True, choices=sorted(EXTRACTORS), help='what makes the priors')
    parser.add_argument('--frames', required=True, type=Path, help='LMDB of LR frames, or folder of clip folders')
    parser.add_argument('--out', required=True, type=Path, help='folder of the store, made if absent')
    parser.add_argument(
        '--shard',
        default='1/1',
        metavar='I/N',
        help='do every N-th frame (with xdecoder: clip) only, beginning with the I-th (from 1); '
        'the N processes may fill one store at the same time',
    )
    parser.add_argument('--batch', type=int, default=16, metavar='FRAMES', help='frames a durable write (default 16)')
    add_max_megapixels(parser, 'refused')
    parser.add_argument('--max-masks', type=int, help='most masks a frame (default 64; not for xdecoder and openseed)')
    for names, arguments in _HELP.items():
        known = {name: parameters_of(name) for name in names}
        group = parser.add_argument_group(f'--extractor {" or ".join(names)}')
        for argument, text in arguments.items():
            defaults = {name: parameters[argument].default for name, parameters in known.items()}
            group.add_argument(f'--{argument.replace("_", "-")}', **_settings(defaults, text))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Extract; prints what was done."""
    from ..data.prepare_output import original_keys
    from ..extractors import build_extractor
    from ..extractors.runner import extract, parse_shard
    from ..utils.errors import UserError

    if args.batch < 1:
        raise UserError(f'--batch must be at least 1, not {args.batch}.')
    if args.out.resolve() == args.frames.resolve():
        raise UserError(f'--out {args.out} is the folder of --frames. Give the store a folder of its own.')
    shard = parse_shard(args.shard)
    check_max_megapixels(args)
    keys, read = open_frames(args.frames, args.max_megapixels)
    names = ['max_masks', *(name for arguments in _HELP.values() for name in arguments)]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    extractor = build_extractor(args.extractor, **given)
    # 'basicsr prepare clips' numbers frames anew; annotations know them by the names of their files
    names = original_keys(args.frames)
    result = extract(extractor, keys, read, args.out, shard, args.batch, names=names)
    rate = f' ({result.made / result.seconds:.2f} frames per second)' if result.made else ''
    made = {'masks': extractor.max_masks, 'tokens': hasattr(extractor, 'tokens')}
    made['pixel features'] = getattr(extractor, 'features', None)
    *first, last = [what for what, there in made.items() if there]
    what = f'{", ".join(first)} and {last}' if first else last
    say(f'{args.out}: {what} of {result.made} frames made{rate}, {result.skipped} were there already.')
    return 0


def _settings(defaults: dict[str, Any], text: str) -> dict[str, Any]:
    """Settings of an argument whose default is left to the constructors; extractor -> default."""
    default = next(iter(defaults.values()))
    if len(set(defaults.values())) > 1:
        shown = ', '.join(f'{value} with {name}' for name, value in defaults.items())
        return {'type': type(default), 'help': f'{text} (default {shown})'}
    if isinstance(default, bool):
        return {'type': _yes, 'nargs': '?', 'const': True, 'metavar': 'true|false', 'help': text}
    if isinstance(default, tuple):
        shown = ' '.join(f'{value:g}' for value in default)
        return {'type': type(default[0]), 'nargs': '+', 'help': f'{text} (default {shown})'}
    if default is None or default is inspect.Parameter.empty:
        return {'type': str, 'help': text}
    shown = f'{default:.3g}' if isinstance(default, float) else default
    return {'type': type(default), 'help': f'{text} (default {shown})'}


def _yes(text: str) -> bool:
    if text not in ('true', 'false'):
        raise ValueError
    return text == 'true'


def open_frames(root: Path, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[list[str], Callable[[str], np.ndarray]]:
    """Find frames.

    Args:
        root: LMDB folder, or folder of clip folders.
        max_megapixels: Larger frames are not decoded.

    Returns:
        The keys of all frames, and a function that reads one by its key: (h, w, 3) uint8 RGB.

    Raises:
        UserError: There are no frames at ``root``.
    """
    import numpy as np

    from ..data.clips import ClipIndex
    from ..data.frame_reader import FrameReader

    backend = 'lmdb' if (root / 'data.mdb').is_file() else 'disk'
    reader = FrameReader(root, {'type': backend}, '--frames', max_megapixels)
    keys = [key for clip in ClipIndex.load(root, backend) for key in clip.keys]
    return keys, lambda key: np.ascontiguousarray(reader.read(key)[..., ::-1])
