"""The options of :class:`SemanticVSRModel`, section by section; the option checker and the JSON Schema read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ..config import sections
from ..config.section import Built, Factor, Iterations, Number, Positive, Section
from .common_options import FileOptions, StepOptions


class SourceOptions(Section):
    """Section ``network_s``, without the arguments of the extractor."""

    type: str
    """stored_tokens (tokens and masks as the store has them), or an extractor: xdecoder, openseed or one of yours."""
    extract_mode: Literal['cached', 'online_full', 'online_patch'] = 'cached'
    """cached: priors from dataroot_priors, only instances are worked out in the run; online_full: from whole frames in
    the run (needs whole_frames: true in the training data); online_patch: from the crops in the run."""

    @classmethod
    def reads_file(cls, key: str, values: Mapping[str, Any]) -> bool:
        """Of an extractor whose priors are cached only the instance network runs."""
        return key == 'instance_checkpoint' or values.get('extract_mode', 'cached') != 'cached'


class SemanticVSRTopOptions(sections.TopOptions):
    """Top level."""

    network_g: Annotated[dict[str, Any], Built('arch')]
    """The network: type and arguments of an arch."""
    network_s: Annotated[dict[str, Any], Built('extractor', options=SourceOptions)] | None = None
    """Frozen extractor of priors; it is not saved in checkpoints."""


class SemanticVSRTrainOptions(StepOptions):
    """Section ``train``."""

    pixel_opt: dict[str, Any] | None = None
    """Pixel loss: ``type`` and its arguments."""
    perceptual_opt: dict[str, Any] | None = None
    """Perceptual loss: ``type`` and its arguments; frames are judged one by one."""
    trainable: list[str] | None = None
    """Beginnings of the names of parameters that train; all others are frozen. None: everything trains."""
    prior_dropout: Annotated[Number, Field(ge=0, lt=1)] = 0
    """Probability with which a clip of a training batch gets neutral priors, those of missing_priors: neutral, in place
    of its own, so that the network sees clips without them, too. 0: never."""
    accumulate: Positive = 1
    """Parts into which a batch is split to save memory; the step equals that of the whole batch."""
    compile: bool = False
    """Compile the network with torch.compile (needs a C++ compiler on CPU)."""
    flow_lr_mul: Factor = 1
    """Factor on the learning rate of SPyNet."""
    dcn_lr_mul: Factor = 1
    """Factor on the learning rate of deformable convolutions."""
    fix_flow: Iterations | None = None
    """SPyNet is frozen before this iteration."""
    tsa_iter: Iterations | None = None
    """Everything but the TSA fusion is frozen before this iteration (EDVR)."""


class SemanticVSRPathOptions(FileOptions):
    """Section ``path``."""

    pretrain_adapter_g: str | None = None
    """Adapter checkpoint (``net_g_seem_*.pth``), loaded on top of the baseline."""
    allow_prior_mismatch: bool = False
    """Accept priors of another kind, or instance tokens of another network, than the network was trained with."""


class SemanticVSRValOptions(sections.ValOptions):
    """Section ``val``."""

    flip_seq: bool = False
    """Average with the clip played backwards after itself."""
    center_frame_only: bool = False
    """Judge the middle frame of each clip only (Vimeo-90K)."""
