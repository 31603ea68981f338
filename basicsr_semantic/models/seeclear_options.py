"""The options of :class:`SeeClearModel`, section by section; the option checker and the JSON Schema read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from . import options
from .common_options import ValidationOptions


@dataclass
class TopOptions:
    """Top level, besides the keys of every option file."""

    network_g: dict[str, Any]
    """The network that predicts clips: type SeeClear and its arguments."""
    diffusion: dict[str, Any] = field(default_factory=dict)
    """The diffusion between a clip and its base: arguments of BlurringResShift. Those of training are kept in the
    checkpoint; a test may change the posterior alone."""
    base_upsampler: str | dict[str, Any] = 'bicubic'
    """What makes the base that the diffusion starts from: bicubic, or (SeeClear*) a video super-resolution network,
    type and arguments of any arch; its weights are path:pretrain_base_upsampler."""
    network_s: dict[str, Any] | None = None
    """Frozen extractor of priors; in no checkpoint."""


@dataclass
class TrainOptions(options.TrainOptions):
    """Section ``train``."""

    stage: Literal['condenser', 'memory', 'joint'] = 'condenser'
    """What trains: condenser, all but the memory of textures, on single clips; memory, that alone, on several clips of
    a video one after the other; joint, everything, likewise. The last two go on from path:pretrain_network_g."""


@dataclass
class PathOptions(options.PathOptions):
    """Section ``path``."""

    pretrain_base_upsampler: str | None = None
    """Weights of base_upsampler, where that is a network."""
    param_key_base_upsampler: str = 'params'
    """Which weights of that file: ``params`` or ``params_ema``."""


@dataclass
class ValOptions(ValidationOptions):
    """Section ``val``."""

    sample_steps: int | None = None
    """Steps of the diffusion when sampling, at most those of training; fewer visit some of its states. None: all."""
    seed: int = 0
    """Seed of the noise; each clip of each video has its own, whoever samples it and on which machine."""
    noise_repeat: bool = False
    """All frames of a clip get the same noise, which makes them flicker less."""
    amp: Literal['bf16', 'fp16'] | None = None
    """Mixed precision of the network when sampling; None: float32. The diffusion itself is always in float32."""
    center_frame_only: bool = False
    """Judge the middle frame of each clip only (Vimeo-90K)."""
