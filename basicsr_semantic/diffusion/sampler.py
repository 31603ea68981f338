"""From the base to the image, step by step."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .blurring_resshift import BlurringResShift

Predict = Callable[[torch.Tensor, int], torch.Tensor]


def draw_noise(
    shape: torch.Size | tuple[int, ...], generator: torch.Generator | None, device: torch.device, repeat: bool = False
) -> torch.Tensor:
    """Standard normal float32 of this shape, drawn on the generator's device: a seed means the same on every machine.

    Args:
        shape: (frames, 3, h, w).
        generator: None: the default generator of the CPU.
        device: Where the noise is needed.
        repeat: All frames get the same noise, which makes them flicker less.
    """
    drawn = torch.randn((1, *shape[1:]) if repeat else shape, generator=generator, dtype=torch.float32)
    return drawn.expand(shape).to(device)


@torch.no_grad()
def sample(
    diffusion: BlurringResShift,
    predict: Predict,
    base: torch.Tensor,
    generator: torch.Generator | None = None,
    noise_repeat: bool = False,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Sample images (SeeClear, Algorithm 1, lines 2 to 42).

    Args:
        diffusion: The process; its ``steps`` steps are made.
        predict: Gives the image (b, 3, h, w) in [-1, 1] from x_t, scaled as :meth:`BlurringResShift.scale_input` does,
            and from t, which runs down ``diffusion.visited`` (``steps`` to 1). Its result is clamped.
        base: (b, 3, h, w) in [-1, 1].
        generator: A CPU generator; None: PyTorch's default.
        noise_repeat: All b images get the same noise.
        on_step: Called with t and the clamped prediction after every step.

    Returns:
        (b, 3, h, w) in [-1, 1]: the last prediction.
    """

    def noise() -> torch.Tensor:
        return draw_noise(base.shape, generator, base.device, noise_repeat)

    x = diffusion.prior_sample(base, noise())
    for t in range(diffusion.steps, 0, -1):
        image = predict(diffusion.scale_input(x, t), diffusion.visited[t]).float().clamp(-1, 1)
        x = diffusion.step(x, image, base, t, noise()) if t > 1 else image
        if on_step is not None:
            on_step(t, image)
    return x
