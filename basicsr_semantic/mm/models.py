"""The three methods as models of MMEngine: BasicSR's model classes compute, MMEngine's runner steps.

Networks, losses, freezing, extractors, checks of priors, padding, sampling and prediction are those of
:mod:`basicsr_semantic.models`, so both toolboxes get the same numbers. MMEngine has what it has elsewhere: optimiser
and gradient clipping (``optim_wrapper``), schedules, the moving average (``EMAHook``), mixed precision, checkpoints.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from mmengine import dist
from mmengine.device import get_device
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, is_model_wrapper
from torch import nn

from ..config.named_weights import weights_file
from ..engine.loss_guard import agree_on_losses
from ..engine.network_record import KEY, network_record
from ..models.seeclear_model import SeeClearModel
from ..models.semantic_vsr_model import SemanticVSRModel
from ..models.stage_one import StageOne
from ..models.video_instance_model import NO_DECAY, VideoInstanceModel
from ..utils.errors import UserError
from .registry import MODELS

Section = Mapping[str, Any] | None

_NO_OPTIMISER = {'total_iter': 1, 'optim_g': {'type': 'Adam', 'lr': 1.0}, 'scheduler': {}}
"""Keys of the section ``train`` that it must have and MMEngine's runner has instead; nothing reads them here."""
_OF_THE_RUNNER = ('total_iter', 'optim_g', 'scheduler', 'warmup_iter', 'ema_decay', 'amp', 'grad_clip', 'accumulate')


_UNREGISTERED = ('cri_pix', 'cri_perceptual', 'cri', 'diffusion', 'sampler', 'upsample', 'net_f', 'classes')
"""Parts of a model inside that follow it to a device and are in no checkpoint."""


class _NoSteps:
    """A model of BasicSR that computes losses and never steps; checkpoints name the class that it stands for."""

    model_type: str

    def init_steps(self, *_: Any) -> None:
        """MMEngine's runner has optimiser, schedules and gradient scaler."""


class _SemanticVSR(_NoSteps, SemanticVSRModel):
    model_type = 'SemanticVSRModel'


class _SeeClear(_NoSteps, SeeClearModel):
    model_type = 'SeeClearModel'


class _VideoInstance(_NoSteps, VideoInstanceModel):
    model_type = 'VideoInstanceModel'


class _Bridge(BaseModel):
    """What the models here share: a model of BasicSR inside, which has the networks.

    Args:
        kind: Class of the model inside.
        sections: Its options by section; keys that are None are left out.
        train_cfg: Its section ``train`` without what belongs to the runner; None: the model is for tests alone.
        seed: Seed of the run, for what a seed decides in a step (``prior_dropout``).
        data_preprocessor: See MMEngine.
        init_cfg: See MMEngine; weights are better given by ``weights``, which knows the names of all of them.

    Raises:
        UserError: As the model inside, or a key of ``train_cfg`` that belongs to MMEngine's runner.
    """

    inside: Any
    generator: Any

    def __init__(
        self,
        kind: type[Any],
        sections: dict[str, Any],
        train_cfg: Section,
        seed: int,
        data_preprocessor: Any,
        init_cfg: Any,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        strange = [key for key in train_cfg or {} if key in _OF_THE_RUNNER]
        if strange:
            raise UserError(
                f'train_cfg:{strange[0]} belongs to the runner of MMEngine: optim_wrapper has optimiser, clipping, '
                'mixed precision and accumulation, param_scheduler the schedule, EMAHook the average.'
            )
        rank, world = dist.get_dist_info()
        gpus = 0 if get_device() == 'cpu' else 1  # the one that MMEngine moves the model to
        place = {'dist': False, 'num_gpu': gpus, 'rank': rank, 'world_size': world, 'manual_seed': seed}
        opt = {
            'model_type': kind.model_type,
            'is_train': train_cfg is not None,
            'weights_follow': True,
            **place,
            **{k: v for k, v in sections.items() if v is not None},
        }
        if train_cfg is not None:
            opt['train'] = {**opt.get('train', {}), **train_cfg, **_NO_OPTIMISER}
        weights = opt.get('path') or {}
        named = {k: weights_file(v) for k, v in weights.items() if k.startswith('pretrain_') and isinstance(v, str)}
        opt['path'] = {'resume_state': None, **weights, **named}
        # not a submodule: frozen extractors and the diffusion are in no checkpoint
        object.__setattr__(self, 'inside', kind(opt))

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bridge:
        """A copy of the networks for a moving average; what computes is shared, for it may hold a large extractor."""
        memo[id(self.inside)] = self.inside
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        vars(copied).update({name: deepcopy(value, memo) for name, value in vars(self).items()})
        return copied

    def _set_device(self, device: Any) -> None:
        """Also for what is no submodule."""
        super()._set_device(device)
        self.inside.device = torch.device(device)
        for name in _UNREGISTERED:
            part = getattr(self.inside, name, None)
            if isinstance(part, nn.Module | torch.Tensor):
                setattr(self.inside, name, part.to(device))

    def record(self) -> dict[str, Any]:
        """What a checkpoint of ``basicsr train`` says of its network, by the keys that it has there."""
        described = network_record(self.inside.opt, 'net_g')
        return ({} if described is None else {KEY: described}) | self.inside.checkpoint_metadata()

    def read_record(self, path: str, content: Mapping[str, Any], resumed: bool) -> None:
        """Take over what :meth:`record` put into a checkpoint: the kind of priors, for instance.

        Args:
            path: The file, for messages.
            content: What is in it.
            resumed: Whether its training goes on; otherwise only its weights are used.

        Raises:
            UserError: It does not fit the model, as :meth:`SemanticVSRModel.read_metadata`.
        """
        if hasattr(self.inside, 'read_metadata'):
            self.inside.read_metadata(path, content, resumed)

    def check_dataset(self, dataset: Any) -> None:
        """Refuse a data set before anything runs, as `basicsr train` does.

        Raises:
            UserError: As the model inside.
        """
        if hasattr(self.inside, 'check_dataset'):
            self.inside.check_dataset(dataset)

    @abstractmethod
    def trained(self) -> tuple[nn.Module, tuple[type[nn.Module], ...]]:
        """What the optimiser trains, by the names that option files use, and what of it has no weight decay."""

    @abstractmethod
    def _connect(self) -> None:
        """Let the model inside compute with the networks of this one, which MMEngine may have wrapped or averaged."""

    def forward(self, mode: str = 'tensor', **batch: Any) -> Any:
        """A batch of a data set of this package, through MMEngine's three doors.

        Args:
            mode: ``loss``: losses by name; ``predict``: a list with one dict for the item, see :meth:`predict`;
                ``tensor``: what the network gives for the batch.
            batch: As ``feed_data`` of the model inside takes it.

        Raises:
            UserError: As the model inside.
            ValueError: Another mode.
        """
        self._connect()
        if mode == 'predict':
            return self.predict(batch)
        self.inside.feed_data(batch)
        if mode == 'loss':
            return self.loss()
        if mode == 'tensor':
            return self.tensor()
        raise ValueError(f'mode is loss, predict or tensor, not {mode!r}.')

    def loss(self) -> dict[str, torch.Tensor]:
        """The losses of the fed batch; MMEngine sums what has ``loss`` in its name.

        Raises:
            UserError: One is not finite, in any process; no step is taken.
        """
        iteration = int(MessageHub.get_current_instance().get_info('iter', 0)) + 1
        losses = self.inside.losses_of(iteration)
        agree_on_losses(losses, iteration, dist.is_distributed())
        return {f'loss_{name.removeprefix("l_")}': value for name, value in losses.items()}

    @abstractmethod
    def predict(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """The result for one item of a test data set."""

    @abstractmethod
    def tensor(self) -> torch.Tensor:
        """What the network gives for the fed batch."""


@MODELS.register_module()
class SemanticRestorer(_Bridge):
    """Video super-resolution with or without priors: SEEM, Semantic Lens, and BasicSR's networks.

    As MMagic's editors it takes a generator, losses, ``train_cfg`` and ``test_cfg``::

        model = dict(
            type='basicsr_semantic.SemanticRestorer',
            generator=dict(type='BasicVSRSEEM', num_feat=64, num_block=30),
            pixel_loss=dict(type='CharbonnierLoss', loss_weight=1.0, reduction='mean'),
            train_cfg=dict(trainable=['sam_embed', 'seem_']),
            weights=dict(pretrain_network_g='basicvsr_reds4.pth', strict_load_g=False),
        )

    Args:
        generator: The network: type and arguments of an arch. The scope ``basicsr_semantic.`` may be left out.
        scale: Factor between LQ and GT sizes; None: that of the network.
        extractor: What makes priors in the run, see :class:`SemanticSource` (section ``network_s`` of option files).
        pixel_loss: Loss of frames.
        perceptual_loss: Further loss.
        train_cfg: ``trainable``, ``prior_dropout``, ``fix_flow``, ``tsa_iter``, ``flow_lr_mul``, ``dcn_lr_mul``,
            ``compile``: as in the section ``train``; the factors on rates belong to the constructor of the optimiser.
        test_cfg: The section ``val``: ``flip_seq``, ``center_frame_only``.
        weights: The section ``path``: ``pretrain_network_g`` and the like; files of BasicSR, MMagic, and names of
            released weights.
        seed: Seed of the run.
        data_preprocessor: Moves batches to the device: ``basicsr_semantic.ClipPreprocessor``.
        init_cfg: See MMEngine.

    Raises:
        UserError: As :class:`SemanticVSRModel`.
    """

    _kind: type[Any] = _SemanticVSR

    def __init__(
        self,
        generator: Mapping[str, Any],
        scale: int | None = None,
        extractor: Section = None,
        pixel_loss: Section = None,
        perceptual_loss: Section = None,
        train_cfg: Section = None,
        test_cfg: Section = None,
        weights: Section = None,
        seed: int = 0,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
        **more: Any,
    ) -> None:
        losses = {'pixel_opt': _plain(pixel_loss), 'perceptual_opt': _plain(perceptual_loss)}
        sections = {'network_g': _plain(generator), 'network_s': _plain(extractor), 'scale': scale, **more}
        sections |= {'val': _plain(test_cfg), 'path': _plain(weights)}
        if pixel_loss is not None or perceptual_loss is not None:
            sections['train'] = {name: value for name, value in losses.items() if value is not None}
            train_cfg = _plain(train_cfg) or {}
        super().__init__(self._kind, sections, train_cfg, seed, data_preprocessor, init_cfg)
        self.generator = self.inside.net_g

    def trained(self) -> tuple[nn.Module, tuple[type[nn.Module], ...]]:
        """See the base class."""
        return self.generator, ()

    def _connect(self) -> None:
        self.inside.net_g = self.generator

    def predict(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """Restore the frames of one item.

        Returns:
            A list of one dict: ``frames`` (n, 3, H, W) in [0, 1] on the CPU, and ``item``, what the data set said.
        """
        self.inside.feed_data(batch)
        self.inside.test()
        frames = self.inside.output.detach().float().cpu()
        for held in ('lq', 'gt', 'output', 'priors'):
            if hasattr(self.inside, held):
                delattr(self.inside, held)
        return [{'frames': frames[0] if frames.dim() == 5 else frames, 'item': batch}]

    def tensor(self) -> torch.Tensor:
        """See the base class."""
        return self.generator(*self.inside._inputs())


@MODELS.register_module(name='SeeClearRestorer')
class SeeClearEditor(SemanticRestorer):
    """SeeClear in its three stages, as :class:`SemanticRestorer`.

    Args:
        arguments: Those of :class:`SemanticRestorer`; ``train_cfg`` also has ``stage``: condenser, memory or joint,
            and ``test_cfg`` what :class:`SeeClearValOptions` has.
        diffusion: Arguments of :class:`BlurringResShift`.
        base_upsampler: What the diffusion starts from: ``bicubic``, or an arch.

    Raises:
        UserError: As :class:`SeeClearModel`.
    """

    _kind = _SeeClear

    def __init__(
        self, *arguments: Any, diffusion: Section = None, base_upsampler: Any = 'bicubic', **named: Any
    ) -> None:
        base = base_upsampler if isinstance(base_upsampler, str) else _plain(base_upsampler)
        super().__init__(*arguments, diffusion=_plain(diffusion) or {}, base_upsampler=base, **named)

    def tensor(self) -> torch.Tensor:
        """What the network predicts of the fed batch, each clip in a random state of its diffusion."""
        ((inputs, _),) = self.inside._parts(1)
        return self.generator(*inputs)


@MODELS.register_module()
class VideoInstanceSegmentor(_Bridge):
    """Stage 1 of Semantic Lens: instances of videos on top of a frame decoder.

    Args:
        generator: The instance encoder and decoder: type ``InstanceTransformer`` and its arguments.
        frame_decoder: What describes frames: section ``frame_decoder`` of option files.
        instance_loss: ``VideoInstanceLoss`` and its arguments; None: for tests alone.
        train_cfg: ``trainable``, ``frame_decoder_lr_mul``.
        test_cfg: The section ``val``: ``max_instances``, ``chunk``, ``frames_on_device``.
        weights: The section ``path``: ``pretrain_frame_decoder``, ``pretrain_network_g`` and the like.
        seed: Seed of the run.
        data_preprocessor: ``basicsr_semantic.ClipPreprocessor``.
        init_cfg: See MMEngine.

    Raises:
        UserError: As :class:`VideoInstanceModel`.
    """

    def __init__(
        self,
        generator: Mapping[str, Any],
        frame_decoder: Mapping[str, Any],
        instance_loss: Section = None,
        train_cfg: Section = None,
        test_cfg: Section = None,
        weights: Section = None,
        seed: int = 0,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        sections: dict[str, Any] = {'network_g': _plain(generator), 'frame_decoder': _plain(frame_decoder)}
        sections |= {'val': _plain(test_cfg), 'path': _plain(weights)}
        if instance_loss is not None:
            sections['train'] = {'instance_opt': _plain(instance_loss)}
            train_cfg = _plain(train_cfg) or {}
        super().__init__(_VideoInstance, sections, train_cfg, seed, data_preprocessor, init_cfg)
        self.generator = self.inside.net_g
        if self.inside.trains_frames:
            self.frame_decoder = self.inside.net_f

    def trained(self) -> tuple[nn.Module, tuple[type[nn.Module], ...]]:
        """See the base class."""
        return StageOne(getattr(self, 'frame_decoder', None), self.generator), NO_DECAY

    def _connect(self) -> None:
        inside, decoder = self.inside, getattr(self, 'frame_decoder', None)
        inside.net_g = self.generator
        inside.net_f = inside.net_f if decoder is None else decoder
        if inside.is_train:
            inside.trained = StageOne(decoder, self.generator)

    def predict(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """Find the instances of one video.

        Returns:
            A list of one dict: ``instances``, as :func:`predict_video` gives them, and ``item``.
        """
        found = self.inside.predict(batch['frames'], tuple(batch['size']), batch['num_categories'])
        return [{'instances': found, 'item': batch}]

    def tensor(self) -> Any:
        """The instances of the fed clips, projected pixel features, and what the frame decoder said."""
        decoder = self.inside.net_f
        if getattr(self, 'frame_decoder', None) is not None:
            return StageOne(decoder, self.generator)(self.inside.frames)
        with torch.no_grad():
            parts = [decoder(clip, all_layers=False) for clip in self.inside.frames]
        tokens = torch.stack([part.layer_tokens for part in parts], dim=1)
        return StageOne(None, self.generator)(tokens, torch.stack([part.mask_features for part in parts]))


def bare_model(model: nn.Module) -> Any:
    """The model that MMEngine has wrapped for several processes, or the model itself."""
    return model.module if is_model_wrapper(model) else model


def _plain(value: Any) -> Any:
    """The same without MMEngine's own kinds of dict and list, and without our scope in front of types."""
    if isinstance(value, Mapping):
        return {key: _unscoped(one) if key == 'type' else _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _unscoped(name: Any) -> Any:
    return name.removeprefix('basicsr_semantic.') if isinstance(name, str) else name
