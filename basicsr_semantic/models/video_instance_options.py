"""The options of :class:`VideoInstanceModel`, section by section; the option checker and the JSON Schema read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import UserError


@dataclass
class TopOptions:
    """Top level, besides the keys of every option file."""

    network_g: dict[str, Any]
    """The instance encoder and decoder: type InstanceTransformer and its arguments."""
    frame_decoder: dict[str, Any]
    """What describes single frames: type xdecoder; preset (focal_t, focal_l) and sizes that replace the preset's;
    text_embeddings, the file of tools/make_text_embeddings.py, which names the classes to a frozen frame decoder."""


@dataclass
class TrainOptions:
    """Section ``train``."""

    total_iter: int
    """Iterations of the whole run; one iteration is one optimiser step."""
    optim_g: dict[str, Any]
    """Optimiser: ``type`` (Adam, AdamW, ...) and its arguments."""
    scheduler: dict[str, Any]
    """Learning-rate schedule: ``type`` (MultiStepLR, CosineAnnealingRestartLR) and its arguments."""
    instance_opt: dict[str, Any] = field(default_factory=lambda: {'type': 'VideoInstanceLoss'})
    """The loss: type VideoInstanceLoss and its arguments."""
    trainable: list[str] = field(default_factory=lambda: ['instance'])
    """What trains: instance alone, on top of a frozen frame decoder, or [frame_decoder, instance]; longer beginnings of
    parameter names train parts of them."""
    frame_decoder_lr_mul: float = 1
    """Factor on the learning rate of the frame decoder."""
    warmup_iter: int = -1
    """Iterations over which the learning rate rises linearly; -1: none."""
    ema_decay: float = 0
    """Decay of the exponential moving average of the weights; 0: none. Validation and saving use it."""
    amp: Literal['bf16', 'fp16'] | None = None
    """Mixed precision: bf16, or fp16 with loss scaling. None: float32. Losses are always in float32."""
    grad_clip: float | None = None
    """Largest L2 norm of the gradient of everything that trains; None: not clipped."""


@dataclass
class PathOptions:
    """Section ``path``."""

    pretrain_network_g: str | None = None
    """Checkpoint of the instance encoder and decoder to start from or to test."""
    strict_load_g: bool = True
    """Whether that checkpoint must fit exactly; false when only the number of classes differs, for instance."""
    param_key_g: str = 'params'
    """Which weights of the file: ``params`` or ``params_ema``; for the frame decoder too."""
    pretrain_frame_decoder: str | None = None
    """Checkpoint of the frame decoder, a released one or ours; needed unless it trains."""
    pretrain_network_f: str | None = None
    """Checkpoint of a frame decoder that trained (``net_f_*.pth``); goes before pretrain_frame_decoder."""
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
    max_instances: int = 10
    """Predictions of a video, by score."""
    chunk: int = 4
    """Frames that the frame decoder sees at a time."""
    frames_on_device: int = 36
    """Videos of more frames keep their pixel features in main memory."""
    save_img: bool = False
    """Kept for BasicSR's option files; nothing is drawn."""
    suffix: str | None = None
    """Kept for BasicSR's option files."""
    metrics: dict[str, Any] | None = None
    """Kept for BasicSR's option files; AP and AR are always measured."""
    pbar: bool = True
    """Kept for BasicSR's option files; progress is always shown."""

    def __post_init__(self) -> None:
        for name in ('max_instances', 'chunk'):
            if getattr(self, name) < 1:
                raise UserError(f'val:{name} is {getattr(self, name)}; at least 1 is needed.')
