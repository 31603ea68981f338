"""Optical flow for metrics: a registered network with its weights, or Farnebäck's method, which has none."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from ..config.section import Built, Section
from ..engine.checkpoint import load_weights
from ..utils.errors import MissingError, UserError, full_stop
from .frames import rgb_tensor

FARNEBACK = 'farneback'


class NetworkOptions(Section):
    """Section ``flow`` of a metric, without the arguments of the network."""

    type: str
    """A registered network that gives the flow from ref to supp."""
    load_path: str | None = None
    """Its weights."""


FlowOption = Literal['farneback'] | Annotated[dict[str, Any], Built('arch', options=NetworkOptions)]
"""farneback, or a section with the type of a network, its arguments and load_path."""

Flow = Callable[[np.ndarray, np.ndarray], Tensor]
"""Of frames ``ref`` and ``supp``, (H, W, 3) uint8 BGR: (1, 2, H, W), pixels to the right and down, so that ``supp``
read at p + flow(p) shows what ``ref`` shows at p."""


def flow_of(option: str | Mapping[str, Any], device: torch.device) -> Flow:
    """The flow that an option ``flow`` asks for; networks are made once.

    Args:
        option: ``farneback``, or a section ``{type: SpyNet, load_path: FILE}`` of a registered arch whose
            ``forward(ref, supp)`` takes (n, 3, H, W) in [0, 1], RGB, and returns (n, 2, H, W).
        device: Where the network runs.

    Raises:
        UserError: No such arch, arguments that it refuses, or no weights for it.
    """
    if isinstance(option, str):
        if option != FARNEBACK:
            raise UserError(f"flow: '{option}' is neither {FARNEBACK} nor a section with the type of a network.")
        return functools.partial(_farneback, device=device)
    return _network(json.dumps(dict(option), sort_keys=True), device)


def _farneback(ref: np.ndarray, supp: np.ndarray, device: torch.device) -> Tensor:
    """Farnebäck, SCIA 2003, on the grey images, with the defaults of OpenCV's class."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (ref, supp)]
    flow = cv2.FarnebackOpticalFlow.create().calc(grey[0], grey[1], None)  # type: ignore[call-overload]
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1))).unsqueeze(0).to(device)


@functools.lru_cache(maxsize=4)
def _network(section: str, device: torch.device) -> Flow:
    from ..config.components import find
    from ..config.signatures import arguments_of

    options = json.loads(section)
    name, path = options.pop('type', None), options.pop('load_path', None)
    arch = find('arch', name)
    if arch is None:
        raise MissingError(f'flow: no arch is registered as {name!r}.', 'component', kind='arch')
    if path is not None and not Path(path).expanduser().is_file():
        raise UserError(f"flow:load_path: the file '{path}' does not exist.")
    file = str(Path(path).expanduser()) if path else None
    loads_itself = file is not None and 'load_path' in arguments_of(arch.target).model_fields
    with torch.random.fork_rng(devices=[]):
        try:
            net = arch.target(**options, **({'load_path': file} if loads_itself else {}))
        except Exception as error:  # of the network's own code: wrong arguments, a file of another network
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f'flow: {name} cannot be made with {section}: {full_stop(first)}') from error
    if file and not loads_itself:
        load_weights(net, file, role=None)
    if not file and any(True for _ in net.parameters()):
        raise UserError(
            f'flow: {name} has weights and no load_path names them; with random ones the error would mean nothing. '
            f'Without a file of weights use flow: {FARNEBACK}.'
        )
    net = net.eval().requires_grad_(False).to(device)

    def flow(ref: np.ndarray, supp: np.ndarray) -> Tensor:
        with torch.no_grad():
            found = net(*(rgb_tensor(frame, device) for frame in (ref, supp)))
        if not torch.is_tensor(found) or found.shape != (1, 2, *ref.shape[:2]):
            raise UserError(f'flow: {name} gives something else than a flow (n, 2, H, W) of the size of the frames.')
        return found.float()

    return flow
