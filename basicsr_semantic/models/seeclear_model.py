"""The model class of SeeClear: three stages of training, and sampling of whole videos."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn
from tqdm import tqdm

from ..archs.seeclear_arch import SeeClear
from ..diffusion import BlurringResShift
from ..engine.freezing import train_only
from ..engine.network_record import with_defaults
from ..utils.errors import UserError
from ..utils.printing import printable
from . import seeclear_options as options
from .base_upsamplers import BASE, NetworkUpsampler, make_base_upsampler
from .clip_windows import clip_windows
from .part_checks import Said, tokens_of, wrong_groups
from .seeclear_checks import problems
from .seeclear_sampling import sample_video
from .semantic_vsr_model import SemanticVSRModel

_OF_SAMPLING = ('posterior',)
"""Arguments of the diffusion that a network does not depend on."""


@MODEL_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class SeeClearModel(SemanticVSRModel):
    """Train SeeClear stage by stage, and restore videos by sampling.

    The network predicts the clean clip, and the loss compares frames in [0, 1]. A training sample of more frames than a
    clip becomes several clips that share the memory of textures, the last one shifted back to end with the sample;
    each clip has one step t. Videos are sampled whole: their memory runs from clip to clip, so processes share videos,
    never the clips of one.

    Args:
        opt: The options, see :class:`TopOptions`, :class:`TrainOptions`, :class:`PathOptions`, :class:`ValOptions`.

    Raises:
        UserError: A network of another kind, a stage without the weights it goes on from, a checkpoint of another
            diffusion, a number of steps that the diffusion does not have, or cut clips where whole ones are sampled.
    """

    TopOptions = options.SeeClearTopOptions
    TrainOptions = options.SeeClearTrainOptions
    PathOptions = options.SeeClearPathOptions
    ValOptions = options.SeeClearValOptions

    train_options: options.SeeClearTrainOptions | None
    path_options: options.SeeClearPathOptions
    val_options: options.SeeClearValOptions

    def __init__(self, opt: dict[str, Any]) -> None:
        for keys, sentence in problems(opt, opt['is_train']):
            raise UserError(f'{":".join(keys)}: {sentence}')
        with warnings.catch_warnings(record=True) as warned:
            self.diffusion = BlurringResShift(**(opt.get('diffusion') or {}))
        for one in warned:
            get_root_logger().warning(str(one.message))
        super().__init__(opt)
        self.diffusion.to(self.device)
        self.sampler = self.diffusion.with_steps(self.val_options.sample_steps or self.diffusion.steps)
        net = self._net()
        self.upsample = make_base_upsampler(
            opt.get('base_upsampler', 'bicubic'),
            net.scale,
            self.path_options.pretrain_base_upsampler,
            self.path_options.param_key_base_upsampler,
            self.device,
        )

    def _net(self) -> SeeClear:
        return cast(SeeClear, self.get_bare_model(self.net_g))

    @staticmethod
    def problems(opt: Mapping[str, Any], is_train: bool) -> Said:
        """What the option checker reports about sections that contradict each other; see :func:`problems`."""
        yield from SemanticVSRModel.problems(opt, is_train)
        yield from problems(opt, is_train)

    @staticmethod
    def check_parts(opt: Mapping[str, Any], net: nn.Module, datasets: Mapping[str, Any]) -> Said:
        """See :meth:`SemanticVSRModel.check_parts`; of each frame there must be as many tokens as the network takes."""
        said = list(SemanticVSRModel.check_parts(opt, net, datasets))
        yield from said
        if not any(keys[0] == 'train' for keys, _ in said):
            _train_stage(cast(SeeClear, net), (opt.get('train') or {}).get('stage', 'condenser'))
            yield from wrong_groups(opt, net)
        wanted = cast(SeeClear, net).num_tokens
        found = [count for dataset in datasets.values() if (count := tokens_of(dataset)) is not None]
        if 'frame_tokens' in cast(SeeClear, net).prior_fields and found and min(found) < wanted:
            yield ('network_g', 'num_tokens'), f'It {_few_tokens(wanted, min(found))}'
        base, path = opt.get('base_upsampler'), opt.get('path') or {}
        weights = path.get('pretrain_base_upsampler')
        if isinstance(base, Mapping) and weights and Path(weights).expanduser().is_file():
            key = path.get('param_key_base_upsampler', 'params')
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')  # a run would log it
                    make_base_upsampler(base, cast(SeeClear, net).scale, str(Path(weights).expanduser()), key)
            except UserError as error:
                yield ('base_upsampler',), error

    # ------------------------------------------------------------------------------------------------- weights

    def read_metadata(self, path: str, content: Mapping[str, Any], resumed: bool) -> None:
        """See the base class.

        Raises:
            UserError: It was trained with another diffusion, or is to go on in another stage.
        """
        super().read_metadata(path, content, resumed)
        trained = content.get('diffusion')
        if not isinstance(trained, Mapping):
            return
        stage, base = content.get('stage'), content.get('base_upsampler', _name(self.opt))
        if self.train_options and resumed and stage != self.train_options.stage:
            raise UserError(
                f'{path} is of stage {stage}, but train:stage is {self.train_options.stage}. Give the new stage a name '
                'of its own, and this file as path:pretrain_network_g.'
            )
        if base != _name(self.opt):
            get_root_logger().warning(
                f'{path} was trained on the base of {base}, but base_upsampler is {_name(self.opt)}: the diffusion '
                'starts from other frames than the network knows.'
            )
        for name, value in self.diffusion.config.items():
            if name not in _OF_SAMPLING and not _same(trained.get(name, value), value):
                raise UserError(
                    f'{path} was trained with diffusion:{name}: {trained[name]}, but the options say {value}. A '
                    'network knows one diffusion; only the posterior may be changed.'
                )

    def checkpoint_metadata(self) -> dict[str, Any]:
        """What a checkpoint holds but weights: kind of priors, the diffusion, and the whole network of the base."""
        metadata: dict[str, Any] = {'diffusion': dict(self.diffusion.config), 'base_upsampler': _name(self.opt)}
        if isinstance(self.upsample, NetworkUpsampler):
            state = {name: value.cpu() for name, value in self.upsample.net.state_dict().items()}
            metadata[BASE] = {'network': with_defaults(self.opt['base_upsampler']), 'params': state}
        if self.train_options:
            metadata['stage'] = self.train_options.stage
        return super().checkpoint_metadata() | metadata

    def _freeze(self, net: nn.Module) -> None:
        """The stage says what trains; ``train.trainable`` may leave out more."""
        assert self.train_options is not None and isinstance(net, SeeClear)
        train_only(net, self.train_options.trainable)
        stage = self.train_options.stage
        _train_stage(net, stage)
        parts = sorted({name.split('.')[0] for name, p in net.named_parameters() if p.requires_grad})
        count = sum(p.numel() for p in net.parameters() if p.requires_grad)
        get_root_logger().info(f'Stage {stage} trains {count:,d} parameters, in {", ".join(parts)}.')

    # ------------------------------------------------------------------------------------------------ training

    @property
    def with_memory(self) -> bool:
        """Whether the memory of textures takes part; while the condenser trains alone it does not."""
        return self.train_options is None or self.train_options.stage != 'condenser'

    def _parts(self, count: int) -> list[tuple[tuple[Any, ...], torch.Tensor]]:
        """Make clips of the batch, each in a state of its diffusion, and split them for gradient accumulation."""
        net = self._net()
        windows = clip_windows(self.lq.size(1), net.clip_length)
        base = self.upsample(self.lq)
        gt, base, lq = (_clips(frames, windows) for frames in (self.gt, base, self.lq))
        t = torch.randint(1, self.diffusion.steps + 1, gt.shape[:2], device=gt.device)
        flat = t.flatten().repeat_interleave(net.clip_length)
        image, start = (2 * x.flatten(0, 2) - 1 for x in (gt, base))
        noised = self.diffusion.q_sample(image, start, flat, torch.randn_like(image))
        x = self.diffusion.scale_input(noised, flat).view_as(gt)
        priors = [self.priors.frames(window).chunk(count) for window in windows]
        split = zip(*(y.chunk(count) for y in (x, t, 2 * lq - 1, 2 * base - 1, gt)), strict=True)
        return [
            ((*inputs, [clip[k] for clip in priors], self.with_memory), truth)
            for k, (*inputs, truth) in enumerate(split)
        ]

    def _losses(
        self, output: torch.Tensor, gt: torch.Tensor, parts: int
    ) -> tuple[torch.Tensor, OrderedDict[str, torch.Tensor]]:
        """Losses of frames in [0, 1]; the network predicts them in [-1, 1]."""
        return super()._losses((output + 1) / 2, gt, parts)

    # --------------------------------------------------------------------------------------------------- tests

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch; see :meth:`SemanticVSRModel.feed_data`. ``clip`` names the video in a test.

        Raises:
            UserError: Of each frame there are fewer tokens than the network takes.
        """
        super().feed_data(data)
        tokens, wanted = self.priors.frame_tokens, self._net().num_tokens
        if tokens is not None and tokens.size(2) < wanted:
            raise UserError(f'network_g:num_tokens {_few_tokens(wanted, tokens.size(2))}')
        self.clip = str(data.get('clip', data.get('folder', '')))

    def test(self) -> None:
        """Sample the fed video, with the average of the weights where there is one; leaves ``output``."""
        net = cast(SeeClear, getattr(self, 'net_g_ema', None) or self._net())
        net.eval()
        with (
            torch.no_grad(),
            tqdm(unit='step', leave=False, desc=printable(self.clip), disable=self.opt['rank'] != 0) as bar,
        ):

            def progress(clip: int, clips: int, steps: int) -> None:
                bar.total = clips * self.sampler.steps
                bar.set_description(f'{printable(self.clip)}, clip {clip + 1}/{clips}', refresh=False)
                bar.update()

            output = sample_video(
                net,
                self.sampler,
                self.lq[0],
                self.upsample(self.lq)[0],
                self.priors if self.priors.present() else None,
                self.clip,
                self.val_options.seed,
                self.val_options.noise_repeat,
                self.val_options.amp,
                self.with_memory,
                progress,
            )
        middle = len(output) // 2
        self.output = output[middle : middle + 1] if self.val_options.center_frame_only else output[None]
        self.net_g.train(self.is_train)


def _train_stage(net: SeeClear, stage: str) -> None:
    """Freeze what a stage does not train."""
    for name, parameter in net.named_parameters():
        of_memory = net.is_of_memory(name)
        is_frozen = of_memory if stage == 'condenser' else not of_memory if stage == 'memory' else False
        parameter.requires_grad_(parameter.requires_grad and not is_frozen)


def _few_tokens(wanted: int, found: int) -> str:
    return (
        f'is {wanted}, but the priors have {found} tokens a frame. Set it to that or less, or extract with a larger '
        '--num-tokens.'
    )


def _name(opt: Mapping[str, Any]) -> str:
    """What makes the base, by name."""
    base = opt.get('base_upsampler', 'bicubic')
    return str(base['type']) if isinstance(base, Mapping) else str(base)


def _same(stored: Any, value: Any) -> bool:
    """Equality of an argument; numbers may have been written with fewer digits."""
    if isinstance(stored, float) or isinstance(value, float):
        return math.isclose(stored, value, rel_tol=1e-6)
    return stored == value


def _clips(frames: torch.Tensor, windows: list[list[int]]) -> torch.Tensor:
    """(b, t, ...) to the m clips of each video, (b, m, length, ...)."""
    return torch.stack([frames[:, window] for window in windows], dim=1)
