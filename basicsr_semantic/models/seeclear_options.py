"""The options of :class:`SeeClearModel`, section by section; the option checker and the JSON Schema read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..config import sections
from ..config.section import Built
from ..diffusion import BlurringResShift
from . import semantic_vsr_options as options


class SeeClearTopOptions(options.SemanticVSRTopOptions):
    """Top level; ``network_g`` is the network that predicts clips: type SeeClear and its arguments."""

    diffusion: Annotated[dict[str, Any], Built('diffusion', BlurringResShift)] = {}
    """The diffusion between a clip and its base: arguments of BlurringResShift. Those of training are kept in the
    checkpoint; a test may change the posterior alone."""
    base_upsampler: Annotated[dict[str, Any], Built('arch')] | str = 'bicubic'
    """What makes the base that the diffusion starts from: bicubic, or (SeeClear*) a video super-resolution network,
    type and arguments of any arch; its weights are path:pretrain_base_upsampler."""


class SeeClearTrainOptions(options.SemanticVSRTrainOptions):
    """Section ``train``."""

    stage: Literal['condenser', 'memory', 'joint'] = 'condenser'
    """What trains: condenser, all but the memory of textures, on single clips; memory, that alone, on several clips of
    a video one after the other; joint, everything, also on several clips. The last two go on from
    path:pretrain_network_g."""


class SeeClearPathOptions(options.SemanticVSRPathOptions):
    """Section ``path``."""

    pretrain_base_upsampler: str | None = None
    """Weights of base_upsampler, where that is a network."""
    param_key_base_upsampler: str | None = 'params'
    """Which weights of that file: ``params``, ``params_ema`` or any other key of it; ~: the file itself."""


class SeeClearValOptions(sections.ValOptions):
    """Section ``val``."""

    sample_steps: Annotated[int, Field(ge=1)] | None = None
    """Steps of the diffusion when sampling, at most those of training; fewer visit some of its states. None: all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the noise; each clip of each video has its own, in any process and on any machine."""
    noise_repeat: bool = False
    """All frames of a clip get the same noise, which makes them flicker less."""
    amp: Literal['bf16', 'fp16'] | None = None
    """Mixed precision of the network when sampling; None: float32. The diffusion itself is always in float32."""
    center_frame_only: bool = False
    """Judge the middle frame of each clip only (Vimeo-90K)."""
