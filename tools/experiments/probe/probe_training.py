"""One training of the probe and its figures: the same recipe for every arm."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from basicsr.losses.basic_loss import CharbonnierLoss
from probe_arms import ARMS, Arm, is_semantic
from probe_priors import MODES, priors_of
from probe_world import Clips, make_clips, psnr, shown_share
from torch import Tensor, nn
from torch.nn import functional as F

from basicsr_semantic.archs.seeclear_arch import SeeClear
from basicsr_semantic.archs.semantic_arch import arch_of
from basicsr_semantic.diffusion import BlurringResShift
from basicsr_semantic.engine.checkpoint import load_file, save_atomic

LEARNING_RATE, LAST_SHARE = 1e-3, 0.02
SAVED_EVERY = 200
HELD_OUT = (3, 8)
"""Batches, and clips of each."""

Row = dict[str, Any]


class Run:
    """A network, its optimiser and all random numbers of one arm and seed; can be stopped and taken up again.

    Args:
        name: Of the arm.
        seed: Of weights and clips.
        iterations: Of the whole run.
        folder: For states and weights.
    """

    def __init__(self, name: str, seed: int, iterations: int, folder: Path) -> None:
        self.name, self.seed, self.iterations, self.folder = name, seed, iterations, folder
        self.arm: Arm = ARMS[name]
        torch.manual_seed(seed)
        self.net = self.arm.network(**self.arm.arguments)
        self.diffusion = BlurringResShift(steps=15, patch=2)
        if self.arm.start is not None:
            self.net.load_state_dict(load_file(self._file(self.arm.start, 'weights')), strict=False)
        for key, parameter in self.net.named_parameters():
            if self.arm.trainable and not key.startswith(self.arm.trainable):
                parameter.requires_grad_(False)
        self.optimizer = torch.optim.Adam(self._groups(), betas=(0.9, 0.99))
        self.generator = torch.Generator().manual_seed(100 + seed)
        self.iteration, self.seconds = 0, 0.0

    def _file(self, name: str, kind: str) -> Path:
        return self.folder / f'{name}_{self.iterations}_seed{self.seed}_{kind}.pth'

    def _groups(self) -> list[dict[str, Any]]:
        trained = [(key, p) for key, p in self.net.named_parameters() if p.requires_grad]
        groups = []
        for semantic, scale in ((False, 1.0), (True, self.arm.lr_scale)):
            parameters = [p for key, p in trained if is_semantic(key) == semantic]
            if parameters:
                groups.append({'params': parameters, 'lr': LEARNING_RATE * scale, 'first_lr': LEARNING_RATE * scale})
        return groups

    def train(self, report: Callable[[int], object] = lambda _: None) -> Row:
        """Train to the end, from where it was stopped, and measure.

        Args:
            report: Called with the number of iterations done since the last call.
        """
        state = self._file(self.name, 'state')
        if state.is_file():
            self._resume(load_file(state))
            report(self.iteration)
        loss_of: nn.Module = nn.MSELoss() if self.arm.squared else CharbonnierLoss()
        started = time.process_time() - self.seconds
        while self.iteration < self.iterations:
            progress = self.iteration / self.iterations
            share = (1 - LAST_SHARE) * (1 + math.cos(math.pi * progress)) / 2 + LAST_SHARE
            for group in self.optimizer.param_groups:
                group['lr'] = group['first_lr'] * share
            clips = make_clips(self.arm.world, self.arm.batch, self.generator)
            without = self.arm.neutral or float(torch.rand((), generator=self.generator)) < self.arm.dropout
            frames = self._restore(clips, 'neutral' if without else 'oracle', self.generator)
            loss = loss_of(frames, clips.gt)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.iteration += 1
            report(1)
            if self.iteration % SAVED_EVERY == 0 and self.iteration < self.iterations:
                self.seconds = time.process_time() - started
                self._save(state)
        self.seconds = time.process_time() - started
        save_atomic(self.net.state_dict(), self._file(self.name, 'weights'))
        state.unlink(missing_ok=True)
        return self._row()

    def _save(self, path: Path) -> None:
        parts = {'net': self.net.state_dict(), 'optimizer': self.optimizer.state_dict()}
        numbers = {'generator': self.generator.get_state(), 'iteration': self.iteration, 'seconds': self.seconds}
        save_atomic({**parts, **numbers}, path)

    def _resume(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state['net'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.generator.set_state(state['generator'])
        self.iteration, self.seconds = state['iteration'], state['seconds']

    def _row(self) -> Row:
        """The figures on held-out clips."""
        modes = MODES if arch_of(self.net).prior_fields else ('neutral',)
        row: Row = {'arm': self.name, 'seed': self.seed, 'iterations': self.iterations}
        row |= {mode: self.measure(mode) for mode in modes}
        return {**row, 'cpu_seconds': round(self.seconds)}

    @torch.no_grad()
    def measure(self, mode: str) -> dict[str, float]:
        """PSNR in dB and the share of the true texture that is shown, over 24 held-out clips.

        Args:
            mode: Which priors the network gets, one of `MODES`.
        """
        self.net.eval()
        generator = torch.Generator().manual_seed(4242)
        figures = []
        batches, size = HELD_OUT
        for _ in range(batches):
            clips = make_clips(self.arm.world, size, generator, held_out=True)
            frames = self._restore(clips, mode, torch.Generator().manual_seed(7))
            figures.append((psnr(frames, clips.gt), shown_share(frames, clips)))
        self.net.train()
        quality, shown = (sum(column) / len(figures) for column in zip(*figures, strict=True))
        return {'psnr': round(quality, 3), 'shown': round(shown, 3)}

    def _restore(self, clips: Clips, mode: str, generator: torch.Generator) -> Tensor:
        """Frames (b, T, 3, H, W) of a network in training or in evaluation mode."""
        priors = priors_of(clips, self.arm.tell, mode, generator)
        if isinstance(self.net, SeeClear):
            return self._denoise(self.net, clips, priors, generator)
        return cast(nn.Module, self.net)(*arch_of(self.net).inputs(clips.lq, priors))

    def _denoise(self, net: SeeClear, clips: Clips, priors: Any, generator: torch.Generator) -> Tensor:
        """One step of the diffusion: a random one in training, the first of a sampling in evaluation."""
        diffusion, (batch, frames) = self.diffusion, clips.lq.shape[:2]
        enlarged = F.interpolate(clips.lq.flatten(0, 1), scale_factor=net.scale, mode='bicubic', align_corners=False)
        base, image = 2 * enlarged - 1, 2 * clips.gt.flatten(0, 1) - 1
        noise = torch.randn(image.shape, generator=generator)
        t = torch.full((batch,), diffusion.steps)
        if net.training:
            t = torch.randint(1, diffusion.steps + 1, (batch,), generator=generator)
        of_frames = t.repeat_interleave(frames)
        x = diffusion.q_sample(image, base, of_frames, noise) if net.training else diffusion.prior_sample(base, noise)
        x, base = (one.view_as(clips.gt)[:, None] for one in (diffusion.scale_input(x, of_frames), base))
        return (net(x, t[:, None], 2 * clips.lq[:, None] - 1, base, [priors])[:, 0] + 1) / 2
