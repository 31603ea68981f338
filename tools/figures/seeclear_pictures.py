"""Draws the forward process of SeeClear and those that it is made of, and their power spectra (its Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from basicsr_semantic.diffusion import BlurringResShift
from basicsr_semantic.diffusion.patch_dct import dct_matrix, squared_frequencies, to_frequencies, to_images
from basicsr_semantic.diffusion.schedules import blur_schedule

SCALE = 4
PROCESSES = {
    'ihdm': 'Blur of the whole image (IHDM)',
    'patch': 'Blur of 4x4 patches',
    'resshift': 'ResShift: shift to the base, noise',
    'blurring_resshift': 'Blurring ResShift: blur of patches, shift, noise',
}
#: Top and left of the square of the spectra.
LARGE = (22, 98)
LUMA = torch.tensor((0.299, 0.587, 0.114)).view(3, 1, 1)


def photograph(top: int = 0, left: int = 0, side: int = 256) -> tuple[Tensor, Tensor]:
    """A square of a photograph of scikit-image and its base (1, 3, side, side), in [-1, 1].

    The base is the square made four times smaller and larger again, both bicubic.
    """
    from skimage import data

    cut = np.ascontiguousarray(data.chelsea()[top : top + side, left : left + side])
    image = torch.from_numpy(cut).permute(2, 0, 1)[None].float() / 127.5 - 1
    low = F.interpolate(image, scale_factor=1 / SCALE, mode='bicubic', antialias=True, align_corners=False)
    base = F.interpolate(low, scale_factor=float(SCALE), mode='bicubic', align_corners=False)
    return image, base.clamp(-1, 1)


def state(process: str, image: Tensor, base: Tensor, t: int, noise: Tensor) -> Tensor:
    """x_t of a process; 0 is the image.

    Args:
        process: Key of `PROCESSES`.
        image: (1, 3, side, side).
        base: What ResShift shifts to, of the same shape.
        t: Step, 0 to 15.
        noise: Standard normal, of the same shape.
    """
    if t == 0:
        return image
    if process == 'resshift':
        return BlurringResShift(sigma_max=0).q_sample(image, base, t, noise)
    ours = BlurringResShift()
    if process == 'blurring_resshift':
        return ours.q_sample(image, base, t, noise)
    patch = image.size(-1) if process == 'ihdm' else ours.patch
    matrix, kept = dct_matrix(patch), (-squared_frequencies(patch) * blur_schedule(15, 0.5, 2**0.5)[t]).exp()
    return to_images(to_frequencies(image.double(), matrix) * kept, matrix).float()


def blur_and_noise() -> list[dict[str, float]]:
    """For every step: what the blur takes off the mean of the photograph, as a root mean square, and the noise."""
    image, base = photograph(*LARGE)
    blurring, sharp = BlurringResShift(), BlurringResShift(sigma_max=0)
    rows = []
    for t in range(1, blurring.steps + 1):
        mean, std = blurring.marginal(image, base, t)
        taken = (sharp.marginal(image, base, t)[0] - mean).square().mean().sqrt()
        rows.append({'t': t, 'taken': taken.item(), 'noise': std.item()})
    return rows


def power_spectrum(image: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Power of the luminance at every radius, in a Hann window, so that the borders have no effect.

    Args:
        image: (1, 3, side, side).

    Returns:
        Radii in cycles a pixel, up to 0.5, and the mean power there; white noise of variance v has v at every radius.
    """
    luma = (image[0] * LUMA).sum(0).double()
    side = luma.size(-1)
    window = torch.hann_window(side, periodic=False, dtype=torch.float64)
    window = window[:, None] * window[None]
    power = torch.fft.fft2((luma - luma.mean()) * window).abs().square() / window.square().sum()
    cycles = torch.fft.fftfreq(side, dtype=torch.float64) * side
    radius = (cycles[:, None] ** 2 + cycles[None] ** 2).sqrt().round().long().flatten()
    total = torch.bincount(radius, power.flatten()) / torch.bincount(radius)
    radii = torch.arange(1, side // 2 + 1)
    return (radii / side).numpy(), total[radii].numpy()


def shown(image: Tensor) -> np.ndarray:
    """(side, side, 3) uint8."""
    return ((image[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def forward_picture(path: Path, steps: Sequence[int] = (1, 2, 4, 8, 15), top: int = 84, left: int = 150) -> None:
    """Rows are processes, columns steps; the image before them and the base behind."""
    image, base = photograph(top, left, side := 128)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    heads = ['HR', *(f't = {t}' for t in steps), 'base']
    gap, title, first = 8, 28, 18
    width = len(heads) * (side + gap) + gap
    height = first + len(PROCESSES) * (side + title) + gap
    figure = new_figure(width, height)

    def text(x: float, y: float, words: str, **style: Any) -> None:
        figure.text(x / width, 1 - y / height, words, va='center', **style)

    for column, head in enumerate(heads):
        text(gap + column * (side + gap) + side / 2, first - 8, head, ha='center', size=11)
    for row, (key, name) in enumerate(PROCESSES.items()):
        y = first + row * (side + title)
        text(gap, y + 15, name, ha='left', size=11, weight='bold')
        pictures = [image, *(state(key, image, base, t, noise) for t in steps), base]
        for column, picture in enumerate(pictures):
            x = gap + column * (side + gap)
            box = (x / width, 1 - (y + title + side) / height, side / width, side / height)
            axes = figure.add_axes(box)
            axes.imshow(shown(picture), interpolation='nearest')
            axes.set_axis_off()
    save(figure, path, colours=256)


def spectra_picture(path: Path, steps: Sequence[int] = (1, 2, 4, 8, 15)) -> None:
    """A panel a process: the spectrum of its states, of the image and of the base."""
    from matplotlib import colormaps

    image, base = photograph(*LARGE)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    figure = new_figure(980, 640)
    colours = colormaps['viridis'](np.linspace(0.85, 0.1, len(steps)))
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    ticks = [2.0**-k for k in range(6, 0, -1)]
    for axes, (key, name) in zip(panels.flat, PROCESSES.items(), strict=True):
        axes.plot(*power_spectrum(image), color='black', lw=1.6, label='HR')
        axes.plot(*power_spectrum(base), color='tab:red', lw=1.6, ls='--', label='base')
        for t, colour in zip(steps, colours, strict=True):
            axes.plot(*power_spectrum(state(key, image, base, t, noise)), color=colour, lw=1.2, label=f't = {t}')
            if 'resshift' in key:
                mean = state(key, image, base, t, torch.zeros_like(noise))
                axes.plot(*power_spectrum(mean), color=colour, lw=1.0, ls=':')
        axes.axvline(0.5 / SCALE, color='0.7', lw=0.8)
        axes.set(xscale='log', yscale='log', xlim=(1 / 64, 0.5), ylim=(1e-6, 1e2))
        axes.set_xticks(ticks, [f'1/{round(1 / tick)}' for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_title(name, fontsize=11, loc='left', weight='bold')
        axes.spines[['top', 'right']].set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel('cycles per pixel')
    for axes in panels[:, 0]:
        axes.set_ylabel('power of the luminance')
    panels[0, 0].annotate('limit of the LR frame', (0.5 / SCALE, 20), (4, 0), textcoords='offset points', color='0.4')
    panels[1, 0].annotate('dotted: without the noise', (0.03, 0.06), xycoords='axes fraction', color='0.3')
    panels[0, 0].legend(frameon=False, fontsize=9, loc='lower left')
    figure.tight_layout()
    save(figure, path)


def new_figure(width: int, height: int) -> Any:
    """An empty figure of so many pixels, drawn without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width / 100, height / 100), dpi=100, facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path, colours: int | None = None) -> None:
    """Write a PNG, without a date in it.

    Args:
        figure: The figure.
        path: File; its folder is made.
        colours: So many colours, chosen to fit, where noise would make the file large.
    """
    from PIL import Image

    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    if colours is not None:
        picture = picture.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
