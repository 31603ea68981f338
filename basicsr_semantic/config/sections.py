"""The sections of an option file that the training and test loops read themselves, whatever the model.

The field docstrings are what ``basicsr check --schema`` shows in an editor. A class of models adds its own keys in
subclasses of these, published as ``TopOptions``, ``TrainOptions``, ``PathOptions`` and ``ValOptions``; a class of data
sets in a subclass of `LoaderOptions`, published as ``Options``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ..utils.names import end_of_name, folder_name, inner_name
from .section import Built, Iterations, Number, Positive, Section


class TopOptions(Section):
    """Top level of an option file."""

    name: Annotated[str, AfterValidator(folder_name)]
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
    scale: Annotated[int, Field(ge=1, le=64)] | None = None
    """Factor between LQ and GT sizes; handed to every data set."""
    num_gpu: Annotated[int, Field(ge=0, le=4096)] | Literal['auto'] = 'auto'
    """GPUs to use, 0 for the CPU; lowered to what is present."""
    manual_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of all random numbers; ~ draws one and logs it."""
    find_unused_parameters: bool = False
    """For DistributedDataParallel: allow parameters that take no part in a step."""


class LoaderOptions(Section):
    """What every data set section may hold in addition to the keys of its class."""

    name: Annotated[str, AfterValidator(inner_name)]
    """Name in logs and result files."""
    type: str
    """Registered data set class."""
    phase: Literal['train', 'val', 'test'] | None = None
    """Set from the section's name."""
    scale: Annotated[int, Field(ge=1, le=64)] | None = None
    """Set from the top level."""
    io_backend: Annotated[dict[str, Any], Built('io_backend')] | None = None
    """How files are read: type disk or lmdb; further keys go to BasicSR's backend."""
    num_worker_per_gpu: Annotated[int, Field(ge=0, le=1024)] = 0
    """Loader processes for each GPU."""
    batch_size_per_gpu: Positive = 1
    """Samples for each GPU and step."""
    dataset_enlarge_ratio: Annotated[Number, Field(gt=0, le=10**12)] = 1
    """How often the data set is repeated in one epoch."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """cpu: a thread keeps batches ready; cuda: batches are copied to the GPU ahead of time (needs pin_memory)."""
    pin_memory: bool = False
    """Load into page-locked memory, for faster copies to a GPU."""
    persistent_workers: bool = False
    """Keep loader processes between epochs."""
    num_prefetch_queue: Positive = 1
    """Batches that prefetch_mode cpu keeps ready."""


class PathOptions(Section):
    """Section ``path``, without the keys of the model."""

    resume_state: str | None = None
    """Training state to continue from; --auto_resume finds the newest itself."""
    ignore_resume_networks: list[str] | None = None
    """Networks that keep their own pretrain_network_* on resume."""
    experiments_root: str | None = None
    """Folder of experiments; ~ is ./experiments."""
    results_root: str | None = None
    """Folder of test results; ~ is ./results."""


class TrainOptions(Section):
    """Section ``train``, without the keys of the model."""

    total_iter: Positive
    """Iterations of the whole run; one iteration is one optimiser step."""
    warmup_iter: Iterations = -1
    """Iterations over which the learning rate rises linearly; -1: none."""


class ValOptions(Section):
    """Section ``val``, without the keys of the model."""

    val_freq: Positive | None = None
    """Iterations between validations; ~: only after training."""
    save_img: bool | None = None
    """Save restored frames; ~: only in a test, of the data sets without GT."""
    suffix: Annotated[str, AfterValidator(end_of_name)] | None = None
    """End of the names of saved frames; ~: the experiment's name."""
    metrics: dict[str, Any] | None = None
    """Metrics under names of your choice, each with its type and arguments."""
    pbar: bool = True
    """Show a progress bar."""


class WandbOptions(Section):
    """Section ``logger:wandb``."""

    project: str | None = None
    """Project; ~ switches Weights & Biases off."""
    resume_id: str | None = None
    """Run to continue."""


class LoggerOptions(Section):
    """Section ``logger``."""

    print_freq: Positive
    """Iterations between lines of the log."""
    save_checkpoint_freq: Positive
    """Iterations between checkpoints."""
    use_tb_logger: bool = False
    """Write TensorBoard events."""
    wandb: dict[str, Any] | None = None
    """Weights & Biases, on top of TensorBoard."""


class DistOptions(Section):
    """Section ``dist_params``."""

    backend: str | None = None
    """nccl or gloo; gloo is taken where there is no GPU."""
    port: Annotated[int, Field(ge=1, lt=2**16)] | None = None
    """Master port under Slurm."""


class MetricOptions(Section):
    """What every metric may hold in addition to the arguments of its function."""

    type: str
    """Registered metric."""
    better: Literal['higher', 'lower'] = 'higher'
    """Which value is the better one; decides what the log calls best."""


PREPARED = {'is_train', 'dist', 'rank', 'world_size', 'auto_resume', 'root_path'}
PREPARED |= {'models', 'training_states', 'log', 'visualization'}
"""Keys of the top level and of ``path`` that the run itself sets: no error in a file."""
