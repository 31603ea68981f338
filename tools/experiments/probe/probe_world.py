"""Clips whose high frequencies only a prior can tell: the LR frames are the same, bit for bit, whatever the classes.

Photographs drift slowly, shapes move over them, and each area shows the texture of its class. A texture has a mean of
zero over every block of pixels that becomes one LR pixel, so nothing of it is left there. Textures come in pairs of
opposite sign, so their mean and their median over the classes are zero: without the class it is best to draw none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import skimage.data
import torch
from torch import Tensor
from torch.nn import functional as F

NUM_CLASSES = 6
AMPLITUDE = 1 / 16
NUM_IDENTITIES = 3
#: Values are multiples of this, so that sums of a block are exact in float32.
_STEP = 1 / 4096
_TRAINING, _HELD_OUT = ('astronaut', 'coffee', 'rocket', 'immunohistochemistry'), ('chelsea', 'camera', 'coins')
_TINTS = torch.tensor([[0.12, -0.12, 0.0], [-0.12, 0.12, 0.0], [0.0, -0.12, 0.12], [0.12, 0.0, -0.12]])
_REVEALED = torch.tensor([[0.2, 0, 0], [0, 0.2, 0], [0, 0, 0.2], [-0.2, 0, 0], [0, -0.2, 0], [0, 0, -0.2]])


@dataclass(frozen=True)
class World:
    """What clips are like.

    Attributes:
        scale: HR pixels a side of an LR pixel, 2 or 4.
        size: Rows and columns of the LR frames.
        shapes: Shapes of a clip; 0 leaves the background alone.
        sides: Least and largest side of a shape, in LR pixels.
        speed: Most LR pixels a frame that a shape moves in each direction.
        background: The background has a class; False leaves it without texture.
        tinted: Each shape has a colour of its own in the LR frames, which says nothing of its class.
        revealed: The LR frames show the class as a colour: 'all' of them, 'first', or 'none'.
        contrast: Of the photographs.
        frames: Frames T of a clip.
    """

    scale: int
    size: int = 12
    shapes: int = 2
    sides: tuple[int, int] = (4, 7)
    speed: int = 2
    background: bool = True
    tinted: bool = False
    revealed: str = 'none'
    contrast: float = 1.0
    frames: int = 3


@dataclass
class Clips:
    """A batch of b clips and the truth about them. Instance 0 is the background.

    Attributes:
        lq: (b, T, 3, S, S).
        gt: (b, T, 3, scale S, scale S).
        plain: GT without textures.
        texture: (b, T, 1, scale S, scale S), -1, 0 or 1.
        instances: Which instance each LR pixel shows (b, T, S, S).
        classes: Class of each instance (b, 1 + shapes); -1 for no texture.
        tints: Colour of each instance (b, 1 + shapes); 0 where it has none.
        identities: A number for each instance that tells it from others (b, 1 + shapes).
        told: A frame of each clip (b,), for priors that say the class there alone.
    """

    lq: Tensor
    gt: Tensor
    plain: Tensor
    texture: Tensor
    instances: Tensor
    classes: Tensor
    tints: Tensor
    identities: Tensor
    told: Tensor

    def class_map(self) -> Tensor:
        """The class of each LR pixel (b, T, S, S)."""
        return torch.gather(self.classes, 1, self.instances.flatten(1)).view_as(self.instances)


def make_clips(world: World, batch: int, generator: torch.Generator, held_out: bool = False) -> Clips:
    """Draw clips.

    Args:
        world: What they are like.
        batch: Clips b.
        generator: All that is random.
        held_out: Take the photographs that no training sees.
    """
    count = 1 + world.shapes
    classes = _distinct(batch, count, NUM_CLASSES, generator)
    if not world.background:
        classes[:, 0] = -1
    tints = _distinct(batch, count, len(_TINTS), generator) if world.tinted else torch.zeros(batch, count).long()
    identities = _distinct(batch, count, max(NUM_IDENTITIES, count), generator)
    drawn = [_geometry(world, generator, held_out) for _ in range(batch)]
    base, instances = (torch.stack(part) for part in zip(*drawn, strict=True))
    told = torch.randint(world.frames, (batch,), generator=generator)
    truth = (instances, classes, tints, identities, told)
    return _render(world, base, *truth)


def _render(world: World, base: Tensor, instances: Tensor, classes: Tensor, tints: Tensor, *others: Tensor) -> Clips:
    """Frames from their parts; ``base`` (b, T, 3, S, S) are the photographs."""
    size, frames = world.size, world.frames
    shown = torch.gather(classes, 1, instances.flatten(1)).view_as(instances)
    if world.tinted:
        colours = _TINTS[torch.gather(tints, 1, instances.flatten(1))].view(*instances.shape, 3).permute(0, 1, 4, 2, 3)
        base = base + colours * (instances > 0)[:, :, None]
    revealed = {'none': 0, 'first': 1, 'all': frames}[world.revealed]
    colours = (_REVEALED[shown.clamp(min=0)] * (shown >= 0)[..., None]).permute(0, 1, 4, 2, 3)
    base = torch.cat([base[:, :revealed] + colours[:, :revealed], base[:, revealed:]], dim=1)

    plain = F.interpolate(base.flatten(0, 1), scale_factor=world.scale, mode='bicubic', align_corners=False)
    plain = (plain / _STEP).round() * _STEP
    blocks = torch.cat([textures(world.scale), torch.zeros(1, world.scale, world.scale)])[shown]  # b T S S scale scale
    texture = blocks.permute(0, 1, 2, 4, 3, 5).reshape(-1, 1, world.scale * size, world.scale * size)
    gt, lq = plain + AMPLITUDE * texture, F.avg_pool2d(plain, world.scale)
    assert torch.equal(F.avg_pool2d(gt, world.scale), lq), 'LR frames show something of the textures.'
    lq, gt, plain, texture = (x.unflatten(0, (-1, frames)) for x in (lq, gt, plain, texture))
    return Clips(lq, gt, plain, texture, instances, classes, tints, *others)


@lru_cache(maxsize=2)
def textures(scale: int) -> Tensor:
    """The texture of every class on the HR pixels of one LR pixel (classes, scale, scale), -1 or 1."""
    flat, fine = torch.ones(scale), 1.0 - 2.0 * (torch.arange(scale) % 2)
    three = torch.stack([torch.outer(*pair) for pair in ((flat, fine), (fine, flat), (fine, fine))])
    return torch.stack([three, -three], dim=1).flatten(0, 1)


def _distinct(batch: int, count: int, numbers: int, generator: torch.Generator) -> Tensor:
    return torch.stack([torch.randperm(numbers, generator=generator)[:count] for _ in range(batch)])


@lru_cache(maxsize=2)
def _photographs(names: Sequence[str]) -> list[Tensor]:
    """Photographs (3, h, w) in [0.2, 0.8], a third of their size."""
    found = []
    for name in names:
        pixels = np.asarray(getattr(skimage.data, name)(), np.float32) / 255
        pixels = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
        image = F.avg_pool2d(torch.from_numpy(pixels).permute(2, 0, 1)[None], 3)[0]
        found.append(image * 0.6 + 0.2)
    return found


def _geometry(world: World, generator: torch.Generator, held_out: bool) -> tuple[Tensor, Tensor]:
    """Of one clip: photographs (T, 3, S, S), and the instance that each pixel shows (T, S, S)."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    size, frames = world.size, world.frames
    photographs = _photographs(_HELD_OUT if held_out else _TRAINING)
    photograph = photographs[draw(0, len(photographs) - 1)]
    top, left = (draw(frames, length - size - frames) for length in photograph.shape[1:])
    down, right = draw(-1, 1), draw(-1, 1)
    shapes = []
    for _ in range(world.shapes):
        sides = draw(*world.sides), draw(*world.sides)
        corner = [draw(0, size - side) for side in sides]
        shapes.append((sides, corner, (draw(-world.speed, world.speed), draw(-world.speed, world.speed)), draw(0, 1)))
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing='ij')
    base, instances = torch.empty(frames, 3, size, size), torch.zeros(frames, size, size, dtype=torch.long)
    for t in range(frames):
        y, x = top + t * down, left + t * right
        base[t] = 0.5 + world.contrast * (photograph[:, y : y + size, x : x + size] - 0.5)
        for k, ((height, width), corner, motion, is_round) in enumerate(shapes):
            y, x = (rows - corner[0] - t * motion[0], columns - corner[1] - t * motion[1])
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            if is_round:
                inside &= ((2 * y + 1) / height - 1) ** 2 + ((2 * x + 1) / width - 1) ** 2 <= 1
            instances[t][inside] = k + 1
    return base, instances


def psnr(frames: Tensor, gt: Tensor) -> float:
    """Mean over the clips, in dB, of the PSNR over all pixels and channels; range 1."""
    return float(-10 * (frames - gt).square().flatten(1).mean(1).log10().mean())


def shown_share(frames: Tensor, clips: Clips) -> float:
    """How much of the true texture's amplitude frames show: 1 all, 0 none, below 0 more of a wrong one."""
    texture = clips.texture.expand_as(frames)
    return float(((frames - clips.plain) * texture).sum() / (AMPLITUDE * texture.square().sum()))
