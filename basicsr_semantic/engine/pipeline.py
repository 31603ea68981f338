"""Training and testing: BasicSR's parts in a loop that resumes exactly.

``train`` and ``test`` take checked arguments; ``train_pipeline`` and ``test_pipeline`` have the signatures of BasicSR's
functions of these names and parse ``sys.argv`` as they do.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils import (
    AvgTimer,
    MessageLogger,
    check_resume,
    get_root_logger,
    get_time_str,
    make_exp_dirs,
)
from basicsr.utils.logger import init_tb_logger, init_wandb_logger
from torch.utils.data import DataLoader

from ..config.building import check_building, contradictions
from ..config.check import check_options
from ..config.components import find
from ..config.metric_wants import pointless_test
from ..config.option_file import OptionFile
from ..config.plugins import load_plugins
from ..config.problems import raise_problems
from ..config.random_flow import random_flow
from ..utils.errors import UserError, reason
from ..utils.files import remove_leftovers
from ..utils.printing import printable
from ..utils.signatures import wrong_signature
from .arguments import add_run_arguments
from .checkpoint import load_file, read_once
from .distributed import any_process, barrier, gather_lists, init_distributed, together
from .evaluator import prepare_metrics
from .loading import FirstItem, loader_died, make_prefetcher, start_worker
from .log import start_log, write_log
from .loss_guard import SkippedSteps, begin_iteration, check_seen
from .run import Run, hold_folder, move_paths, prepare_run
from .seeding import ResumableSampler, SeededDataset, seed_from
from .training_state import check_content, find_resume_state, name_weights


def train_pipeline(root_path: str) -> None:
    """Train from ``sys.argv``; replaces ``basicsr.train.train_pipeline``."""
    train(_parse('train'), root_path)


def test_pipeline(root_path: str) -> None:
    """Test from ``sys.argv``; replaces ``basicsr.test.test_pipeline``."""
    test(_parse('test'), root_path)


def _parse(verb: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f'basicsr {verb}')
    add_run_arguments(parser, verb == 'train')
    return parser.parse_args()


def train(args: argparse.Namespace, root_path: str | Path) -> None:
    """Train a model from an option file.

    Args:
        args: What :func:`add_run_arguments` parses; with ``dry_run`` everything is done up to and including one
            iteration and one item of each validation, in a temporary folder, and nothing is kept.
        root_path: Folder below which ``experiments/`` and ``tb_logger/`` are made.

    Raises:
        UserError: See the sentence.
        KeyboardInterrupt: After SIGINT or SIGTERM, once the state of the running iteration is saved.
    """
    run = _read_run(args, root_path, is_train=True)
    with hold_folder(run.opt):  # before its states are looked at, until all is written
        if getattr(args, 'dry_run', False):
            with tempfile.TemporaryDirectory() as folder:
                _train(run, args.opt, folder)
            get_root_logger().info(
                'The dry run is over: one iteration, and one item of each validation. Nothing is kept.'
            )
        else:
            _train(run, args.opt)


def _train(run: Run, option_file: str, dry_folder: str | None = None) -> None:
    """Build everything and run the loop, in a folder that is this run's alone; in a dry run below ``dry_folder``."""
    opt = run.opt
    prepare_metrics(opt)
    torch.backends.cudnn.benchmark = True
    with read_once(opt['path']['models']):  # weights are judged with their state, and loaded when there is a model
        resume = _find_resume(run)
        logger = start_log(opt)
        for warning in run.warnings:
            logger.warning(warning)

        start_iter = resume['iter'] if resume else 0
        if dry_folder is not None:
            move_paths(opt, dry_folder)
            run.train.total_iter = start_iter + 1
        seed_from(opt['manual_seed'], 0, 0)  # the same initial weights in every process
        loader, sampler = _train_loader(run, start_iter)
        val_loaders = [
            _val_loader(opt['datasets'][name], name, dry_folder is not None)
            for name in opt['datasets']
            if name.split('_')[0] == 'val'
        ]
        with in_words(f'The model {opt["model_type"]}'):
            model = build_model(opt)
        _tell_of_random_flow(opt, model)
        if resume:
            model.resume_training(resume)
            logger.info(f'Resuming after iteration {start_iter}.')
    _check_data(model, [loader, *val_loaders])
    if dry_folder is None:
        _check_loggers(run)
    for path, sentence in contradictions(opt, model.get_bare_model(model.net_g)) if hasattr(model, 'net_g') else ():
        raise UserError(f'{":".join(path)}: {sentence}')

    barrier()  # nothing is made or moved before every process has what it needs
    if resume is None or dry_folder is not None:
        _make_dirs(run)
    elif opt['rank'] == 0:
        for folder in ('models', 'training_states'):
            remove_leftovers(opt['path'][folder])
    barrier()
    write_log(opt, 'train')
    if opt['rank'] == 0:
        shutil.copyfile(option_file, Path(opt['path']['experiments_root']) / Path(option_file).name)
    tb_logger = _tensorboard(run) if dry_folder is None else None
    with in_words(f'The training with {opt["model_type"]}', start_iter + 1):
        _loop(run, model, loader, sampler, val_loaders, tb_logger, start_iter, dry_folder is not None)
    if tb_logger:
        tb_logger.close()


@contextlib.contextmanager
def in_words(what: str, first_iter: int = 0) -> Iterator[None]:
    """Turn what code of others raises about the options into a sentence; a trace does not help where a key is missing.

    Raises:
        UserError: Instead of a KeyError, TypeError and the like, and where a process of a loader was killed.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AssertionError, NotImplementedError, AttributeError, ImportError) as error:
        when = ' ended' if first_iter else ' cannot be built'
        raise UserError(f'{what}{when}: {reason(error)} Set BASICSR_TRACEBACK=1 to see where.') from error
    except RuntimeError as error:
        if (died := loader_died(error)) is None:
            raise
        raise UserError(f'{what} ended: {died}') from error


def _loop(run, model, loader, sampler, val_loaders, tb_logger, start_iter: int, dry: bool = False) -> None:
    """Iterate from ``start_iter`` to ``train:total_iter``, saving and validating on the way."""
    opt, logger, val = run.opt, get_root_logger(), run.val
    total_iter = run.train.total_iter
    written = {**opt['logger'], 'use_tb_logger': tb_logger is not None}  # what MessageLogger goes by
    messages = MessageLogger({**opt, 'logger': written}, start_iter, tb_logger)
    messages.max_iters = total_iter + 1  # basicsr/utils/logger.py subtracts one too many from the time that is left
    prefetcher = make_prefetcher(loader, run.loaders['train'], opt)
    stop, skipped = _StopRequest(), SkippedSteps(getattr(model, 'scaler', None))
    data_timer, iter_timer, start_time = AvgTimer(), AvgTimer(), time.time()
    save_img = val is not None and bool(val.save_img) and not dry
    with stop, contextlib.closing(prefetcher):
        for current_iter in range(start_iter + 1, total_iter + 1):
            with together():  # a frame that one process cannot read ends all
                data = prefetcher.next()
                if data is None:
                    raise RuntimeError(f'The loader ended at iteration {current_iter} of {total_iter}.')
                data_timer.record()
                epoch = (current_iter - 1) // sampler.iters_per_epoch
                seed_from(opt['manual_seed'], 1 + opt['rank'], current_iter)
                model.update_learning_rate(current_iter, warmup_iter=run.train.warmup_iter)
                model.feed_data(data)
            begin_iteration(current_iter)
            model.optimize_parameters(current_iter)
            check_seen()  # of a step that a gradient scaler left out
            skipped.look(current_iter)
            iter_timer.record()
            if current_iter == start_iter + 1:
                messages.reset_start_time()  # the first iteration also starts the workers
            if current_iter % run.logger.print_freq == 0:
                messages(
                    {'epoch': epoch, 'iter': current_iter, 'lrs': model.get_current_learning_rate()}
                    | {'time': iter_timer.get_avg_time(), 'data_time': data_timer.get_avg_time()}
                    | model.get_current_log()
                )
            validates = val is not None and bool(val.val_freq) and current_iter % val.val_freq == 0 and not dry
            if validates:  # before saving, so that the state holds the best results so far
                try:
                    for val_loader in val_loaders:
                        with together():
                            model.validation(val_loader, current_iter, tb_logger, save_img)
                except UserError:
                    logger.info(f'Validation failed; iteration {current_iter} is saved. Continue with --auto_resume.')
                    _save(model, epoch, current_iter)
                    raise
            stops = any_process(stop.requested)
            if (current_iter % run.logger.save_checkpoint_freq == 0 and not dry) or stops:
                logger.info('Saving models and training states.')
                _save(model, epoch, current_iter)
            if stops:
                logger.info(f'Interrupted; iteration {current_iter} is saved. Continue with --auto_resume.')
                raise KeyboardInterrupt
            data_timer.start()
            iter_timer.start()
    logger.info(f'End of training. Time consumed: {datetime.timedelta(seconds=int(time.time() - start_time))}')
    if not dry:
        logger.info('Save the latest model.')
        _save(model, -1, -1)
    done = val is not None and val.val_freq and total_iter % val.val_freq == 0 and start_iter < total_iter and not dry
    for val_loader in val_loaders if val is not None and not done else []:
        with together():
            model.validation(val_loader, total_iter, tb_logger, save_img)


def _save(model: Any, epoch: int, current_iter: int) -> None:
    """Save; one process writes, and where it cannot, all end."""
    with together():
        model.save(epoch, current_iter)


def test(args: argparse.Namespace, root_path: str | Path) -> dict[str, Any]:
    """Test a model on every data set of an option file.

    Args:
        args: What :func:`add_run_arguments` parses.
        root_path: Folder below which ``results/`` is made.

    Returns:
        Data set name -> what the model's validation returns (averages, for video models).

    Raises:
        UserError: See the sentence.
    """
    run = _read_run(args, root_path, is_train=False)
    opt = run.opt
    prepare_metrics(opt)
    torch.backends.cudnn.benchmark = True
    logger = start_log(opt)
    for warning in run.warnings:
        logger.warning(warning)
    seed_from(opt['manual_seed'], 0, 0)
    loaders = [_val_loader(opt['datasets'][name], name) for name in sorted(opt['datasets'])]
    for loader in loaders:
        if (pointless := pointless_test(opt.get('val'), loader.dataset)) is not None:
            logger.warning(pointless)
    with in_words(f'The model {opt["model_type"]}'):
        model = build_model(opt)
    _check_data(model, loaders)
    barrier()
    _make_dirs(run)
    barrier()
    write_log(opt, 'test')
    results, saved = {}, []
    for loader in loaders:
        name = cast(Any, loader.dataset).opt['name']
        save_img = _saves(run, loader)
        logger.info(f'Testing {name}...')
        with in_words(f'The test of {opt["model_type"]} on {name}', 1), together():
            results[name] = model.validation(loader, current_iter=opt['name'], tb_logger=None, save_img=save_img)
        folder = Path(opt['path']['visualization'], name)
        if save_img and folder.is_dir():  # models of instances save no frames
            saved.append(f"The restored frames of {name} are in '{folder}'.")
    for sentence in saved:
        logger.info(printable(sentence))
    return results


def _saves(run: Run, loader: DataLoader) -> bool:
    """Whether a test saves the restored frames of a data set."""
    if run.val is None or run.val.save_img is None:
        return not getattr(loader.dataset, 'has_gt', True)
    return run.val.save_img


def _read_run(args: argparse.Namespace, root_path: str | Path, is_train: bool) -> Run:
    """Load, change, check and complete the options; join the process group."""
    load_plugins(args.imports)
    file = OptionFile.read(args.opt, args.force_yml)
    checked = check_options(file, is_train)
    raise_problems(checked.problems, file)
    raise_problems(check_building(file, checked, before_run=True), file)
    model = find('model', checked.values['model_type'])
    if is_train and model is not None and (wrong := wrong_signature(model.target)) is not None:
        raise UserError(wrong)
    dist_params = dict(checked.values.get('dist_params') or {}) if args.launcher != 'none' else {}
    on_cpu = checked.values.get('num_gpu') == 0
    rank, world = init_distributed(args.launcher, on_cpu=on_cpu, **dist_params)
    shared_seed = gather_lists([random.SystemRandom().randint(1, 10000)])[0]
    return prepare_run(
        checked,
        root_path,
        is_train,
        auto_resume=args.auto_resume,
        debug=args.debug,
        dist=args.launcher != 'none',
        rank=rank,
        world_size=world,
        manual_seed=shared_seed,
    )


def _find_resume(run: Run) -> dict | None:
    """The training state to go on from; the options are pointed at its weights and its seed."""
    opt, paths = run.opt, run.opt['path']
    state: dict | None = None
    networks = [k for k in opt if k.startswith('network_') and k not in (paths.get('ignore_resume_networks') or ())]
    if opt['auto_resume']:
        found = find_resume_state(paths['training_states'], paths['models'], networks)
        if found:
            paths['resume_state'], state = str(found[0]), found[1]
    elif paths.get('resume_state'):
        _check_same_run(paths)
        found = paths['resume_state'], load_file(paths['resume_state'])
        name_weights(found[1], found[0], networks)
        check_content(found[1], found[0])
        state = found[1]
    if state is None:
        return None
    if state['iter'] > run.train.total_iter:
        raise UserError(
            f'The run is at iteration {state["iter"]} already, beyond train:total_iter: {run.train.total_iter}. '
            'Nothing was changed; give a larger train:total_iter to go on.'
        )
    keys = {name: key for name, key in paths.items() if name.startswith('param_key')}
    check_resume(opt, state['iter'])
    # it sets all of them to 'params', those of networks that do not train included (basicsr/utils/misc.py)
    trained = {f'param_key_{label.removeprefix("net_")}' for label in state.get('weights', {})}
    paths.update({name: key for name, key in keys.items() if name not in trained})
    kept = [name.removeprefix('network_') for name in paths.get('ignore_resume_networks') or ()]
    for label, file_name in state['weights'].items():
        if (name := label.removeprefix('net_')) not in kept:
            paths[f'pretrain_network_{name}'] = str(Path(paths['models']) / file_name)
    if 'g' not in kept:
        paths['strict_load_g'] = True
    paths.pop('pretrain_adapter_g', None)
    if not run.seed_is_given and 'manual_seed' in state:
        opt['manual_seed'] = state['manual_seed']
    return state


def _check_same_run(paths: dict[str, Any]) -> None:
    """A state belongs to the weights next to it, and those of the run are looked for under its name.

    Raises:
        UserError: The state is in the folder of another run.
    """
    folder = Path(paths['resume_state']).expanduser().resolve().parent
    if folder != Path(paths['training_states']).resolve():
        raise UserError(
            f"path:resume_state: '{paths['resume_state']}' belongs to another run, '{folder.parent.name}'. To go on "
            f'with that run give its name; to begin a new one with its weights give path:pretrain_network_g.'
        )


def _make_dirs(run: Run) -> None:
    """Make the experiment's folders; an older experiment of the name is renamed, never overwritten."""
    opt = run.opt
    wanted = ('experiments_root', 'models', 'training_states', 'results_root', 'log', 'visualization')
    folders = {k: v for k, v in opt['path'].items() if k in wanted}
    root = Path(folders['experiments_root' if opt['is_train'] else 'results_root'])
    events = Path(opt['root_path']) / 'tb_logger' / opt['name']
    try:
        if opt['rank'] == 0:
            _archive(root)
        make_exp_dirs({'is_train': opt['is_train'], 'path': folders})
        if opt['is_train'] and opt['rank'] == 0 and _writes_tensorboard(run):
            _archive(events)
            events.mkdir(parents=True)
    except OSError as error:
        raise UserError(f'The folder {opt["path"]["log"]} cannot be made: {error}.') from error


def _archive(folder: Path) -> None:
    """Give an older folder of this name another one, as BasicSR names it: by the second.

    Two runs may begin within one second, and BasicSR would give both folders the same name.
    """
    if not folder.exists():
        return
    name = f'{folder}_archived_{get_time_str()}'
    free = next(one for one in (name, *(f'{name}_{n}' for n in range(2, 1000))) if not Path(one).exists())
    print(f'Path already exists. Rename it to {free}', flush=True)
    folder.rename(free)


def _writes_tensorboard(run: Run) -> bool:
    return run.logger.use_tb_logger and 'debug' not in run.opt['name']


def _uses_wandb(run: Run) -> bool:
    return bool((run.logger.wandb or {}).get('project')) and 'debug' not in run.opt['name']


def _check_loggers(run: Run) -> None:
    """Refuse loggers that cannot be started, before a folder is made or moved.

    Raises:
        UserError: W&B without TensorBoard, or without its package.
    """
    if _uses_wandb(run) and not run.logger.use_tb_logger:
        raise UserError('logger:wandb follows TensorBoard: set logger:use_tb_logger: true.')
    if _uses_wandb(run) and importlib.util.find_spec('wandb') is None:
        raise UserError('logger:wandb needs the package wandb: pip install wandb. Or set logger:wandb:project: ~.')


def _tensorboard(run: Run):
    opt = run.opt
    if _uses_wandb(run):
        init_wandb_logger(opt)
    if not _writes_tensorboard(run):
        return None
    return init_tb_logger(log_dir=str(Path(opt['root_path']) / 'tb_logger' / opt['name']))


def _train_loader(run: Run, start_iter: int) -> tuple[DataLoader, ResumableSampler]:
    """One endless loader for the whole run, from the sample after those of ``start_iter`` iterations."""
    opt, options = run.opt, run.loaders['train']
    with in_words('datasets:train'):
        dataset = build_dataset(opt['datasets']['train'])
    gpus = 1 if opt['dist'] else max(opt['num_gpu'], 1)
    batch, workers = options.batch_size_per_gpu * gpus, options.num_worker_per_gpu * gpus
    ratio, total = options.dataset_enlarge_ratio, run.train.total_iter
    try:
        sampler = ResumableSampler(dataset, opt['world_size'], opt['rank'], ratio, batch, start_iter, total)
    except ValueError as error:
        raise UserError(f'datasets:train of {len(dataset)} samples: {error}') from error
    get_root_logger().info(
        f'Training statistics:\n\tSamples: {len(dataset)}\n\tBatch of a process: {batch}\n\tProcesses: '
        f'{opt["world_size"]}\n\tIterations an epoch: {sampler.iters_per_epoch}\n\tTotal: {total}'
    )
    loader = DataLoader(
        SeededDataset(dataset, opt['manual_seed']),
        batch_size=batch,
        sampler=sampler,
        num_workers=workers,
        drop_last=True,
        pin_memory=options.pin_memory and torch.cuda.is_available(),
        persistent_workers=options.persistent_workers and workers > 0,
        worker_init_fn=start_worker,
        collate_fn=getattr(dataset, 'collate', None),
    )
    return loader, sampler


def _tell_of_random_flow(opt: dict[str, Any], model: Any) -> None:
    """Warn of random flow: a network that aligns frames by it learns little for long, and nothing else shows why."""
    for name in [name for name in opt if name.startswith('network_')]:
        net = getattr(model, f'net_{name.removeprefix("network_")}', None)
        bare = model.get_bare_model(net) if isinstance(net, torch.nn.Module) else None
        if (found := random_flow(opt, name, bare)) is not None:
            get_root_logger().warning(found[1])


def _check_data(model: Any, loaders: list[DataLoader]) -> None:
    """Let a model that can check its data refuse them before anything is made; BasicSR's own models cannot."""
    if hasattr(model, 'check_dataset'):
        for loader in loaders:
            dataset = loader.dataset
            model.check_dataset(dataset.dataset if isinstance(dataset, SeededDataset) else dataset)


def _val_loader(options: dict[str, Any], name: str, first_item: bool = False) -> DataLoader:
    with in_words(f'datasets:{name}'):
        dataset = build_dataset(options)
    collate = getattr(dataset, 'collate', None)
    dataset = FirstItem(dataset) if first_item else dataset
    return DataLoader(dataset, batch_size=1, shuffle=False, num_workers=0, collate_fn=collate)


class _StopRequest:
    """SIGINT and SIGTERM ask the loop to save and stop after the running iteration; a second one stops immediately."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python handles signals nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame) -> None:
        if self.requested:
            sys.exit(128 + number)
        self.requested = True
        print('\nStopping after this iteration; interrupt again to stop immediately.', file=sys.stderr, flush=True)
