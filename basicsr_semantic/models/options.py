"""The options of :class:`SemanticVSRModel`, section by section; the option checker and the JSON Schema read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class TrainOptions:
    """Section ``train``."""

    total_iter: int
    """Iterations of the whole run; one iteration is one optimiser step."""
    optim_g: dict[str, Any]
    """Optimiser: ``type`` (Adam, AdamW, ...) and its arguments."""
    scheduler: dict[str, Any]
    """Learning-rate schedule: ``type`` (CosineAnnealingRestartLR, MultiStepLR) and its arguments."""
    pixel_opt: dict[str, Any] | None = None
    """Pixel loss: ``type`` and its arguments."""
    perceptual_opt: dict[str, Any] | None = None
    """Perceptual loss: ``type`` and its arguments; frames are judged one by one."""
    warmup_iter: int = -1
    """Iterations over which the learning rate rises linearly; -1: none."""
    ema_decay: float = 0
    """Decay of the exponential moving average of the weights; 0: none. Validation and saving use it."""
    trainable: list[str] | None = None
    """Beginnings of the names of parameters that train; all others are frozen. None: everything trains."""
    amp: Literal['bf16', 'fp16'] | None = None
    """Mixed precision: bf16, or fp16 with loss scaling. None: float32."""
    grad_clip: float | None = None
    """Largest L2 norm of the gradient; None: not clipped."""
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
class PathOptions:
    """Section ``path``."""

    pretrain_network_g: str | None = None
    """Checkpoint to start from, BasicSR's or ours."""
    strict_load_g: bool = True
    """Whether the checkpoint must fit exactly; false when new modules go onto a released baseline."""
    param_key_g: str = 'params'
    """Which weights of the file: ``params`` or ``params_ema``."""
    pretrain_adapter_g: str | None = None
    """Adapter checkpoint (``net_g_seem_*.pth``), loaded on top of the baseline."""
    allow_prior_mismatch: bool = False
    """Accept priors of another kind, or instance tokens of another network, than the network was trained with."""
    resume_state: str | None = None
    """Training state to continue from; ``--auto_resume`` finds the newest itself."""
    ignore_resume_networks: list[str] = field(default_factory=list)
    """Networks that keep their own ``pretrain_network_*`` on resume."""
    experiments_root: str | None = None
    """Folder for experiments; None: ``experiments`` in the current folder."""
    results_root: str | None = None
    """Folder for test results; None: ``results`` in the current folder."""


@dataclass
class ValOptions:
    """Section ``val``."""

    val_freq: int | None = None
    """Iterations between validations; None: only after training."""
    save_img: bool = False
    """Save restored frames."""
    suffix: str | None = None
    """End of the names of saved frames; None: the experiment's name."""
    metrics: dict[str, Any] | None = None
    """Metrics by name: ``type`` and the arguments of the metric function."""
    flip_seq: bool = False
    """Average with the clip played backwards after itself."""
    center_frame_only: bool = False
    """Judge the middle frame of each clip only (Vimeo-90K)."""
    pbar: bool = True
    """Kept for BasicSR's option files; progress is always shown."""
