"""The options that all our models have, section by section."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class StepOptions:
    """Section ``train``: the run and its optimiser."""

    total_iter: int
    """Iterations of the whole run; one iteration is one optimiser step."""
    optim_g: dict[str, Any]
    """Optimiser: ``type`` (Adam, AdamW, ...) and its arguments."""
    scheduler: dict[str, Any]
    """Learning-rate schedule: ``type`` (CosineAnnealingRestartLR, MultiStepLR) and its arguments."""
    warmup_iter: int = -1
    """Iterations over which the learning rate rises linearly; -1: none."""
    ema_decay: float = 0
    """Decay of the exponential moving average of the weights; 0: none. Validation and saving use it."""
    amp: Literal['bf16', 'fp16'] | None = None
    """Mixed precision: bf16, or fp16 with loss scaling. None: float32. Losses are always in float32."""
    grad_clip: float | None = None
    """Largest L2 norm of the gradient of everything that trains; None: not clipped."""


@dataclass
class FileOptions:
    """Section ``path``: checkpoints, and where results go."""

    pretrain_network_g: str | None = None
    """Checkpoint to start from or to test, BasicSR's or ours."""
    strict_load_g: bool = True
    """Whether the checkpoint must fit exactly; false when parts are new, on a released baseline for instance."""
    param_key_g: Literal['params', 'params_ema'] = 'params'
    """Which weights of the file: ``params`` or ``params_ema``."""
    resume_state: str | None = None
    """Training state to continue from; ``--auto_resume`` finds the newest itself."""
    ignore_resume_networks: list[str] = field(default_factory=list)
    """Networks that keep their own ``pretrain_network_*`` on resume."""
    experiments_root: str | None = None
    """Folder for experiments; None: ``experiments`` in the current folder."""
    results_root: str | None = None
    """Folder for test results; None: ``results`` in the current folder."""


@dataclass
class ValidationOptions:
    """Section ``val``: when, and what is kept."""

    val_freq: int | None = None
    """Iterations between validations; None: only after training."""
    save_img: bool = False
    """Save restored frames."""
    suffix: str | None = None
    """End of the names of saved frames; None: the experiment's name."""
    metrics: dict[str, Any] | None = None
    """Metrics by name: ``type`` and the arguments of the metric function."""
    pbar: bool = True
    """Kept for BasicSR's option files; progress is always shown."""
