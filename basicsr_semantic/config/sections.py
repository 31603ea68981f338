"""The sections of an option file that the training and test loops read themselves, whatever the model.

The field docstrings are what ``basicsr check --schema`` shows in an editor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass
class TopOptions:
    """Top level of an option file."""

    name: str
    """Name of the experiment, and of its folder. A name with "debug" in it validates and saves every 8 iterations."""
    model_type: str
    """Registered model class, for example SemanticVSRModel."""
    datasets: dict[str, Any]
    """Data sets: train and val, val_2, ... for training; test, test_1, ... for a test."""
    path: dict[str, Any] | None = None
    """Checkpoints to start from, and where results go."""
    train: dict[str, Any] | None = None
    """Training; a file without this section is a test file."""
    val: dict[str, Any] | None = None
    """Validation and test."""
    logger: dict[str, Any] | None = None
    """Log and checkpoints."""
    dist_params: dict[str, Any] | None = None
    """Arguments of torch.distributed.init_process_group, used with --launcher."""
    scale: int | None = None
    """Factor between LQ and GT sizes; handed to every data set."""
    num_gpu: int | Literal['auto'] = 'auto'
    """GPUs to use, 0 for the CPU; lowered to what is present."""
    manual_seed: int | None = None
    """Seed of all random numbers; ~ draws one and logs it."""
    find_unused_parameters: bool = False
    """For DistributedDataParallel: allow parameters that take no part in a step."""


@dataclass
class LoaderOptions:
    """What every data set section may hold besides the keys of its class."""

    name: str
    """Name in logs and result files."""
    type: str
    """Registered data set class."""
    phase: Literal['train', 'val', 'test'] | None = None
    """Set from the section's name."""
    scale: int | None = None
    """Set from the top level."""
    io_backend: dict[str, Any] | None = None
    """How files are read: type disk or lmdb."""
    num_worker_per_gpu: int = 0
    """Loader processes for each GPU."""
    batch_size_per_gpu: int = 1
    """Samples for each GPU and step."""
    dataset_enlarge_ratio: float = 1
    """How often the data set is repeated in one epoch."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """cuda: batches are copied to the GPU ahead of time (needs pin_memory)."""
    pin_memory: bool = False
    """Load into page-locked memory."""
    persistent_workers: bool = False
    """Keep loader processes between epochs."""
    num_prefetch_queue: int = 1
    """Batches that are loaded ahead."""


@dataclass
class PathOptions:
    """Section ``path``, besides the keys of the model."""

    resume_state: str | None = None
    """Training state to continue from; --auto_resume finds the newest itself."""
    ignore_resume_networks: list[str] | None = None
    """Networks that keep their own pretrain_network_* on resume."""
    experiments_root: str | None = None
    """Folder of experiments; ~ is ./experiments."""
    results_root: str | None = None
    """Folder of test results; ~ is ./results."""


@dataclass
class TrainOptions:
    """Section ``train``, besides the keys of the model."""

    total_iter: int
    """Iterations of the whole run."""
    warmup_iter: int = -1
    """Iterations over which the learning rate rises linearly; -1: none."""


@dataclass
class ValOptions:
    """Section ``val``, besides the keys of the model."""

    val_freq: int | None = None
    """Iterations between validations; ~: only after training."""
    save_img: bool = False
    """Save restored frames."""
    suffix: str | None = None
    """End of the names of saved frames; ~: the experiment's name."""
    metrics: dict[str, Any] | None = None
    """Metrics under names of your choice, each with its type and arguments."""
    pbar: bool = False
    """Show a progress bar."""


@dataclass
class LoggerOptions:
    """Section ``logger``."""

    print_freq: int
    """Iterations between lines of the log."""
    save_checkpoint_freq: int
    """Iterations between checkpoints."""
    use_tb_logger: bool = False
    """Write TensorBoard events."""
    wandb: dict[str, Any] | None = None
    """Weights & Biases, on top of TensorBoard."""


@dataclass
class WandbOptions:
    """Section ``logger:wandb``."""

    project: str | None = None
    """Project; ~ switches Weights & Biases off."""
    resume_id: str | None = None
    """Run to continue."""


@dataclass
class DistOptions:
    """Section ``dist_params``."""

    backend: str | None = None
    """nccl or gloo; gloo is taken where there is no GPU."""
    port: int | None = None
    """Master port under Slurm."""


@dataclass
class SourceOptions:
    """Section ``network_s``, besides the arguments of the extractor."""

    type: str
    """Extractor of tokens: xdecoder or openseed."""
    extract_mode: Literal['cached', 'online_full', 'online_patch'] = 'cached'
    """cached: priors from dataroot_priors, only instances are worked out in the run; online_full: from whole frames in
    the run (needs whole_frames: true in the training data); online_patch: from the crops in the run."""


@dataclass
class FrameDecoderOptions:
    """Section ``frame_decoder``, besides the sizes of the network."""

    type: Literal['xdecoder']
    """What describes single frames: xdecoder."""
    preset: Literal['focal_t', 'focal_l'] = 'focal_t'
    """Sizes to begin with where there are no weights to read them off; keys of this section replace some of them."""
    text_embeddings: str | None = None
    """File with one text embedding for each class (and, last, one for "background"); ~ takes random directions."""


@dataclass
class MetricOptions:
    """What every metric may hold besides the arguments of its function."""

    type: str
    """Registered metric."""
    better: Literal['higher', 'lower'] = 'higher'
    """Which value is the better one; decides what the log calls best."""


PREPARED = {
    'top': {'is_train', 'dist', 'rank', 'world_size', 'auto_resume', 'root_path', 'seed_is_given'},
    'path': {'models', 'training_states', 'log', 'visualization'},
}
"""Keys that `prepare_options` and the pipeline set: never required of a file, and no error in one."""

NO_EFFECT = {'top': {'crop_border', 'save_img', 'suffix'}}
"""Keys that some of BasicSR's own option files hold where nothing reads them; allowed for BasicSR's models."""

COUNTS = {
    'total_iter',
    'warmup_iter',
    'fix_flow',
    'tsa_iter',
    'net_d_iters',
    'net_d_init_iters',
    'val_freq',
    'print_freq',
    'save_checkpoint_freq',
}
"""Iterations, which option files like to write as ``!!float 5e3``: `prepare_options` makes integers of them."""

RANGES: dict[str, dict[str, tuple[float, float, str]]] = {
    'top': {
        'scale': (1, 64, 'at least 1'),
        'num_gpu': (0, 4096, 'auto, or 0 (CPU) or more'),
        'manual_seed': (0, 2**32 - 1, 'between 0 and 4294967295'),
    },
    'dataset': {
        'num_worker_per_gpu': (0, 1024, 'between 0 and 1024'),
        'batch_size_per_gpu': (1, 2**20, 'at least 1'),
        'dataset_enlarge_ratio': (1e-9, 1e12, 'more than 0'),
        'num_prefetch_queue': (1, 2**20, 'at least 1'),
        'gt_size': (1, 2**16, 'at least 1'),
        'num_masks': (1, 64, 'between 1 and 64'),
        'max_frames': (1, 2**20, 'at least 1'),
        'first_frames': (1, 2**20, 'at least 1'),
    },
    'train': {
        'total_iter': (1, 1e12, 'at least 1'),
        'warmup_iter': (-1, 1e12, '-1 or more'),
        'ema_decay': (0, 1 - 1e-12, 'at least 0 and less than 1'),
        'grad_clip': (1e-300, 1e300, 'more than 0, or ~'),
        'accumulate': (1, 2**20, 'at least 1'),
        'flow_lr_mul': (0, 1e12, '0 or more'),
        'dcn_lr_mul': (0, 1e12, '0 or more'),
    },
    'optim': {
        'lr': (0, 1e6, '0 or more'),
        'weight_decay': (0, 1e6, '0 or more'),
    },
    'network_s': {
        'short_side': (0, 2**16, '0 or more'),
        'max_instances': (1, 64, 'between 1 and 64'),
        'score_threshold': (0, 1 - 1e-12, 'at least 0 and less than 1'),
        'feature_memory': (0, 2**20, '0 or more'),
        'frames_at_once': (1, 2**20, 'at least 1'),
        'num_tokens': (1, 2**20, 'at least 1'),
    },
    'val': {'val_freq': (1, 1e12, 'at least 1')},
    'logger': {
        'print_freq': (1, 1e12, 'at least 1'),
        'save_checkpoint_freq': (1, 1e12, 'at least 1'),
    },
}
"""Section -> key -> lowest value, highest value, the range in words. Only what is wrong for certain."""
