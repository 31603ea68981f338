"""Where the priors of a network come from: the data set's store, or a frozen extractor that the model owns."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from basicsr.utils import get_root_logger
from torch import Tensor

from ..archs.semantic_arch import arch_of
from ..config.signatures import arguments_of
from ..extractors import EXTRACTOR_REGISTRY, Extractor, build_extractor
from ..extractors.xdecoder.instance_tokens import InstanceTokens
from ..priors import CELL, ClipGeometry, PriorStore
from ..priors.store_meta import token_origin
from ..utils.errors import MissingError, UserError, shown

ExtractMode = Literal['cached', 'online_full', 'online_patch']
MODES: tuple[ExtractMode, ...] = ('cached', 'online_full', 'online_patch')
#: Field of SemanticPriors -> pixels of a frame along a side of one of its elements; other fields have no position in
#: the frame.
_STRIDES = {'masks': 1, 'pixel_features': CELL}


class SemanticSource:
    """Completes what a data set gives to what a network takes (section ``network_s``).

    - ``cached``: masks, tokens and pixel features come from the store, whichever extractor filled it: the type
      ``stored_tokens`` takes any. Where ``instance_checkpoint`` or ``instance_source`` says how, instance tokens are
      made of the frame tokens of the sampled frames. The name of an extractor can be given, too; then its keys for
      extraction have no effect.
    - ``online_full``: the extractor looks at whole low-resolution frames; masks and pixel features are then cropped as
      the frames were.
    - ``online_patch``: the extractor looks at the patch that the network restores.

    Eq. 4 and 5 of Semantic Lens make tokens and masks in one pass over one clip. With a store the masks come from the
    whole video, so that an instance keeps its identity, and instance tokens from the frames of the clip, as in Eq. 4.

    Its networks are frozen, in evaluation mode, and not part of the network that trains. So they are in no checkpoint,
    no average of weights and no DistributedDataParallel.

    Args:
        options: ``type``, the name of an extractor with a method ``describe``, or in mode ``cached`` ``stored_tokens``;
            ``extract_mode``; its arguments.
        wanted: Fields of SemanticPriors that the network takes.
        device: Where the networks run.

    Raises:
        UserError: Unknown type or mode, a type that does not fit the mode, or what the extractor refuses.
    """

    def __init__(self, options: Mapping[str, Any], wanted: Sequence[str], device: torch.device) -> None:
        arguments = dict(options)
        kind, mode = arguments.pop('type', None), arguments.pop('extract_mode', 'cached')
        chosen = EXTRACTOR_REGISTRY.get(kind) if kind in EXTRACTOR_REGISTRY else None
        unfit = UserError(f'It must be {_fit()}.') if chosen is None else chosen.not_for_models()
        if chosen is None or unfit is not None:
            raise UserError(f'network_s:type is {shown(kind)}. {unfit}') from unfit
        if mode not in MODES:
            raise UserError(f'network_s:extract_mode is {mode!r}; choose one of {", ".join(MODES)}.')
        if (wrong := _wrong_mode(chosen, mode)) is not None:
            raise UserError(f'network_s:extract_mode is {mode}. {wrong}')
        self.mode: ExtractMode = mode
        self.wanted = tuple(wanted)
        self.instances: InstanceTokens | None = None
        self.extractor: Extractor | None = None
        if mode != 'cached':
            given = {'device': str(device)} if 'device' in inspect.signature(chosen).parameters else {}
            self.extractor = build_extractor(str(kind), **arguments, **given)
        elif 'instance_tokens' in self.wanted and chosen.makes_instances():
            self.instances = chosen.instances_for_store(arguments, device)

    @property
    def identity(self) -> dict[str, str | None] | None:
        """What makes the instance tokens, for checkpoints of the network that uses them; None if there are none."""
        made_by = self.instances if self.extractor is None else self.extractor.instances
        if made_by is None or 'instance_tokens' not in self.wanted:
            return None
        return {'source': made_by.source, 'sha256': made_by.sha256}

    def check_training(self, trained_with: Mapping[str, Any] | None) -> None:
        """Compare with what made the instance tokens when the network was trained.

        Args:
            trained_with: ``identity`` of then, out of the checkpoint; None if it says nothing.

        Raises:
            UserError: It was something else.
        """
        now = self.identity
        if not trained_with or now is None or dict(trained_with) == now:
            return
        then, here = (f'{one["source"]}, SHA-256 {str(one["sha256"])[:12]}' for one in (trained_with, now))
        raise UserError(
            f'The network was trained with instance tokens of another origin ({then}) than those of network_s ({here}).'
            ' Give the instance_source and instance_checkpoint of its training, or set path:allow_prior_mismatch: true.'
        )

    def check_dataset(self, dataset: Mapping[str, Any], where: str) -> None:
        """Refuse data that do not fit the mode; a store of another instance network is a warning in the log.

        Args:
            dataset: A section of ``datasets``.
            where: Its name, for messages.

        Raises:
            UserError: Crops without the whole frames, or a store together with priors that are made in the run.
        """
        if self.mode == 'online_full' and dataset.get('gt_size') and not dataset.get('whole_frames'):
            raise UserError(
                f'network_s:extract_mode: online_full looks at whole frames, but {where} gives crops alone. Set '
                f'{where}:whole_frames: true, or extract_mode: online_patch to look at the crops.'
            )
        if (
            self.mode == 'online_full'
            and 'pixel_features' in self.wanted
            and dataset.get('whole_frames')
            and not dataset.get('with_features')
        ):
            raise UserError(
                f'The network takes pixel features, one for each {CELL}x{CELL} low-resolution pixels, and {where} cuts '
                f'crops anywhere. Set {where}:with_features: true, so that they begin at multiples of {CELL}.'
            )
        store = dataset.get('dataroot_priors')
        if self.mode != 'cached' and store:
            raise UserError(
                f'network_s:extract_mode: {self.mode} makes the priors in the run, but {where}:dataroot_priors names '
                'a store. Remove it, or set extract_mode: cached to use it.'
            )
        if self.instances is not None and self.instances.sha256 and store:
            parameters = PriorStore(store).meta['parameters']
            if parameters.get('instance_sha256', self.instances.sha256) != self.instances.sha256:
                get_root_logger().warning(
                    f'{where}: the masks in {store} are of another instance network than network_s:instance_checkpoint,'
                    ' so masks and instance tokens do not belong together. Has stage 1 been trained again? Then delete '
                    'the store and extract it again.'
                )

    @property
    def origin(self) -> str | None:
        """What makes the tokens of frames here; None where they come from the store."""
        made_by = self.extractor
        return None if made_by is None else token_origin(made_by.checkpoint, made_by.parameters)

    @property
    def kind(self) -> str | None:
        """Kind of the priors that are made here; None where they come from the store."""
        return None if self.extractor is None else self.extractor.kind

    @torch.no_grad()
    def priors(self, data: Mapping[str, Any], lq: Tensor) -> dict[str, Tensor]:
        """The fields that the network takes, as far as they are available.

        Args:
            data: A batch of the data set: what the store gave (``masks``, ``frame_tokens``, ...);
                ``lq_whole`` (b, t, 3, hf, wf) and ``crop`` (b, 8) for online_full, without which ``lq`` is taken to be
                whole frames.
            lq: (b, t, 3, h, w) of the batch, on the device.

        Returns:
            Field name -> tensor with a batch axis.
        """
        if self.extractor is None:
            return self._cached(data, lq.device)
        crops = data.get('crop') if self.mode == 'online_full' else None
        frames = lq if crops is None else data['lq_whole'].to(lq.device, non_blocking=True)
        clips = [self.extractor.describe(clip, self.wanted) for clip in frames]
        found = {}
        for name in self.wanted:
            values = [getattr(clip, name, None) for clip in clips]
            if crops is not None and name in _STRIDES:
                values = [_cropped(value, crop, _STRIDES[name]) for value, crop in zip(values, crops, strict=True)]
            if all(value is not None for value in values):
                found[name] = torch.stack(cast(list[Tensor], values))
        return found

    def _cached(self, data: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
        found = {name: data[name] for name in self.wanted if name in data}
        if self.instances is not None and 'frame_tokens' in data:
            frame_tokens = data['frame_tokens'].to(device, non_blocking=True)
            tokens = self.instances(frame_tokens)
            # frames that the store lacks have zero tokens (missing_priors: neutral); a clip of them has no instances
            known = frame_tokens.flatten(1).any(dim=1)
            found['instance_tokens'] = torch.where(known[:, None, None], tokens, torch.zeros_like(tokens))
        return found


def _cropped(value: Tensor | None, crop: Tensor, stride: int) -> Tensor | None:
    """What belongs to the frames of a clip (t, n, h / stride, w / stride), through the crop (8,) of its frames.

    A crop is top, left, height, width, three flips, 0.
    """
    if value is None:
        return None
    top, left, height, width, *flips = crop.tolist()
    box = (top // stride, left // stride, -(-height // stride), -(-width // stride))
    geometry = ClipGeometry(*box, *(bool(flip) for flip in flips[:3]))
    return torch.from_numpy(geometry.apply(value.cpu().numpy(), axes=(2, 3))).to(value.device)


def _fit() -> str:
    """The names of all extractors that network_s may have."""
    return ' or '.join(name for name, one in EXTRACTOR_REGISTRY if one.not_for_models() is None)


def _wrong_mode(chosen: type[Extractor], mode: Any) -> str | None:
    """Why an extractor cannot be used in a mode; None where it can."""
    if mode == 'cached' or chosen.online():
        return None
    fit = ' or '.join(name for name, one in EXTRACTOR_REGISTRY if one.online())
    return (
        f'{chosen.kind} takes what a store has and cannot make priors in the run, so its only mode is cached; '
        f'for {mode} name {fit}.'
    )


def check_token_widths(net: torch.nn.Module, given: Mapping[str, Tensor]) -> None:
    """Refuse tokens and features of another width than a network was built for.

    Args:
        net: A network; its ``token_dims`` name the width of each kind of tokens that it takes.
        given: Fields of SemanticPriors.

    Raises:
        UserError: A width differs.
    """
    keys = {
        'frame_tokens': 'token_dim',
        'instance_tokens': 'token_dim',
        'global_tokens': 'global_dim',
        'pixel_features': 'feature_dim',
    }
    for name, width in arch_of(net).token_dims.items():
        found = given[name].size(-3 if name == 'pixel_features' else -1) if name in given else width
        if found != width:
            raise UserError(
                f'network_g:{keys[name]} is {width}, but the {name} of these priors have width {found}. Set it to '
                f'that, or use priors made by an extractor of width {width}.'
            )


def source_problems(section: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """What a section ``network_s`` lacks for its mode: (path of the key, sentence)."""
    if not isinstance(section, Mapping) or section.get('type') not in EXTRACTOR_REGISTRY:
        return
    chosen, mode = EXTRACTOR_REGISTRY.get(section['type']), section.get('extract_mode')
    if mode not in MODES[1:] or chosen.not_for_models() is not None:
        return
    if (wrong := _wrong_mode(chosen, mode)) is not None:
        yield ('network_s', 'extract_mode'), wrong
        return
    what = {'checkpoint': 'weights', 'text_embeddings': 'text embeddings'}
    for key, one in arguments_of(chosen, frozenset({'device'})).model_fields.items():
        if section.get(key) is None and (one.is_required() or key in what):
            yield ('network_s', key), f'extract_mode: {mode} needs the {what.get(key, key)} of {section["type"]}.'


def missing_priors(net: torch.nn.Module, missing: Sequence[str], has_tokens: bool) -> UserError:
    """The error about priors that a network needs and does not get.

    Args:
        net: The network.
        missing: Fields of SemanticPriors.
        has_tokens: Whether the data set gives frame tokens.
    """
    message = f'{type(net).__name__} needs {", ".join(missing)}, but the data set gives none.'
    neutral = 'or set network_g:missing_priors: neutral.'
    if list(missing) == ['instance_tokens'] and has_tokens:
        return UserError(
            f'{message} The store has the tokens of the frames; name the network that makes instances of them: '
            'network_s: {type: stored_tokens, instance_checkpoint: FILE OF STAGE 1} (or, without one, '
            f'{{type: stored_tokens, instance_source: mean_over_time}}), {neutral}'
        )
    message += ' Give a store that has them, dataroot_priors: STORE,'
    if 'pixel_features' in missing:
        result = 'let network_s make them in the run (type: openseed, or xdecoder with pixel_features: true),'
        return MissingError(f'{message} {result} {neutral}', 'features')
    if arch_of(net).prior_fields == ('masks',):
        return MissingError(f'{message} {neutral}', 'priors', kind='sam')
    return MissingError(f'{message} {neutral}', 'tokens')
