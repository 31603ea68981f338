"""Sampling a video with SeeClear (Algorithm 1): clip after clip, with the memory running from one to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch

from ..archs.layers.texture_memory import MemoryState
from ..archs.seeclear_arch import SeeClear
from ..diffusion import BlurringResShift, sample
from ..priors import CELL, SemanticPriors
from .clip_windows import clip_windows, new_frames
from .padding import pad_amount, pad_clip
from .steps import autocast

Progress = Callable[[int, int, int], None]


@torch.no_grad()
def sample_video(
    net: SeeClear,
    diffusion: BlurringResShift,
    lq: torch.Tensor,
    base: torch.Tensor,
    priors: SemanticPriors | None,
    name: str,
    seed: int = 0,
    noise_repeat: bool = False,
    amp: str | None = None,
    with_memory: bool = True,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Restore a video.

    What does not depend on the step is worked out once a clip. The noise of a clip follows from ``seed``, ``name`` and
    its number, so that it is the same whichever process samples the video, and in whatever order.

    Args:
        net: The network, in evaluation mode.
        diffusion: The process; its ``steps`` steps are made.
        lq: LR frames (T, 3, h, w) in [0, 1], RGB; T at least 1, any size.
        base: (T, 3, H, W) in [0, 1], what the diffusion starts from.
        priors: frame_tokens (1, T, K, C) and pixel_features (1, T, C, hp, wp) of the whole frames; None for a network
            that takes none.
        name: Of the video.
        seed: Seed of the noise.
        noise_repeat: All frames of a clip get the same noise.
        amp: Mixed precision of the network, ``bf16`` or ``fp16``; the process itself is in float32.
        with_memory: Whether the memory of textures takes part.
        progress: Called after every step with the number of the clip from 0, the number of clips, and the steps done.

    Returns:
        (T, 3, H, W) float32 in [0, 1].

    Raises:
        ValueError: The pixel features are not those of cells of 4x4 LR pixels.
    """
    height, width = base.shape[-2:]
    rows, columns = pad_amount(lq.size(-2), lq.size(-1), net.size_requirements)
    shown = _shown(priors, lq.size(-2), lq.size(-1))
    windows = clip_windows(lq.size(0), net.clip_length)
    memory = net.initial_memory(1) if with_memory else None
    restored = torch.empty(base.shape, dtype=torch.float32, device=base.device)
    for k, (window, fresh) in enumerate(zip(windows, new_frames(windows), strict=True)):
        frames = pad_clip(lq[window], rows, columns) * 2 - 1
        start = pad_clip(base[window], rows * net.scale, columns * net.scale, net.scale) * 2 - 1
        with autocast(lq.device, amp):
            condition = net.condition(frames[None], None if priors is None else priors.frames(window), memory, shown)
        features: list[torch.Tensor] = []

        def predict(x: torch.Tensor, t: int, condition=condition, start=start, features=features) -> torch.Tensor:
            step = torch.tensor([t], device=x.device)
            with autocast(x.device, amp):
                predicted, found = net.denoise(x[None], step, start[None], condition)
            features[:] = found
            return predicted[0]

        def on_step(t: int, _: torch.Tensor, k=k) -> None:
            if progress is not None:
                progress(k, len(windows), diffusion.steps - t + 1)

        generator = torch.Generator().manual_seed(clip_seed(seed, name, k))
        sampled = sample(diffusion, predict, start, generator, noise_repeat, on_step)
        restored[[window[place] for place in fresh]] = (sampled[fresh, :, :height, :width] + 1) / 2
        if memory is not None and k + 1 < len(windows):
            memory = remember(net, memory, features, amp)
    return restored


def remember(net: SeeClear, memory: MemoryState, features: list[torch.Tensor], amp: str | None) -> MemoryState:
    """The memory after a clip: what its last step has shown is written into it (Algorithm 1, lines 43 and 44)."""
    with autocast(features[0].device, amp):
        return net.update_memory(memory, features)


def clip_seed(seed: int, name: str, number: int) -> int:
    """A seed of 63 bits for the noise of one clip of one video."""
    digest = hashlib.sha256(f'{seed}/{name}/{number}'.encode()).digest()
    return int.from_bytes(digest[:8], 'big') >> 1


def _shown(priors: SemanticPriors | None, height: int, width: int) -> tuple[int, int] | None:
    """LR height and width that the pixel features of such frames cover; frames are padded beyond."""
    if priors is None or priors.pixel_features is None:
        return None
    grid = (-(-height // CELL), -(-width // CELL))
    if tuple(priors.pixel_features.shape[-2:]) != grid:
        raise ValueError(
            f'Pixel features of LR frames of {height}x{width} (height x width) have {grid[0]}x{grid[1]} cells, one for '
            f'each {CELL}x{CELL} pixels; these have {priors.pixel_features.size(-2)}x{priors.pixel_features.size(-1)}.'
        )
    return grid[0] * CELL, grid[1] * CELL
