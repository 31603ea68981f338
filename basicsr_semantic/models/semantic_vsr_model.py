"""The model class of SEEM and Semantic Lens: any video network that takes frames and, if it names them, priors."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from basicsr.losses import build_loss
from basicsr.models.base_model import BaseModel
from basicsr.models.video_base_model import VideoBaseModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ..archs.adapters import SEEM_PREFIXES
from ..archs.layers.frozen import lean_frozen_convs
from ..archs.semantic_arch import arch_of
from ..compat.video_models import restore_clip
from ..config.section import read_section
from ..engine.checkpoint import load_file, load_weights
from ..engine.freezing import Stages, is_flow, is_not_fusion, log_parameter_counts, train_only
from ..engine.loss_guard import agree_on_losses
from ..engine.seeding import happens
from ..priors import SemanticPriors
from ..utils.errors import MissingError, UserError
from ..utils.nearest import nearest
from . import semantic_vsr_options as options
from .adapter_files import PartOf, Tuning, key_of_base, load_adapter
from .common_options import read_path
from .networks import make_network, warn_without_weights
from .padding import run_padded
from .part_checks import (
    Said,
    wrong_accumulate,
    wrong_adapter,
    wrong_dropout,
    wrong_groups,
    wrong_priors,
    wrong_trainable,
    wrong_weights,
)
from .semantic_source import SemanticSource, check_token_widths, missing_priors, source_problems
from .steps import MovingAverage, autocast, clip_gradients, make_optimizer, take_step
from .trained_priors import TrainedPriors


@MODEL_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class SemanticVSRModel(VideoBaseModel):
    """Train and test a video super-resolution network, with or without semantic priors.

    A network says which fields of :class:`SemanticPriors` it takes in ``prior_fields``; they follow the frames as
    positional arguments, or in one object where the network has ``takes_priors_object = True``. Networks without
    ``prior_fields``, BasicSR's own included, get the frames alone. What the data set does not give of them,
    ``network_s`` makes: see :class:`SemanticSource`.

    Args:
        opt: The options, see :class:`TopOptions`, :class:`TrainOptions`, :class:`PathOptions`, :class:`ValOptions`.

    Raises:
        UserError: A checkpoint that does not fit, nothing to train, no loss, or data that do not fit network_s.
    """

    TopOptions = options.SemanticVSRTopOptions
    TrainOptions = options.SemanticVSRTrainOptions
    PathOptions = options.SemanticVSRPathOptions
    ValOptions = options.SemanticVSRValOptions

    @staticmethod
    def problems(opt: Mapping[str, Any], is_train: bool) -> Said:
        """Contradictions between sections of an option file: (path of the key, sentence)."""
        yield from source_problems(opt.get('network_s'))
        train = opt.get('train')
        losses = ('pixel_opt', 'perceptual_opt')
        if is_train and isinstance(train, Mapping) and not any(train.get(name) for name in losses):
            misspelt = [name for name in train if name not in losses and nearest(name, losses, 0.8)]
            if not misspelt:  # which is reported already
                yield ('train',), 'There is no loss: give pixel_opt or perceptual_opt.'
        yield from wrong_accumulate(opt) if is_train else ()

    @staticmethod
    def check_parts(opt: Mapping[str, Any], net: nn.Module, datasets: Mapping[str, Any]) -> Said:
        """Contradictions between the network of an option file, its weights and data sets, as `problems`.

        Args:
            opt: The options.
            net: The network, which may have no memory for its weights.
            datasets: The data sets that could be built, by the names of their sections.
        """
        yield from list(wrong_trainable(opt, net)) or wrong_groups(opt, net)
        yield from wrong_dropout(opt, net)
        yield from wrong_weights(opt, net)
        yield from wrong_adapter(opt, net)
        yield from wrong_priors(opt, net, datasets)

    def __init__(self, opt: dict[str, Any]) -> None:
        BaseModel.__init__(self, opt)
        self.train_options = read_section(self.TrainOptions, opt.get('train'), 'train') if self.is_train else None
        self.path_options = read_path(self.PathOptions, opt)
        self.val_options = read_section(self.ValOptions, opt.get('val'), 'val')
        self.trained_priors = TrainedPriors(self.path_options.allow_prior_mismatch)
        self.tuning: Tuning | None = None
        self.source: SemanticSource | None = None

        net = make_network(opt['network_g'], opt.get('scale'))
        self.arch = arch_of(net)
        warn_without_weights(self.opt, self.path_options.pretrain_network_g)
        self._load(net)
        self.source = self._make_source(net)
        if self.train_options is not None:
            for keys, sentence in wrong_dropout(opt, net):
                raise UserError(f'{":".join(keys)}: {sentence}')
            self._freeze(net)
            if self.train_options.ema_decay > 0:
                # on resume the average itself comes from the checkpoint
                saved = self.path_options.pretrain_network_g if self.path_options.resume_state else None
                self._average = MovingAverage(net, self.device, saved)
                self.net_g_ema = self._average.net
            lean = lean_frozen_convs(net)
            if lean:
                get_root_logger().info(f'{lean} frozen layers keep no input for the backward pass.')
            if self.train_options.compile:
                net.compile()
        self.net_g = self.model_to_device(net)
        self._divides = isinstance(self.net_g, DataParallel)
        if self._divides and set(self.arch.prior_fields) - {'masks'}:
            raise MissingError(
                f'{type(net).__name__} takes its priors in one object, which DataParallel cannot divide. Set num_gpu: '
                '1, or start one process a GPU.',
                'processes',
                verb='train' if self.is_train else 'test',
            )
        self.print_network(self.net_g)
        if self.is_train:
            log_parameter_counts(net)
            self.init_training_settings()

    # ------------------------------------------------------------------------------------------------- weights

    def _load(self, net: nn.Module) -> None:
        """Load baseline and adapter, and remember the priors that the network was trained with."""
        path, missing = self.path_options, []
        key = key_of_base(path.pretrain_adapter_g, path.param_key_g)
        if path.pretrain_network_g:
            missing, _ = load_weights(net, path.pretrain_network_g, path.strict_load_g, key)
            self._remember_file(path.pretrain_network_g)
        if path.pretrain_adapter_g:
            load_adapter(net, path.pretrain_adapter_g, path.param_key_g, path.pretrain_network_g)
            self._remember_file(path.pretrain_adapter_g)
        trainable = self.train_options.trainable if self.train_options else None
        if trainable and not (self.tuning and path.resume_state):
            base = None if path.resume_state else path.pretrain_network_g
            self.tuning = Tuning.of(net, trainable, missing, base, key)

    def _make_source(self, net: nn.Module) -> SemanticSource | None:
        """What makes priors in the run; not a part of ``net``, so that nothing saves, averages or trains it."""
        section = self.opt.get('network_s')
        if not section:
            return None
        source = SemanticSource(section, self.arch.prior_fields, self.device)
        for name, dataset in self.opt.get('datasets', {}).items():
            source.check_dataset(dataset, f'datasets:{name}')
        self._agree_on_instances(source)
        return source

    def _agree_on_instances(self, source: SemanticSource) -> None:
        if not self.path_options.allow_prior_mismatch:
            source.check_training(self.trained_priors.instances)
        self.trained_priors.instances = source.identity or self.trained_priors.instances

    def _freeze(self, net: nn.Module) -> None:
        """Choose what trains, before the average and the wrap."""
        assert self.train_options is not None
        train_only(net, self.train_options.trainable)

    def _remember_file(self, path: str) -> None:
        content = load_file(path)
        if isinstance(content, dict):
            self.read_metadata(path, content, bool(self.path_options.resume_state))

    def read_metadata(self, path: str, content: Mapping[str, Any], resumed: bool) -> None:
        """Remember what a checkpoint holds in addition to weights, as :meth:`checkpoint_metadata` gave it.

        Args:
            path: The file, for messages.
            content: What is in it.
            resumed: Whether its training goes on; otherwise only its weights are used.

        Raises:
            UserError: Its instance tokens were of another origin than those that are made in this run.
        """
        self.trained_priors.read(content)
        if self.source is not None:
            self._agree_on_instances(self.source)
        if resumed:
            self.tuning = Tuning.read(content) or self.tuning

    def checkpoint_metadata(self) -> dict[str, Any]:
        """What a checkpoint holds but weights: the kind of priors, what made their tokens, and what was tuned."""
        return self.trained_priors.metadata() | (self.tuning.metadata() if self.tuning else {})

    def save(self, epoch: int, current_iter: int) -> None:
        """Write ``net_g_*.pth``, the adapter where ``train.trainable`` names a part of it, and last the state.

        The adapter of SEEM is ``net_g_seem_*.pth``, any other ``net_g_adapter_*.pth``.
        """
        nets: Any = [self.net_g]
        keys: Any = ['params']
        if hasattr(self, 'net_g_ema'):
            nets, keys = [self.net_g, self.net_g_ema], ['params', 'params_ema']
        self.save_network(nets, 'net_g', current_iter, keys)
        if self.tuning is not None and self.tuning.makes_an_adapter():
            label = 'net_g_seem' if self.arch.adapter_prefixes == SEEM_PREFIXES else 'net_g_adapter'
            parts = [PartOf(self.get_bare_model(net), self.tuning.keys) for net in nets]
            self.save_network(parts, label, current_iter, keys)
        self.save_training_state(epoch, current_iter)

    # ---------------------------------------------------------------------------------------------------- data

    def check_dataset(self, dataset: Any) -> None:
        """Refuse a data set before anything runs: the first batch of a validation may come hours later.

        Args:
            dataset: A data set; one that does not say its ``prior_kind``, as BasicSR's, is checked by its batches
                alone.

        Raises:
            UserError: It has no priors and the network needs some, or they are of another kind than those of training.
        """
        wanted = self.arch.prior_fields
        if not wanted or not hasattr(dataset, 'prior_kind'):
            return
        kind = getattr(self.source, 'kind', None) or dataset.prior_kind
        if kind is not None:
            self.trained_priors.compare(kind)
        elif self.arch.missing_priors != 'neutral':
            self._raise_missing(wanted, has_tokens=False)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch.

        Args:
            data: ``lq`` (b, t, 3, h, w); ``gt`` (b, t, 3, H, W) or (b, 3, H, W) if there is one; what the network's
                ``prior_fields`` name, e.g. ``masks`` (b, t, n, h, w) uint8, or what ``network_s`` makes it of:
                ``frame_tokens``, ``lq_whole`` and ``crop``; ``prior_kind``; ``prior_origin``.

        Raises:
            UserError: Priors that the network needs are missing, of another width, or of another kind than it was
                trained with.
        """
        self.lq = data['lq'].to(self.device, non_blocking=True)
        if 'gt' in data:
            self.gt = data['gt'].to(self.device, non_blocking=True)
        wanted = self.arch.prior_fields
        if self.source is not None:
            given: dict[str, Any] = dict(self.source.priors(data, self.lq))
        else:
            given = {field: data[field] for field in wanted if field in data}
        kind, origin = (getattr(self.source, name, None) or data.get(f'prior_{name}') for name in ('kind', 'origin'))
        missing = [field for field in wanted if field not in given]
        if given:
            self.trained_priors.compare(kind, origin)
        if missing and self.arch.missing_priors != 'neutral':
            self._raise_missing(missing, 'frame_tokens' in data)
        check_token_widths(self.get_bare_model(self.net_g), given)
        priors = SemanticPriors(**given, kind=kind[0] if isinstance(kind, list | tuple) else kind)
        self.priors = priors.to(self.device, non_blocking=True)

    def _raise_missing(self, missing: Sequence[str], has_tokens: bool) -> NoReturn:
        net = self.get_bare_model(self.net_g)
        raise missing_priors(net, missing, has_tokens)

    def _inputs(self) -> tuple[Any, ...]:
        """What the network takes: frames, then its priors (all of them or, where neutral ones are allowed, none)."""
        return self.arch.inputs(self.lq, self.priors, self._divides)

    # ------------------------------------------------------------------------------------------------ training

    def init_training_settings(self) -> None:
        """Losses, warm-up stages, and what steps."""
        train = self.train_options
        assert train is not None
        self.net_g.train()
        self.cri_pix = build_loss(train.pixel_opt).to(self.device) if train.pixel_opt else None
        self.cri_perceptual = build_loss(train.perceptual_opt).to(self.device) if train.perceptual_opt else None
        if self.cri_pix is None and self.cri_perceptual is None:
            raise UserError('There is no loss: give train:pixel_opt or train:perceptual_opt.')
        self.stages = Stages(self.get_bare_model(self.net_g))
        self.stages.freeze_until(train.fix_flow, is_flow)
        self.stages.freeze_until(train.tsa_iter, is_not_fusion)
        self.init_steps()

    def init_steps(self) -> None:
        """Optimiser, schedules and gradient scaler."""
        train = self.train_options
        assert train is not None
        self.scaler = torch.amp.GradScaler(self.device.type) if train.amp == 'fp16' else None
        multipliers = {'spynet': train.flow_lr_mul, 'dcn': train.dcn_lr_mul}
        self.optimizer_g = make_optimizer(self, self.get_bare_model(self.net_g), train.optim_g, multipliers)
        self.optimizers.append(self.optimizer_g)
        self.setup_schedulers()
        frozen = [(n, p) for n, p in self.get_bare_model(self.net_g).named_parameters() if not p.requires_grad]
        self._unchecked_versions = {name: p._version for name, p in frozen}

    def optimize_parameters(self, current_iter: int) -> None:
        """One optimiser step on the fed batch.

        Raises:
            UserError: The loss is not finite; weights and files stay as they were.
        """
        train = self.train_options
        assert train is not None
        self.stages.apply(current_iter)
        self.optimizer_g.zero_grad(set_to_none=True)
        if self.lq.size(0) % train.accumulate:
            raise UserError(f'train:accumulate: {train.accumulate} does not divide the batch of {self.lq.size(0)}.')
        fed, self.priors = self.priors, self._with_dropout(current_iter)
        parts = self._parts(train.accumulate)
        self.priors = fed
        losses: OrderedDict[str, torch.Tensor] = OrderedDict()
        for k, (inputs, gt) in enumerate(parts):
            with self._no_sync() if k + 1 < len(parts) else contextlib.nullcontext():
                with self._autocast():
                    output = self.net_g(*inputs)
                total, named = self._losses(output.float(), gt, parts=len(parts))
                (self.scaler.scale(total) if self.scaler else total).backward()
            for name, value in named.items():
                losses[name] = losses.get(name, 0) + value.detach()
        if train.grad_clip:
            losses['grad_norm'] = clip_gradients(self.optimizer_g, train.grad_clip, self.scaler)
        also = () if self.scaler else ('grad_norm',)
        self.log_dict = agree_on_losses(losses, current_iter, self.opt['dist'], also)
        take_step(self.optimizer_g, self.scaler)
        self._check_frozen()
        if train.ema_decay > 0:
            self.model_ema(train.ema_decay)

    def losses_of(self, current_iter: int) -> OrderedDict[str, torch.Tensor]:
        """The losses of the fed batch by name, with their gradients, for a training loop that is not BasicSR's."""
        self.stages.apply(current_iter)
        self.priors = self._with_dropout(current_iter)
        ((inputs, gt),) = self._parts(1)
        output = self.net_g(*inputs)
        with torch.autocast(self.device.type, enabled=False):
            return self._losses(output.float(), gt, parts=1)[1]

    def _with_dropout(self, current_iter: int) -> SemanticPriors:
        """The fed priors; those of some clips neutral, with the probability ``train.prior_dropout``.

        Which clips is decided by the seed, the rank and the iteration alone, so a resumed run drops the same, and all
        other random numbers are those of a run without.
        """
        assert self.train_options is not None
        probability = self.train_options.prior_dropout
        if not probability or not self.priors.present():
            return self.priors
        place = self.opt['rank'], self.opt['world_size']
        dropped = happens(probability, self.lq.size(0), self.opt['manual_seed'], current_iter, *place)
        return self.arch.without_priors(self.priors, dropped.to(self.device))

    def _parts(self, count: int) -> list[tuple[tuple[Any, ...], torch.Tensor]]:
        """Split the batch for gradient accumulation."""
        split = [x.chunk(count) for x in (*self._inputs(), self.gt)]
        return [(part[:-1], part[-1]) for part in zip(*split, strict=True)]

    def _losses(self, output: torch.Tensor, gt: torch.Tensor, parts: int):
        """Sum of the weighted losses of one part; a mean over the batch is a mean over its equal parts."""
        named: OrderedDict[str, torch.Tensor] = OrderedDict()
        if self.cri_pix is not None:
            share = 1 if getattr(self.cri_pix, 'reduction', 'mean') == 'sum' else parts
            named['l_pix'] = self.cri_pix(output, gt) / share
        if self.cri_perceptual is not None:
            percep, style = self.cri_perceptual(output.flatten(0, -4), gt.flatten(0, -4))
            named |= {k: v / parts for k, v in (('l_percep', percep), ('l_style', style)) if v is not None}
        return torch.stack(list(named.values())).sum(), named

    def _autocast(self):
        return autocast(self.device, self.train_options.amp if self.train_options else None)

    def _no_sync(self):
        distributed = isinstance(self.net_g, DistributedDataParallel)
        return self.net_g.no_sync() if distributed else contextlib.nullcontext()  # pyright: ignore[reportCallIssue]

    def _check_frozen(self) -> None:
        """Check after the first step that no frozen parameter has changed."""
        if self._unchecked_versions:
            now = dict(self.get_bare_model(self.net_g).named_parameters())
            moved = [name for name, version in self._unchecked_versions.items() if now[name]._version != version]
            if moved:
                raise RuntimeError(f'Frozen parameters changed: {moved[:5]}')
            self._unchecked_versions = {}

    def model_ema(self, decay: float = 0.999) -> None:
        """Move the average towards the weights, see :class:`MovingAverage`."""
        self._average.move(self.get_bare_model(self.net_g), decay)

    # --------------------------------------------------------------------------------------------------- tests

    def test(self) -> None:
        """Restore the fed clip with the average of the weights where there is one; leaves ``output`` in float32."""
        net = getattr(self, 'net_g_ema', None) or self.get_bare_model(self.net_g)
        val = self.val_options

        def run(*inputs: Any) -> torch.Tensor:
            return restore_clip(net, inputs, val.flip_seq, val.center_frame_only)

        with self._autocast():
            self.output = run_padded(run, self._inputs(), self.arch.size_requirements)
        self.net_g.train(self.is_train)
