"""The options of :class:`VideoInstanceModel`, section by section; the option checker and the JSON Schema read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..utils.errors import UserError
from .common_options import FileOptions, StepOptions, ValidationOptions


@dataclass
class TopOptions:
    """Top level, besides the keys of every option file."""

    network_g: dict[str, Any]
    """The instance encoder and decoder: type InstanceTransformer and its arguments."""
    frame_decoder: dict[str, Any]
    """What describes single frames: type xdecoder; preset (focal_t, focal_l) and sizes that replace the preset's;
    text_embeddings, the file of tools/make_text_embeddings.py, which names the classes to a frozen frame decoder."""


@dataclass
class TrainOptions(StepOptions):
    """Section ``train``."""

    instance_opt: dict[str, Any] = field(default_factory=lambda: {'type': 'VideoInstanceLoss'})
    """The loss: type VideoInstanceLoss and its arguments."""
    trainable: list[str] = field(default_factory=lambda: ['instance'])
    """What trains: instance alone, on top of a frozen frame decoder, or [frame_decoder, instance]; longer beginnings of
    parameter names train parts of them."""
    frame_decoder_lr_mul: float = 1
    """Factor on the learning rate of the frame decoder."""


@dataclass
class PathOptions(FileOptions):
    """Section ``path``; ``param_key_g`` is for the frame decoder too."""

    pretrain_frame_decoder: str | None = None
    """Checkpoint of the frame decoder, a released one or ours; needed unless it trains."""
    pretrain_network_f: str | None = None
    """Checkpoint of a frame decoder that trained (``net_f_*.pth``); goes before pretrain_frame_decoder."""


@dataclass
class ValOptions(ValidationOptions):
    """Section ``val``. Nothing is drawn, and AP and AR are always measured."""

    max_instances: int = 10
    """Predictions of a video, by score."""
    chunk: int = 4
    """Frames that the frame decoder sees at a time."""
    frames_on_device: int = 36
    """Videos of more frames keep their pixel features in main memory."""

    def __post_init__(self) -> None:
        for name in ('max_instances', 'chunk'):
            if getattr(self, name) < 1:
                raise UserError(f'val:{name} is {getattr(self, name)}; at least 1 is needed.')
