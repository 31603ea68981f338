#!/usr/bin/env python3
"""A picture of how SeeClear samples a frame, next to bicubic and the ground truth.

    python tools/figures/picture_seeclear.py -opt options/demo/test_SeeClear_demo.yml [--clip NAME] [--frame 7]

The option file is one of a test with ground truth; its network, diffusion, priors and first data set are used. The
panels: LR, bicubic, states of the diffusion from the noisiest on, the first prediction, the result (the last one),
and the ground truth.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from basicsr_semantic.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'demo'))

from demo_picture import compose, hardest_crop, resize  # noqa: E402  (draws for the demo, too)
from demo_report import write_frame  # noqa: E402

CROP = 64


@dataclass
class Sampled:
    """What the sampling of one frame went through; all frames are (H, W, 3) uint8 RGB.

    Attributes:
        lq: The LR frame.
        gt: The ground truth.
        base: What the diffusion starts from.
        states: Step -> the state.
        predictions: Step -> the prediction.
        result: What is saved.
    """

    lq: np.ndarray
    gt: np.ndarray
    base: np.ndarray
    result: np.ndarray
    states: dict[int, np.ndarray] = field(default_factory=dict)
    predictions: dict[int, np.ndarray] = field(default_factory=dict)


def pixels(frame: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] to (H, W, 3) uint8."""
    return (frame.clamp(0, 1).permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)


def sample_frame(option_file: Path, clip: str | None, frame: int) -> Sampled:
    """Sample one clip of the option file's first data set, and watch one of its frames.

    Raises:
        UserError: The model is not a SeeClearModel, there is no such clip or frame, or it has no ground truth.
    """
    from basicsr.data import build_dataset
    from basicsr.models import build_model

    import basicsr_semantic  # noqa: F401  (registers everything)
    from basicsr_semantic.config.check import check_options
    from basicsr_semantic.config.option_file import OptionFile
    from basicsr_semantic.engine.run import prepare_run
    from basicsr_semantic.models import SeeClearModel
    from basicsr_semantic.models.clip_windows import clip_windows, new_frames

    opt = prepare_run(check_options(OptionFile.read(option_file), False), str(Path.cwd()), is_train=False).opt
    dataset: Any = build_dataset(next(iter(opt['datasets'].values())))
    index = next((i for i, name in enumerate(dataset.clip_lengths) if clip in (None, name)), None)
    if index is None:
        raise UserError(f'There is no clip {clip!r}. There are: {", ".join(dataset.clip_lengths)}.')
    item = dataset[index]
    if not 0 <= frame < len(item['lq']):
        raise UserError(f'The clip {item["clip"]} has {len(item["lq"])} frames, numbered from 0; there is no {frame}.')
    gt = dataset.read_gt(index, frame)
    if gt is None:
        raise UserError(f'{option_file}: the picture needs ground truth, dataroot_gt.')
    model = build_model(opt)
    if not isinstance(model, SeeClearModel):
        raise UserError(f'{option_file}: the picture is of a SeeClearModel, not a {type(model).__name__}.')
    net, diffusion = model.get_bare_model(model.net_g), model.sampler
    windows = clip_windows(len(item['lq']), net.clip_length)
    fresh = new_frames(windows)
    watched = next(k for k, places in enumerate(fresh) if frame in (windows[k][place] for place in places))
    place = windows[watched].index(frame)
    states: dict[int, Tensor] = {}
    predictions: dict[int, Tensor] = {}
    calls = iter(range(len(windows) * diffusion.steps))
    denoise = net.denoise

    def watch(x: Tensor, t: Tensor, base: Tensor, condition: Any) -> Any:
        result = denoise(x, t, base, condition)
        if next(calls) // diffusion.steps == watched:
            step = int(t)
            scale = (diffusion.kappa**2 * diffusion.etas[diffusion.visited.index(step)] + 1).sqrt()
            states[step], predictions[step] = ((y[0, place].float() + 1) / 2 for y in (x * scale, result[0]))
        return result

    net.denoise = watch
    model.feed_data({key: value[None] if isinstance(value, Tensor) else value for key, value in item.items()})
    model.test()
    height, width = gt.shape[-2:]

    def shown(found: dict[int, Tensor]) -> dict[int, np.ndarray]:
        return {step: pixels(image[:, :height, :width]) for step, image in found.items()}

    base = model.upsample(item['lq'][None].to(model.device))[0, frame]
    frames = (pixels(image) for image in (item['lq'][frame], gt, base, model.output[0, frame]))
    return Sampled(*frames, shown(states), shown(predictions))


def draw(seen: Sampled) -> np.ndarray:
    """The picture; figures are PSNR on Y of the frame."""
    from basicsr.metrics import calculate_psnr

    height, width = seen.gt.shape[:2]

    def figure(image: np.ndarray) -> str:
        return f'{calculate_psnr(image[..., ::-1], seen.gt[..., ::-1], 0, test_y_channel=True):.2f} dB on Y'

    steps = sorted(seen.states, reverse=True)
    middle = steps[len(steps) // 2]
    panels = [('LR', '', resize(seen.lq, height, width)), ('bicubic', figure(seen.base), seen.base)]
    panels += [
        (f'state at step {step}', '', seen.states[step]) for step in dict.fromkeys((steps[0], middle, steps[-1]))
    ]
    first = seen.predictions[steps[0]]
    panels += [('first prediction', figure(first), first), ('SeeClear', figure(seen.result), seen.result)]
    panels.append(('GT', '', seen.gt))
    size = min(CROP, height, width)
    return compose(panels, *hardest_crop(seen.base, seen.gt, size), size, panel=176)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, sample, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', required=True, type=Path, help='option file of a test')
    parser.add_argument('--clip', help='name of the clip (default: the first)')
    parser.add_argument('--frame', type=int, default=7, help='frame of it, from 0 (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/images/seeclear_demo.png', help='default: %(default)s')
    args = parser.parse_args(arguments)
    try:
        with torch.no_grad():
            write_frame(args.out, draw(sample_frame(args.opt, args.clip, args.frame)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
