"""Contradictions between a network, its weights and the priors of the data sets, found before anything runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..archs.semantic_arch import arch_of
from ..config.section import subsection
from ..engine.checkpoint import load_weights
from ..engine.freezing import group_of_each, train_only
from ..extractors import EXTRACTOR_REGISTRY
from ..priors.store_meta import feature_dim, token_shape
from ..utils.errors import UserError
from .adapter_files import load_adapter
from .common_options import rate_groups
from .semantic_source import check_token_widths, missing_priors

Said = Iterator[tuple[tuple[str, ...], str | UserError]]
"""Keys of the option, and a sentence or an error about it."""


def wrong_trainable(opt: Mapping[str, Any], net: nn.Module) -> Said:
    """What ``train:trainable`` says that the network has no parameters for."""
    try:
        train_only(net, (opt.get('train') or {}).get('trainable'))
    except UserError as error:
        yield ('train', 'trainable'), f'It {str(error).removeprefix("train:trainable ")}'


def wrong_groups(opt: Mapping[str, Any], net: nn.Module) -> Said:
    """What ``train:optim_g:groups`` says that does not fit what trains of a network, which is frozen already."""
    try:
        group_of_each(net, rate_groups((opt.get('train') or {}).get('optim_g') or {}))
    except UserError as error:
        yield ('train', 'optim_g', 'groups'), f'It {str(error).removeprefix("train:optim_g:groups ")}'


def wrong_accumulate(opt: Mapping[str, Any]) -> Said:
    """A ``train:accumulate`` that does not divide the batch of a process."""
    parts = subsection(opt, 'train').get('accumulate')
    batch = subsection(subsection(opt, 'datasets'), 'train').get('batch_size_per_gpu')
    if type(parts) is not int or type(batch) is not int or parts < 1:
        return
    gpus = opt.get('num_gpu')
    whole = batch * max(gpus, 1) if type(gpus) is int else batch  # of DataParallel
    if batch % parts and whole % parts:
        yield ('train', 'accumulate'), f'It is {parts}, which does not divide the batch of {batch}.'


def wrong_dropout(opt: Mapping[str, Any], net: nn.Module) -> Said:
    """A ``train:prior_dropout`` of a network that takes no priors."""
    probability = (opt.get('train') or {}).get('prior_dropout')
    if probability and not arch_of(net).prior_fields:
        message = f'It is {probability}, but this {type(net).__name__} takes no priors that could be dropped. Remove it'
        yield ('train', 'prior_dropout'), f'{message}, or set it to 0.'


def wrong_weights(opt: Mapping[str, Any], net: nn.Module) -> Said:
    """Weights of another network; a resumed run has others, of its own."""
    path = opt.get('path') or {}
    place = path.get('pretrain_network_g')
    if not place or path.get('resume_state') or not Path(place).expanduser().is_file():
        return
    strict, key = path.get('strict_load_g', True), path.get('param_key_g', 'params')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of weights copied to nowhere, as the network has no memory
            load_weights(net, Path(place).expanduser(), strict, key)
    except UserError as error:
        yield ('path', 'pretrain_network_g'), error


def wrong_adapter(opt: Mapping[str, Any], net: nn.Module) -> Said:
    """An adapter of another network or another base; a resumed run has it in its weights."""
    path = opt.get('path') or {}
    place, base = path.get('pretrain_adapter_g'), path.get('pretrain_network_g')
    files = [Path(one).expanduser() for one in (place, base) if one]
    if not place or path.get('resume_state') or not all(file.is_file() for file in files):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # as above
            load_adapter(net, str(files[0]), path.get('param_key_g', 'params'), base)
    except UserError as error:
        yield ('path', 'pretrain_adapter_g'), error


def wrong_priors(opt: Mapping[str, Any], net: nn.Module, datasets: Mapping[str, Any]) -> Said:
    """Priors that the network needs and a data set of ours does not give, or of another width."""
    arch, section = arch_of(net), opt.get('network_s') or {}
    wanted = arch.prior_fields
    cached = section.get('extract_mode', 'cached') == 'cached'
    for name, dataset in datasets.items() if wanted and cached else ():
        if not hasattr(dataset, 'prior_kind'):
            continue
        given = _given(dataset)
        has_tokens = 'frame_tokens' in given
        chosen = EXTRACTOR_REGISTRY.get(section['type']) if section.get('type') in EXTRACTOR_REGISTRY else None
        derived, failure = set(), None
        if chosen is not None and chosen.makes_instances() and has_tokens and 'instance_tokens' in wanted:
            try:
                with torch.no_grad():  # the instance network itself says which tokens it takes
                    if (instances := chosen.instances_for_store(section, 'cpu')) is not None:
                        derived = {'instance_tokens'}
                        given['instance_tokens'] = instances(torch.zeros(1, 1, *given['frame_tokens'].shape))
            except UserError as error:
                derived, failure = {'instance_tokens'}, error
        missing = [field for field in wanted if field not in {*given, *derived}]
        if missing and arch.missing_priors != 'neutral':
            yield ('datasets', name, 'dataroot_priors'), missing_priors(net, missing, has_tokens)
        if failure is not None:
            yield ('network_s', 'instance_checkpoint'), failure
            continue
        try:
            check_token_widths(net, given)
        except UserError as error:
            yield ('datasets', name, 'dataroot_priors'), error


def tokens_of(dataset: Any) -> int | None:
    """Tokens of each frame of a data set of ours; None without."""
    found = _given(dataset).get('frame_tokens') if hasattr(dataset, 'prior_kind') else None
    return None if found is None else found.size(0)


def _given(dataset: Any) -> dict[str, torch.Tensor]:
    """The fields that a data set gives, with their sizes alone, as far as the metadata of its store tell."""
    store, options = dataset.source.priors.store, dataset.options
    if store is None:
        return {} if dataset.prior_kind is None else {'masks': torch.empty(1, device='meta')}
    sizes: dict[str, tuple[int, ...]] = {'masks': (1,)} if store.has_masks else {}
    if (tokens := token_shape(store.meta)) is not None:
        sizes['frame_tokens'] = tokens[:2]
        sizes |= {'global_tokens': tokens[2:]} if tokens[2] else {}
    if (width := feature_dim(store.meta)) is not None and options.with_features is not False:
        sizes['pixel_features'] = (width, 1, 1)
    store.close()
    return {name: torch.empty(size, device='meta') for name, size in sizes.items()}
