#!/usr/bin/env python3
"""Pictures of what Semantic Lens looks at, from a trained network.

    python tools/figures/figures_semantic_lens.py -opt options/demo/test_SemanticLens_demo.yml [--clip NAME] [--frame 8]

The option file is one of a test; its network, priors and first data set are used. Three pictures are written:

    semantic_lens_instances.png   instance masks over frames, one colour an instance
    semantic_lens_attention.png   ISEE: the attention of one pixel over the instance tokens
    semantic_lens_window.png      IMAGE: the window of one pixel in the neighbouring frame, with its mask
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from basicsr_semantic.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'demo'))

import semantic_lens_pictures as draw  # noqa: E402  (draws for the demo, too)
from demo_picture import resize  # noqa: E402
from demo_report import write_frame  # noqa: E402

BRANCH = 'forward_2'


@dataclass
class Seen:
    """What a clip's run through the network left.

    Attributes:
        frames: LR frames (t, h, w, 3) uint8 RGB.
        masks: (t, I, h, w) uint8.
        isee: for each step of the branch, features (b, 3, h, w, c) and tokens (b, n, c) that ISEE saw last.
        image: for each frame but the branch's first, what IMAGE aligned its neighbour with: current and supporting
            feature (b, h, w, c), labels of both (b, words, h, w).
        net: the network.
    """

    frames: np.ndarray
    masks: np.ndarray
    isee: list[tuple[Tensor, Tensor]]
    image: list[tuple[Tensor, Tensor, Tensor, Tensor]]
    net: Any


def run_clip(option_file: Path, clip: str | None) -> Seen:
    """Restore one clip of the option file's first data set and record the inputs of its modules.

    Raises:
        UserError: The network is not a SemanticLens with ISEE and IMAGE, or there is no such clip.
    """
    from basicsr.data import build_dataset
    from basicsr.models import build_model

    import basicsr_semantic  # noqa: F401  (registers everything)
    from basicsr_semantic.config.check import check_options
    from basicsr_semantic.config.option_file import OptionFile
    from basicsr_semantic.engine.run import prepare_run

    opt = prepare_run(check_options(OptionFile.read(option_file), False), str(Path.cwd()), is_train=False).opt
    dataset: Any = build_dataset(next(iter(opt['datasets'].values())))
    names = [name for name in dataset.clip_lengths if clip in (None, name)]
    if not names:
        raise UserError(f'There is no clip {clip!r}. There are: {", ".join(dataset.clip_lengths)}.')
    model: Any = build_model(opt)
    net = model.net_g
    if getattr(net, 'image', None) is None or getattr(getattr(net, 'space', {})[BRANCH][-1], 'isee', None) is None:
        raise UserError(f'{option_file}: the pictures need a SemanticLens with isee and image.')
    items = (dataset[i] for i in range(len(dataset)))
    item = next(item for item in items if item['clip'] == names[0])
    isee: list[tuple[Tensor, Tensor]] = []
    image: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    hooks = [
        net.space[BRANCH][-1].isee.register_forward_hook(lambda _m, inputs, _out: isee.append(inputs)),
        net.image[BRANCH].register_forward_hook(lambda _m, inputs, _out: image.append(inputs)),
    ]
    batch = {key: value[None] if isinstance(value, Tensor) else value for key, value in item.items()}
    model.feed_data(batch)
    with torch.no_grad():
        model.test()
    for hook in hooks:
        hook.remove()
    frames = (item['lq'].permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    # IMAGE runs once for the neighbour and, from the third frame on, once for the neighbour's neighbour
    first_order = image[:1] + image[1::2]
    return Seen(frames, model.priors.masks[0].cpu().numpy(), isee, first_order, net)


@torch.no_grad()
def isee_attention(seen: Seen, frame: int) -> Tensor:
    """Attention (h * w, n) of the pixels of a frame over the instance tokens, mean of the heads (Eq. 10)."""
    isee = seen.net.space[BRANCH][-1].isee
    features, tokens = seen.isee[frame]
    pixels = isee.norm(features[0, 1].flatten(0, 1))
    q, k = (
        layer(x).unflatten(-1, (isee.num_heads, -1)).transpose(0, 1)
        for layer, x in ((isee.query, pixels), (isee.key, tokens[0]))
    )
    return torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.size(-1)), -1).mean(0)


@torch.no_grad()
def image_attention(seen: Seen, frame: int, pixel: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where a pixel may look in the frame before its own, and how much it does: (h, w) bool and (h, w) (Eq. 12)."""
    image = seen.net.image[BRANCH]
    current, support, labels, support_labels = seen.image[frame - 1]
    height, width = current.shape[1:3]
    y, x = pixel
    radius = image.window // 2
    box = slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1)
    shared = (labels[0, :, y, x, None, None] & support_labels[0][:, box[0], box[1]]).ne(0).any(0)
    if not shared.any():
        shared[y - box[0].start, x - box[1].start] = True
    q = image.query(current[0, y, x]).unflatten(-1, (image.num_heads, -1))
    k = image.key(support[0, box[0], box[1]]).unflatten(-1, (image.num_heads, -1))
    scores = torch.einsum('nd,hwnd->nhw', q, k) / math.sqrt(q.size(-1))
    scores = scores.masked_fill(~shared, -math.inf).flatten(1).softmax(-1).mean(0).view(shared.shape)
    allowed, weights = np.zeros((height, width), bool), np.zeros((height, width))
    allowed[box], weights[box] = shared.cpu().numpy(), scores.cpu().numpy()
    return allowed, weights


def pixel_at_an_edge(masks: np.ndarray) -> tuple[int, int]:
    """A pixel just inside of the largest instance (n, h, w), next to its border; the middle where there is none."""
    areas = masks.reshape(len(masks), -1).sum(1) if len(masks) else np.zeros(1)
    height, width = masks.shape[1:]
    if not areas.any():
        return height // 2, width // 2
    mask = masks[int(areas.argmax())].astype(bool)
    y = int(np.median(np.nonzero(mask)[0]))
    inside = np.flatnonzero(mask[y])
    # the border nearer to the middle, so that the window fits
    x = min((int(inside.min()), int(inside.max())), key=lambda at: abs(at - width / 2))
    step = 1 if x == inside.min() else -1
    return y, int(np.clip(x + step, inside.min(), inside.max()))


def main(arguments: list[str] | None = None) -> int:
    """Run one clip and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', type=Path, required=True, help='option file of a test of SemanticLens')
    parser.add_argument('--clip', help='name of the clip (default: the first)')
    parser.add_argument('--frame', type=int, help='frame of the second and third picture (default: the middle one)')
    parser.add_argument('--count', type=int, default=4, help='frames of the first picture (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'images', help='folder (default: docs/images)')
    options = parser.parse_args(arguments)
    try:
        write(run_clip(options.opt, options.clip), options.frame, options.count, options.out)
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def write(seen: Seen, frame: int | None, count: int, out: Path) -> None:
    """Draw and write the three pictures.

    Raises:
        UserError: The clip has no such frame.
    """
    length = len(seen.frames)
    frame = length // 2 if frame is None else frame
    if not 1 <= frame < length:
        raise UserError(f'--frame is {frame}; the clip allows 1 to {length - 1}, since IMAGE needs a frame before it.')
    chosen = np.linspace(0, length - 1, min(count, length)).round().astype(int)
    height, width = (3 * side for side in seen.frames.shape[1:3])
    large = [resize(seen.frames[i], height, width) for i in chosen]
    masks = [np.stack([resize(mask, height, width) for mask in seen.masks[i]]) for i in chosen]
    pixel = pixel_at_an_edge(seen.masks[frame])
    attention = isee_attention(seen, frame)
    of_pixel = attention.view(*seen.frames.shape[1:3], -1)[pixel]
    strongest = attention[:, int(of_pixel.argmax())].view(seen.frames.shape[1:3])
    allowed, weights = image_attention(seen, frame, pixel)
    before, now = seen.frames[frame - 1], seen.frames[frame]
    reach = seen.net.image[BRANCH].window // 2
    pictures = {
        'instances': draw.instances(large, masks, [f'frame {i}' for i in chosen]),
        'attention': draw.token_attention(now, pixel, of_pixel.cpu().numpy(), strongest.cpu().numpy()),
        'window': draw.image_window(now, before, pixel, reach, allowed, weights),
    }
    for name, picture in pictures.items():
        path = out / f'semantic_lens_{name}.png'
        write_frame(path, picture)
        print(path)


if __name__ == '__main__':
    sys.exit(main())
