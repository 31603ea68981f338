"""What the metrics of networks share: frames as tensors, the device, optional packages, and early building."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..utils.devices import usable_device
from ..utils.errors import UserError

Metric = TypeVar('Metric', bound=Callable[..., float])


def prepared_by(build: Callable[..., Any]) -> Callable[[Metric], Metric]:
    """Mark a metric whose network can be made before the first frame is there.

    Args:
        build: Makes and caches the network, of the options of the metric that it has arguments for. A run calls it
            before anything else, so that a missing package or file ends the run at once and not at its first
            validation.
    """

    def mark(metric: Metric) -> Metric:
        metric.prepare = build  # type: ignore[attr-defined]
        return metric

    return mark


def optional_package(name: str, metric: str) -> Any:
    """Import a package of the extra ``metrics``.

    Raises:
        UserError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition('.')[0]
        raise UserError(
            f'{metric} needs the package {package}, which cannot be imported ({error}). Install it with: '
            'pip install "basicsr-semantic[metrics]"'
        ) from error


def chosen_device(device: str | None) -> torch.device:
    """The device of an option ``device``; None takes the GPU of this process, if there is one.

    Raises:
        UserError: No such device.
    """
    if device is None:
        return torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else torch.device('cpu')
    return usable_device(device, "metrics' device")


def to_tensor(img: np.ndarray, device: torch.device, crop_border: int, smallest: int, metric: str) -> Tensor:
    """A frame as the networks take it.

    Args:
        img: (H, W, 3) uint8, BGR.
        device: Where it goes.
        crop_border: Pixels cut off at each side.
        smallest: The shortest side that the network accepts.
        metric: Name for the message.

    Returns:
        (1, 3, H, W) float32 in [0, 1], RGB.

    Raises:
        UserError: The frame is smaller than that.
    """
    if crop_border:
        img = img[crop_border:-crop_border, crop_border:-crop_border]
    height, width = img.shape[:2]
    if min(height, width) < smallest:
        raise UserError(
            f'{metric} needs frames of at least {smallest}x{smallest} pixels, but this one has {height}x{width}'
            f'{f" without a border of {crop_border}" if crop_border else ""}.'
        )
    return rgb_tensor(img, device)


def rgb_tensor(frame: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 BGR to (1, 3, H, W) float32 RGB in [0, 1]."""
    planes = np.ascontiguousarray(frame[:, :, ::-1].transpose(2, 0, 1))
    return torch.from_numpy(planes).to(device).float().div_(255).unsqueeze(0)
