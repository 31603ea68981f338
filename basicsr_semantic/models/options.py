"""The options of :class:`SemanticVSRModel`, section by section; the option checker and the JSON Schema read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .common_options import FileOptions, StepOptions, ValidationOptions


@dataclass
class TrainOptions(StepOptions):
    """Section ``train``."""

    pixel_opt: dict[str, Any] | None = None
    """Pixel loss: ``type`` and its arguments."""
    perceptual_opt: dict[str, Any] | None = None
    """Perceptual loss: ``type`` and its arguments; frames are judged one by one."""
    trainable: list[str] | None = None
    """Beginnings of the names of parameters that train; all others are frozen. None: everything trains."""
    accumulate: int = 1
    """Parts into which a batch is split to save memory; the step equals that of the whole batch."""
    compile: bool = False
    """Compile the network with torch.compile (needs a C++ compiler on CPU)."""
    flow_lr_mul: float = 1
    """Factor on the learning rate of SPyNet."""
    dcn_lr_mul: float = 1
    """Factor on the learning rate of deformable convolutions."""
    fix_flow: int | None = None
    """SPyNet rests before this iteration."""
    tsa_iter: int | None = None
    """Everything but the TSA fusion rests before this iteration (EDVR)."""


@dataclass
class PathOptions(FileOptions):
    """Section ``path``."""

    pretrain_adapter_g: str | None = None
    """Adapter checkpoint (``net_g_seem_*.pth``), loaded on top of the baseline."""
    allow_prior_mismatch: bool = False
    """Accept priors of another kind, or instance tokens of another network, than the network was trained with."""


@dataclass
class ValOptions(ValidationOptions):
    """Section ``val``."""

    flip_seq: bool = False
    """Average with the clip played backwards after itself."""
    center_frame_only: bool = False
    """Judge the middle frame of each clip only (Vimeo-90K)."""
