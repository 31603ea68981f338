"""The model class of stage 1 of Semantic Lens: instances of videos, on top of a frame decoder that is frozen or not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.models.base_model import BaseModel
from basicsr.models.video_base_model import VideoBaseModel
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DataParallel

from ..archs.layers.instance_transformer import InstanceTransformer, VideoInstances
from ..config.section import read_section
from ..engine.checkpoint import load_file, load_weights
from ..engine.freezing import begins_with, group_of_each, log_parameter_counts, train_only
from ..engine.loss_guard import agree_on_losses
from ..extractors.xdecoder import XDecoder
from ..losses.set_loss import Instances
from ..utils.errors import MissingError, UserError, full_stop
from . import video_instance_options as options
from .common_options import rate_groups, read_path
from .frame_decoders import build_frame_decoder, class_embeddings
from .networks import REFUSALS, make_network, warn_without_weights
from .part_checks import Said, wrong_groups, wrong_trainable
from .stage_one import StageOne, check_fit, describe, frame_losses
from .steps import MovingAverage, autocast, clip_gradients, make_optimizer, take_step
from .video_instance_inference import VideoPrediction, predict_video
from .video_instance_validation import validate_videos

_MEAN_COLOUR = (0.485, 0.456, 0.406)
"""RGB in [0, 1] that the frame decoder turns into zeros; it pads frames with it, and so do we."""
_NO_WEIGHTS = (
    'The frame decoder has no weights and does not train, so its tokens would mean nothing. Give '
    'path:pretrain_frame_decoder, or train it too: train:trainable: [frame_decoder, instance].'
)
NO_DECAY = (nn.LayerNorm, nn.GroupNorm, nn.Embedding)
"""Modules whose parameters the optimiser does not make smaller."""


@MODEL_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class VideoInstanceModel(VideoBaseModel):
    """Train and test video instance segmentation, whose tokens and masks Semantic Lens takes as priors.

    ``net_g`` is the instance encoder and decoder, ``net_f`` the frame decoder. A frozen frame decoder runs without
    gradients and is in no checkpoint; one that trains is saved as ``net_f_*.pth``. Both kinds of files hold the
    arguments of their network under ``network``.

    Args:
        opt: The options, see :class:`TopOptions`, :class:`TrainOptions`, :class:`PathOptions`, :class:`ValOptions`.

    Raises:
        UserError: Networks that do not fit together or their checkpoints, nothing to train, training on several
            GPUs in one process.
    """

    TopOptions = options.VideoInstanceTopOptions
    TrainOptions = options.VideoInstanceTrainOptions
    PathOptions = options.VideoInstancePathOptions
    ValOptions = options.VideoInstanceValOptions

    @staticmethod
    def check_parts(opt: Mapping[str, Any], net: nn.Module, datasets: Mapping[str, Any]) -> Said:
        """Contradictions between the networks of an option file, what trains, and the data sets.

        Args:
            opt: The options.
            net: ``network_g``, which may have no memory for its weights.
            datasets: The data sets that could be built, by the names of their sections.
        """
        if not isinstance(net, InstanceTransformer):
            yield ('network_g', 'type'), _wrong_network(net)
            return
        path, train = opt.get('path') or {}, opt.get('train')
        trainable = (train or {}).get('trainable', ['instance'])
        if not any(begins_with(one, ['frame_decoder']) or begins_with('frame_decoder.', [one]) for one in trainable):
            yield from list(wrong_trainable(opt, StageOne(None, net))) or wrong_groups(opt, StageOne(None, net))
        if not (path.get('pretrain_network_f') or path.get('pretrain_frame_decoder')):
            if train is None or 'frame_decoder' not in trainable:
                yield ('path', 'pretrain_frame_decoder'), _NO_WEIGHTS
                return
            try:
                with torch.device('meta'):
                    frames = build_frame_decoder(opt['frame_decoder'], None)
            except (UserError, *REFUSALS) as error:
                yield ('frame_decoder',), error if isinstance(error, UserError) else full_stop(error)
                return
            checks: list[tuple[tuple[str, ...], Callable[[], Any]]] = [
                (('network_g',), lambda: check_fit(net, frames)),
                (
                    ('train', 'trainable'),
                    lambda: train_only(StageOne(frames, net), None if train is None else trainable),
                ),
            ]
            if train is not None:
                rates = rate_groups(train['optim_g'])
                checks.append((('train', 'optim_g', 'groups'), lambda: group_of_each(StageOne(frames, net), rates)))
            if train is not None and opt['frame_decoder'].get('text_embeddings') is None:
                sizes = net.config['num_classes'], frames.config['projection_dim']
                checks.append((('network_g', 'num_classes'), lambda: class_embeddings(None, *sizes, trains=True)))
            for keys, check in checks:
                try:
                    check()
                except UserError as error:
                    yield keys, error
        classes = net.config['num_classes']
        for name, dataset in datasets.items():
            if isinstance(found := getattr(dataset, 'num_classes', None), int) and found > classes:
                message = f'It is {classes}, but data set {name} has {found} classes. Set it to that.'
                yield ('network_g', 'num_classes'), message

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt['is_train'] and not opt['dist'] and opt['num_gpu'] > 1:
            raise MissingError(
                f'VideoInstanceModel trains on one GPU in a process, but num_gpu is {opt["num_gpu"]}. Set num_gpu: 1, '
                'or start one process a GPU.',
                'processes',
            )
        BaseModel.__init__(self, opt)
        self.train_options = (
            read_section(options.VideoInstanceTrainOptions, opt.get('train'), 'train') if self.is_train else None
        )
        self.path_options = read_path(options.VideoInstancePathOptions, opt)
        self.val_options = read_section(options.VideoInstanceValOptions, opt.get('val'), 'val')
        self.net_g = self._build_instances()
        self.net_f = self._build_frames()
        check_fit(self.net_g, self.net_f)
        self.trains_frames = False
        self.averages: dict[str, MovingAverage] = {}
        self._saved_config: dict[str, Any] = {}
        if self.is_train:
            self.init_training_settings()
        else:
            self.net_g.to(self.device)
            self.net_f.requires_grad_(False).to(self.device)

    # ------------------------------------------------------------------------------------------------- weights

    def _build_instances(self) -> InstanceTransformer:
        path = self.path_options
        net = make_network(self.opt['network_g'], None)
        warn_without_weights(self.opt, path.pretrain_network_g)
        if not isinstance(net, InstanceTransformer):
            raise UserError(f'network_g: {_wrong_network(net)}')
        if path.pretrain_network_g:
            content = load_file(path.pretrain_network_g)
            stored = (content.get('network') or {}) if isinstance(content, dict) else {}
            for name in ('num_heads', 'window', 'shift'):  # the weights do not tell
                if stored.get(name, net.config[name]) != net.config[name]:
                    raise UserError(
                        f'{path.pretrain_network_g} was trained with {name}: {stored[name]}, but network_g has '
                        f'{net.config[name]}.'
                    )
            load_weights(net, path.pretrain_network_g, path.strict_load_g, self._param_key())
        return net

    def _build_frames(self) -> XDecoder:
        """The frame decoder; without weights it can be used only if all of it trains."""
        path = self.path_options
        checkpoint = path.pretrain_network_f or path.pretrain_frame_decoder
        if checkpoint is None and not (self.train_options and 'frame_decoder' in self.train_options.trainable):
            raise UserError(_NO_WEIGHTS)
        return build_frame_decoder(self.opt['frame_decoder'], checkpoint, self._param_key())

    def _param_key(self) -> str | None:
        """Which weights of a checkpoint; a resumed run goes on from those that trained, never from their average."""
        return 'params' if self.path_options.resume_state else self.path_options.param_key_g

    def save(self, epoch: int, current_iter: int) -> None:
        """Write ``net_g_*.pth``, ``net_f_*.pth`` if the frame decoder trains, and last the state."""
        for label, net in self._trained_networks().items():
            average = self.averages.get(label)
            nets = [net] if average is None else [net, average.net]
            keys: Any = ['params', 'params_ema'][: len(nets)]
            self._saved_config = dict(net.config)
            self.save_network(nets, label, current_iter, keys)
        self.save_training_state(epoch, current_iter)

    def checkpoint_metadata(self) -> dict[str, Any]:
        """What a checkpoint holds in addition to weights: the arguments of its network."""
        return {'network': self._saved_config or dict(self.net_g.config)}

    def _trained_networks(self) -> dict[str, Any]:
        return {'net_g': self.net_g} | ({'net_f': self.net_f} if self.trains_frames else {})

    # ------------------------------------------------------------------------------------------------ training

    def init_training_settings(self) -> None:
        """Loss, what trains, averages, optimiser and schedule, gradient scaler."""
        train = self.train_options
        assert train is not None
        try:
            self.cri = build_loss(train.instance_opt).to(self.device)
        except ValueError as error:
            raise UserError(f'train:instance_opt: {error}') from error
        stage = StageOne(self.net_f, self.net_g)
        train_only(stage, train.trainable)
        if self.cri.sim_weight == 0:
            for name, parameter in self.net_g.named_parameters():
                if name.startswith('sim_embed_'):  # nothing else would give them a gradient
                    parameter.requires_grad_(False)
        elif not self.net_g.config['similarity']:
            raise UserError('network_g:similarity is false, so train:instance_opt:sim_weight must be 0.')
        self.trains_frames = any(p.requires_grad for p in self.net_f.parameters())
        if not self.trains_frames:
            stage.frame_decoder = None
            self.net_f.to(self.device).eval()
        self._set_classes()
        if train.ema_decay > 0:
            self.averages = {label: self._average(label, net) for label, net in self._trained_networks().items()}
        log_parameter_counts(stage)
        self.trained = self.model_to_device(stage)
        assert not isinstance(self.trained, DataParallel)
        self.trained.train()
        self.init_steps(stage)

    def init_steps(self, stage: StageOne) -> None:
        """Optimiser, schedules and gradient scaler."""
        train = self.train_options
        assert train is not None
        multipliers = {'frame_decoder': train.frame_decoder_lr_mul}
        # as VITA: norms and learned queries keep their size
        self.optimizer_g = make_optimizer(self, stage, train.optim_g, multipliers, NO_DECAY)
        self.optimizers.append(self.optimizer_g)
        self.setup_schedulers()
        self.scaler = torch.amp.GradScaler(self.device.type) if train.amp == 'fp16' else None

    def _set_classes(self) -> None:
        """What the frame decoder's queries are compared with, for its own loss and for the similarity."""
        self.classes: torch.Tensor | None = None
        text = self.opt['frame_decoder'].get('text_embeddings')
        if not self.trains_frames and self.cri.sim_weight == 0:
            return
        if text is None and not self.trains_frames:
            raise MissingError(
                'The similarity loss needs to know which query of the frozen frame decoder names which class: give '
                'frame_decoder:text_embeddings, or set train:instance_opt:sim_weight: 0.',
                'xdecoder text',
            )
        width = self.net_f.config['projection_dim']
        self.classes = class_embeddings(text, self.net_g.config['num_classes'], width, self.trains_frames)
        self.classes = self.classes.to(self.device)

    def _average(self, label: str, net: nn.Module) -> MovingAverage:
        """The average of a network; on resume it comes from the checkpoint itself."""
        path = getattr(self.path_options, f'pretrain_network_{label.removeprefix("net_")}')
        return MovingAverage(net, self.device, path if self.path_options.resume_state else None)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch.

        Args:
            data: ``frames`` (b, t, 3, H, W) float32 in [0, 1], RGB, padded at the right and the bottom; ``sizes``
                (b, 2) int64, height and width of each clip without padding; ``instances``, for each clip a dict of
                ``labels`` (n,), ``ids`` (n,) int64 and ``masks`` (n, t, h, w) bool without padding.

        Raises:
            UserError: A label that the network has no class for.
        """
        self.frames = data['frames'].to(self.device, non_blocking=True).clone()
        colour = self.frames.new_tensor(_MEAN_COLOUR).view(3, 1, 1)
        for clip, (h, w) in zip(self.frames, data['sizes'].tolist(), strict=True):
            clip[..., h:, :] = colour
            clip[..., :h, w:] = colour
        height, width = self.frames.shape[-2:]
        self.targets = []
        for key, one in zip(data['key'], data['instances'], strict=True):
            labels, masks = one['labels'], one['masks']
            if len(labels) and int(labels.max()) >= self.net_g.config['num_classes']:
                raise UserError(
                    f'{key} has an instance of class {int(labels.max())}, but network_g:num_classes is '
                    f'{self.net_g.config["num_classes"]}. Set it to that of the data set.'
                )
            masks = F.pad(masks, (0, width - masks.size(-1), 0, height - masks.size(-2)))
            parts = (x.to(self.device, non_blocking=True) for x in (labels, one['ids'], masks))
            self.targets.append(Instances(*parts).present())

    def optimize_parameters(self, current_iter: int) -> None:
        """One optimiser step on the fed batch.

        Raises:
            UserError: The loss is not finite; weights and files stay as they were.
        """
        train = self.train_options
        assert train is not None
        self.optimizer_g.zero_grad(set_to_none=True)
        with autocast(self.device, train.amp):
            losses = self.losses_of(current_iter)
        total = torch.stack(list(losses.values())).sum()
        (self.scaler.scale(total) if self.scaler else total).backward()
        losses = OrderedDict((name, value.detach()) for name, value in losses.items())
        if train.grad_clip:
            losses['grad_norm'] = clip_gradients(self.optimizer_g, train.grad_clip, self.scaler)
        also = () if self.scaler else ('grad_norm',)
        self.log_dict = agree_on_losses(losses, current_iter, self.opt['dist'], also)
        take_step(self.optimizer_g, self.scaler)
        for label, average in self.averages.items():
            average.move(self._trained_networks()[label], train.ema_decay)

    def losses_of(self, current_iter: int) -> dict[str, torch.Tensor]:
        """The losses of the fed batch by name, with their gradients; the same in every iteration."""
        losses: dict[str, torch.Tensor] = {}
        if self.trains_frames:
            found, features, semantics = self.trained(self.frames)
            losses, matches = frame_losses(self.net_f, semantics, self.targets, self.cri, self.classes)
        else:
            tokens, pixels, matches = describe(self.net_f, self.frames, self.targets, self.cri, self.classes)
            found, features, _ = self.trained(tokens, pixels)
        with torch.autocast(self.device.type, enabled=False):
            losses |= self.cri(_as_float(found), features.float(), self.targets, matches)
        return losses

    # ---------------------------------------------------------------------------------------------- validation

    def predict(self, frames: torch.Tensor, size: tuple[int, int], num_classes: int) -> list[VideoPrediction]:
        """The instances of a video, by the averages of the weights where there are any; see :func:`predict_video`."""
        val = self.val_options
        averages: dict[str, Any] = {label: average.net for label, average in self.averages.items()}
        networks = [averages.get('net_f', self.net_f), averages.get('net_g', self.net_g)]
        modes = [net.training for net in networks]
        try:
            decoder, instances = (net.eval() for net in networks)
            with autocast(self.device, self.train_options.amp if self.train_options else None):
                return predict_video(
                    decoder, instances, frames, size, val.max_instances, num_classes, val.chunk, val.frames_on_device
                )
        finally:
            for net, mode in zip(networks, modes, strict=True):
                net.train(mode)

    def validation(self, dataloader, current_iter, tb_logger, save_img=False) -> dict[str, float]:
        """Measure AP and AR, or write the server's file; processes share the videos. See :func:`validate_videos`."""
        return validate_videos(self, dataloader.dataset, self.predict, current_iter, tb_logger)


def _wrong_network(net: nn.Module) -> str:
    return f'It is a {type(net).__name__}; VideoInstanceModel trains type: InstanceTransformer.'


def _as_float(found: VideoInstances) -> VideoInstances:
    """The same in float32."""
    return replace(found, **{name: x.float() for name, x in vars(found).items() if x is not None})
