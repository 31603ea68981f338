"""How scenes are to be restored, and the restorer that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from ..inference import Restorer
from ..utils.errors import UserError
from .choices import Choices
from .ensemble import EnsembleScenes
from .fast import FastScenes
from .scene_restorers import RecurrentScenes, SceneRestorer, plain_restorer
from .tiles import TiledScenes


@dataclass
class Plan:
    """How scenes are restored.

    Attributes:
        window: Frames of a window; None: as the network needs it.
        overlap: Frames that windows share; None: as the network needs it.
        tile: Side of tiles in pixels of the input; 0: whole frames; None: the largest that fits.
        ensemble: The mean of mirrorings, in both directions of time.
        fast: Half precision and compiled, where that is faster.

    Raises:
        UserError: A number of frames or pixels that is none.
    """

    window: int | None = None
    overlap: int | None = None
    tile: int | None = None
    ensemble: bool = False
    fast: bool = False

    def __post_init__(self) -> None:
        for name, least, what in (('window', 1, 'frames, at least 1'), ('overlap', 0, 'frames, at least 0')):
            _check_whole(name, getattr(self, name), least, what)
        _check_whole('tile', self.tile, None, 'pixels, 0 or None')


def _check_whole(name: str, value: object, least: int | None, what: str) -> None:
    if value is not None and (type(value) is not int or (least is not None and value < least)):
        raise UserError(f'{name} is a number of {what}, not {value!r}.')


def scale_of(restorer: Restorer) -> int:
    """How many times a network enlarges; where neither it nor its file says so, as those of BasicSR, it is tried."""
    if restorer.scale is None:
        device = next(restorer.parameters()).device
        side = 64
        made = restorer(torch.zeros(1, 1, 3, side, side, device=device))
        restorer.scale = made.size(-1) // side
    return int(restorer.scale)


def restorer_of_scenes(
    restorer: Restorer, plan: Plan, choices: Choices | None = None, say: Callable[[str], None] | None = None
) -> SceneRestorer:
    """What restores scenes by a network.

    Args:
        restorer: The network.
        plan: How.
        choices: Keeps what is found out on the way.
        say: Is told it in sentences.

    Raises:
        UserError: The side is none that a tile can have.
    """
    plain = plain_restorer(restorer, plan.window, plan.overlap)
    device, scale = plain.device, scale_of(restorer)
    scenes: SceneRestorer = plain
    if plan.fast:
        net = cast(nn.Module, plain.net if isinstance(plain, RecurrentScenes) else restorer.net)
        scenes = FastScenes(scenes, net, device, choices, say)
    scenes = TiledScenes(scenes, device, scale, plan.tile, choices)
    return EnsembleScenes(scenes, scale) if plan.ensemble else scenes
