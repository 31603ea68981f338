"""Half precision and compiled networks, where they are faster on this machine, and how near the result is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..priors.geometry import ClipGeometry
from .choices import Choices
from .scene_restorers import Progress, Saved, SceneRestorer, ScenesWithin, never, silent
from .scenes import Scene, SceneView

_GAIN = 1.05
"""How many times as fast as float32 a way must be."""
_SIDE, _FRAMES = 256, 3
"""Of the piece of the scene that every way is tried on."""
_WORTH = 200
"""Frames from which on a network is compiled; it takes about a minute."""
_COMPILED = ('spynet', 'backward_trunk', 'forward_trunk')
"""Parts of BasicVSR that take nearly all of its time; of other networks the whole is compiled."""


@dataclass(frozen=True)
class Way:
    """One way to run a network."""

    half: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        return ('bfloat16' if self.half else 'float32') + (', compiled' if self.compiled else '')


class FastScenes(ScenesWithin):
    """The fastest of float32 and bfloat16, compiled or not, as it is measured on the first frames.

    Args:
        inner: Restores a scene.
        net: The network that it does it with.
        device: Where it is.
        choices: Keeps what was chosen.
        say: Is told in a sentence what was chosen, and the PSNR of its result against that of float32.
    """

    def __init__(
        self,
        inner: SceneRestorer,
        net: nn.Module,
        device: torch.device,
        choices: Choices | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(inner)
        self.net, self.device = net, device
        self.choices, self.say = choices or Choices(), say or (lambda sentence: None)
        self._way: Way | None = None
        parts = {name: getattr(net, name, None) for name in _COMPILED}
        known = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
        self._plain: dict[str, Any] = known or {'forward': net.forward}
        self._compiled: dict[str, Any] = {}

    def restore(
        self, scene: Scene, first: int = 0, saved: Saved = never, progress: Progress = silent
    ) -> Iterator[Tensor]:
        """See `SceneRestorer`."""
        if self._way is None:
            known = self.choices.get('way')
            self._way = self._choose(scene) if known is None else Way(*known)
            self.choices.put('way', [self._way.half, self._way.compiled])
        yield from self._run(self._way, scene, first, saved, progress)

    def _run(
        self, way: Way, scene: Scene, first: int = 0, saved: Saved = never, progress: Progress = silent
    ) -> Iterator[Tensor]:
        frames = self.inner.restore(scene, first, saved, progress)
        while True:
            with self._set(way):  # for one frame: several scenes may be restored side by side
                made = next(frames, None)
            if made is None:
                return
            yield made.float()

    @contextlib.contextmanager
    def _set(self, way: Way) -> Iterator[None]:
        """With the network as a way has it."""
        if way.compiled and not self._compiled:
            self._compiled = {name: torch.compile(part) for name, part in self._plain.items()}
        try:
            for name, part in self._compiled.items() if way.compiled else ():
                setattr(self.net, name, part)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=way.half):
                yield
        finally:
            for name, part in self._plain.items() if way.compiled else ():
                setattr(self.net, name, part)

    def _choose(self, scene: Scene) -> Way:
        scene = scene.whole  # a tile, or a piece that is tried, says less
        height, width = (min(_SIDE, side) for side in scene.size)
        view = SceneView(scene, 'tried_fast', ClipGeometry(0, 0, height, width), count=min(_FRAMES, len(scene)))
        found: dict[Way, tuple[float, Tensor]] = {}
        both = (False, True)
        halves = both if _half_is_faster(self.device) else (False,)
        for compiled, half in product(both if len(scene) >= _WORTH else (False,), halves):
            way = Way(half, compiled)
            try:
                found[way] = self._measure(way, view)
            except Exception as error:
                if way == Way():
                    raise
                self.say(f'{way} cannot be used here: {str(error).strip().splitlines()[0]}')
        view.remove()
        seconds, right = found[Way()]
        best = min(found, key=lambda way: found[way][0])
        if seconds < _GAIN * found[best][0]:
            self.say('float32, since nothing is faster on this machine.')
            return Way()
        error = (found[best][1].clamp(0, 1) - right.clamp(0, 1)).square().mean().clamp_min(1e-12)
        self.say(
            f'{best}: {seconds / found[best][0]:.2f} times as fast as float32; PSNR {-10 * error.log10():.1f} dB '
            'against its result.'
        )
        return best

    def _measure(self, way: Way, view: Scene) -> tuple[float, Tensor]:
        """Seconds, the second time, and the result."""
        for _ in range(2):
            for file in view.folder.iterdir():
                file.unlink()
            started = time.perf_counter()
            made = torch.stack([frame.cpu() for frame in self._run(way, view)])
            seconds = time.perf_counter() - started
        return seconds, made


def _half_is_faster(device: torch.device) -> bool:
    """Whether one convolution is: a processor that emulates bfloat16 takes a hundred times as long for a network."""
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        layer = nn.Conv2d(64, 64, 3, padding=1, device=device, dtype=dtype)
        x = torch.zeros(1, 64, 64, 64, device=device, dtype=dtype)
        with torch.inference_mode():
            layer(x)
            _wait(device)
            started = time.perf_counter()
            layer(x)
            _wait(device)
        seconds.append(time.perf_counter() - started)
    return seconds[1] < seconds[0]


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
