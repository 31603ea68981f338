"""Methods that replace those of BasicSR's BaseModel: devices, weights, training states."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import nn
from torch.nn.parallel import DataParallel

from ..config.lost_priors import lost_priors
from ..engine.checkpoint import load_weights, save_atomic
from ..engine.distributed import DistributedNetwork
from ..engine.loss_guard import watch_optimizer
from ..engine.network_record import KEY as NETWORK
from ..engine.network_record import network_record
from ..engine.training_state import take_up
from ..utils.errors import UserError
from ..utils.plain_values import to_plain
from .extra_state import KEY, extra_state, restore_extra_state


def model_to_device(self, net: nn.Module) -> nn.Module:
    """Move a network to the model's device and wrap it for several processes or GPUs.

    A network in which nothing trains (a frozen discriminator, a test) is not wrapped: DDP refuses it.

    Raises:
        UserError: The network needs priors, which this model class does not pass on.
    """
    if (lost := lost_priors(type(self), self.opt, net)) is not None:
        if isinstance(lost[0], UserError):
            raise lost[0]
        get_root_logger().warning(lost[0])
    net = net.to(self.device)
    if self.opt['dist'] and any(p.requires_grad for p in net.parameters()):
        device_ids = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
        unused = self.opt.get('find_unused_parameters', False)
        return DistributedNetwork(net, device_ids=device_ids, find_unused_parameters=unused)
    if not self.opt['dist'] and self.opt['num_gpu'] > 1:
        return DataParallel(net)
    return net


def get_optimizer(self, optim_type: str, params, lr: float, **kwargs) -> torch.optim.Optimizer:
    """Build an optimiser of ``torch.optim`` by its name, which refuses to step on a loss that is not finite.

    The released BasicSR knows Adam alone, and steps on anything.

    PyTorch refuses an integer next to a float in ``betas``, which basicsr/models/stylegan2_model.py and GFPGAN give.

    Raises:
        UserError: There is none of that name.
    """
    cls = getattr(torch.optim, optim_type, None)
    if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
        raise UserError(f'torch.optim has no optimiser {optim_type!r}. Give train:optim_g:type, for example AdamW.')
    if isinstance(kwargs.get('betas'), tuple | list):
        kwargs['betas'] = tuple(float(b) if isinstance(b, int) else b for b in kwargs['betas'])
    return watch_optimizer(cls(params, lr=lr, **kwargs))  # pyright: ignore[reportCallIssue]


@master_only
def save_network(self, net, net_label: str, current_iter: int, param_key='params') -> None:
    """Write ``<label>_<iter>.pth`` (``latest`` for -1) under another name and rename it; the next state names it.

    In addition to the state dicts, the file describes its network, see `network_record`, and holds what
    ``self.checkpoint_metadata()`` returns, if the model has that method.

    Raises:
        UserError: The weights are not finite, or the file could not be written.
    """
    nets, keys = (net if isinstance(net, list) else [net]), (param_key if isinstance(param_key, list) else [param_key])
    for key, one in zip(keys, nets, strict=True):
        for name, value in self.get_bare_model(one).named_parameters():
            if not torch.isfinite(value).all():
                raise UserError(
                    f'{name} of {net_label} [{key}] is not finite after iteration {current_iter}, so it was not saved. '
                    'Go on from an earlier checkpoint with a lower learning rate: --auto_resume takes the newest one.'
                )
    content = {
        key: {k.removeprefix('module.'): v.detach().cpu() for k, v in self.get_bare_model(one).state_dict().items()}
        for one, key in zip(nets, keys, strict=True)
    }
    if (record := network_record(self.opt, net_label)) is not None:
        content[NETWORK] = record
    if hasattr(self, 'checkpoint_metadata'):
        content.update(self.checkpoint_metadata())
    file_name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
    save_atomic(to_plain(content), Path(self.opt['path']['models']) / file_name)
    if current_iter != -1:
        self.__dict__.setdefault('_weight_files', {})[net_label] = file_name


def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params') -> None:
    """Load weights, see :func:`..checkpoint.load_weights`; remembers what the file did not have."""
    bare = self.get_bare_model(net)
    missing, _ = load_weights(bare, load_path, strict, param_key)
    self.__dict__.setdefault('_not_in_file', {})[id(bare)] = missing


def with_equal_ema(init_training_settings: Callable) -> Callable:
    """Give the EMA network the values of the network wherever the pretrained file had none.

    SRModel.init_training_settings builds the EMA network again; with ``strict_load_g: false`` the keys that the file
    lacks would keep a random initialisation of their own, which the average then carries for thousands of steps.
    """

    @wraps(init_training_settings)
    def wrapped(self) -> None:
        init_training_settings(self)
        if not hasattr(self, 'net_g_ema'):
            return
        current, ema = self.get_bare_model(self.net_g).state_dict(), self.net_g_ema.state_dict()
        for key in self.__dict__.get('_not_in_file', {}).get(id(self.net_g_ema), []):
            ema[key].copy_(current[key])

    return wrapped


@master_only
def save_training_state(self, epoch: int, current_iter: int) -> None:
    """Write ``<iter>.state`` last of all, naming the weight files it belongs to.

    Random numbers are a function of the seed, the rank and the iteration (see ``engine/seeding.py``), so
    ``manual_seed`` and ``iter`` are the whole random state and the sampler's position.

    Raises:
        UserError: The file could not be written.
    """
    if current_iter == -1:
        return
    state = {
        'epoch': epoch,
        'iter': current_iter,
        'manual_seed': self.opt['manual_seed'],
        'warmup_iter': (self.opt.get('train') or {}).get('warmup_iter', -1),
        'optimizers': [{'type': type(one).__name__} | one.state_dict() for one in self.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        'weights': dict(self.__dict__.get('_weight_files', {})),
        'best_metric_results': getattr(self, 'best_metric_results', None),
        KEY: extra_state(self),
    }
    if getattr(self, 'scaler', None) is not None:
        state['scaler'] = self.scaler.state_dict()
    save_atomic(to_plain(state), Path(self.opt['path']['training_states']) / f'{current_iter}.state')


def resume_training(self, resume_state: dict) -> None:
    """Load optimisers, schedules, scaler and best results; the weights are loaded by ``path:pretrain_network_*``.

    Raises:
        UserError: See :func:`..training_state.take_up`.
    """
    restore_extra_state(self, resume_state.get(KEY) or {})
    take_up(self, resume_state)


def initialize_best(self, dataset_name: str) -> None:
    """Make room for the best value of each metric; BasicSR leaves out those that were added since."""
    results = self.__dict__.setdefault('best_metric_results', {}).setdefault(dataset_name, {})
    for name, options in self.opt['val']['metrics'].items():
        better = options.get('better', 'higher')
        if results.get(name, {}).get('better') != better:
            results[name] = {'better': better, 'val': -math.inf if better == 'higher' else math.inf, 'iter': -1}


def finite_best(update: Callable) -> Callable:
    """An infinite value is never the best one: a black frame restored as black has an infinite PSNR."""

    @wraps(update)
    def updated(self, dataset_name, metric, val, current_iter) -> None:
        if math.isfinite(val):
            update(self, dataset_name, metric, val, current_iter)

    return updated
