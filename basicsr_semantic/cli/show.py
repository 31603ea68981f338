"""``basicsr show``: the masks of a store over their frames."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..utils.errors import UserError
from ..utils.printing import printable, say
from .limits import add_max_megapixels, check_max_megapixels
from .upscale import OTHER_VIDEOS

EXAMPLES = """examples:
  basicsr show masks.lmdb --frames in.mp4 -o masks.mp4
  basicsr show datasets/demo/val/regions.lmdb --frames datasets/demo/val/lq.lmdb --clip wall -o wall
"""
_TALL = 480
"""Smaller frames are enlarged to about so many rows."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb ``show``."""
    parser = subparsers.add_parser(
        'show',
        help='draw the masks of a store over their frames, as a video or pictures',
        description='Draw the masks of a store over their frames, one colour a mask: where an extractor keeps '
        'instances, one colour an instance through the whole clip.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('store', metavar='STORE', type=Path, help='what "basicsr extract" has made')
    parser.add_argument('--frames', required=True, type=Path, help='the frames that it was made of')
    parser.add_argument('--clip', help='name of the clip, where there are several')
    parser.add_argument('-o', '--out', required=True, type=Path, help='video file, or a folder for PNG files')
    parser.add_argument('--opacity', type=float, default=0.5, help='of the colours, 0 to 1 (default: 0.5)')
    parser.add_argument('--force', action='store_true', help='replace existing files')
    add_max_megapixels(parser, 'refused')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw.

    Raises:
        UserError: The store has no masks, or none of these frames; or the result cannot be written.
    """
    import numpy as np
    from tqdm import tqdm

    from ..data.clip_folders import is_image
    from ..data.images import encode_png
    from ..data.videos import is_video
    from ..priors import PriorStore
    from ..priors.drawing import overlay
    from ..utils.files import check_free, check_not_read, write_whole
    from ..video.segments import write_video
    from .extract import open_frames

    check_max_megapixels(args)
    if not 0 <= args.opacity <= 1:
        raise UserError(f'--opacity must be from 0 to 1, not {args.opacity:g}.')
    video = is_video(args.out.name)
    if not video and (is_image(args.out.name) or args.out.suffix.lower() in OTHER_VIDEOS):
        raise UserError(f'{args.out}: masks are drawn as a video (.mp4, .mkv, ...), or as PNG files in a folder.')
    check_not_read(args.out, args.store, args.frames)
    check_free(args.out, args.force or (args.out.is_dir() and not video))
    store = PriorStore(args.store)
    if not store.has_masks:
        raise UserError(f'{args.store} holds no masks; its priors are tokens, which cannot be drawn.')
    keys, read = open_frames(args.frames, args.max_megapixels)
    clips = list(dict.fromkeys(key.rpartition('/')[0] for key in keys))
    clip = args.clip if args.clip is not None else clips[0] if len(clips) == 1 else None
    if clip not in clips:
        raise UserError(f'{args.frames} has the clips {", ".join(clips[:8])}; name one of them by --clip.')
    mine = [key for key in keys if key.rpartition('/')[0] == clip]
    files = {key: args.out / f'{key.rpartition("/")[2]}.png' for key in mine}
    for file in files.values() if not video else ():
        check_free(file, args.force)

    def draw(key: str) -> np.ndarray:
        image = read(key)
        enlarge = max(round(_TALL / image.shape[0]), 1)
        masks = store.masks(key, store.meta['max_masks'], frame_size=image.shape[:2])
        image, masks = (one.repeat(enlarge, -2).repeat(enlarge, -1) for one in (np.moveaxis(image, -1, 0), masks))
        return overlay(np.ascontiguousarray(np.moveaxis(image, 0, -1)), masks, args.opacity)

    with tqdm(mine, desc=printable(clip), unit='frame') as bar:
        drawn = (draw(key) for key in bar)
        if video:
            write_video(drawn, args.out)
        else:
            for file, image in zip(files.values(), drawn, strict=True):
                write_whole(file, encode_png(np.ascontiguousarray(image[..., ::-1])), durable=False)
    say(f'{printable(args.out)}: {len(mine)} frames of {printable(clip)} with their masks of {store.kind}.')
    return 0
