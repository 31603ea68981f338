"""The options that all our models have, section by section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ..config import sections
from ..config.section import AnySection, Built, Number, Section, read_section


def _some(prefixes: list[str]) -> list[str]:
    if not prefixes:
        raise ValueError('It is empty, so the group would hold nothing. Name how its parameters begin.')
    return prefixes


class RateGroup(Section):
    """One entry of ``train:optim_g:groups``."""

    prefixes: Annotated[list[str], AfterValidator(_some)]
    """Beginnings of the names of parameters that train, as in train:trainable."""
    lr_scale: Annotated[Number, Field(gt=0, le=10**12)]
    """Factor on the learning rate of these parameters."""


class OptimiserOptions(Section):
    """Section ``train:optim_g``, without the arguments of the optimiser."""

    groups: list[RateGroup] = []
    """Parameters with a learning rate of their own: entries of prefixes and lr_scale, a factor on lr, which multiplies
    flow_lr_mul and the like. All others have lr."""


def rate_groups(optim_g: Mapping[str, Any]) -> list[tuple[list[str], float]]:
    """The groups of a section ``train:optim_g``, as :func:`..engine.freezing.optimizer_groups` takes them.

    Raises:
        UserError: A wrong value.
    """
    own = {key: value for key, value in optim_g.items() if key in OptimiserOptions.model_fields}
    groups = read_section(OptimiserOptions, own, 'train:optim_g').groups
    return [(group.prefixes, group.lr_scale) for group in groups]


class StepOptions(sections.TrainOptions):
    """Section ``train``: the run and its optimiser."""

    optim_g: Annotated[dict[str, Any], Built('optimiser', options=OptimiserOptions)]
    """Optimiser: ``type`` (Adam, AdamW, ...) and its arguments; groups of parameters with another learning rate."""
    scheduler: dict[str, Any]
    """Learning-rate schedule: ``type`` (CosineAnnealingRestartLR, MultiStepLR) and its arguments."""
    ema_decay: Annotated[Number, Field(ge=0, lt=1)] = 0
    """Decay of the exponential moving average of the weights; 0: none. Validation and saving use it."""
    amp: Literal['bf16', 'fp16'] | None = None
    """Mixed precision: bf16, or fp16 with loss scaling. None: float32. Losses are always in float32."""
    grad_clip: Annotated[Number, Field(gt=0)] | None = None
    """Largest L2 norm of the gradient of everything that trains; None: not clipped."""


class FileOptions(sections.PathOptions):
    """Section ``path``: checkpoints, and where results go."""

    pretrain_network_g: str | None = None
    """Checkpoint to start from or to test, BasicSR's or ours."""
    strict_load_g: bool = True
    """Whether the checkpoint must fit exactly; false when parts are new, on a released baseline for instance."""
    param_key_g: str | None = 'params'
    """Which weights of the file: ``params``, ``params_ema`` or any other key of it; ~: the file itself."""


def read_path(cls: type[AnySection], opt: Mapping[str, Any]) -> AnySection:
    """The typed section ``path`` of prepared options, which hold the folders of the run as well.

    Raises:
        UserError: A wrong value.
    """
    return read_section(cls, {key: value for key, value in opt['path'].items() if key in cls.model_fields}, 'path')
