"""The same checks over every network that is registered here, whichever it is.

A network registered later is covered the day it is: nothing here names one. What restores clips by one call is checked
by calling it; the others (of stages, of a diffusion) have tests of their own.
"""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

import basicsr_semantic  # noqa: F401  (registers)
from basicsr_semantic.archs.layers.mask_input import MissingPriors
from basicsr_semantic.archs.layers.size_requirements import SizeRequirements
from basicsr_semantic.archs.semantic_arch import SemanticArch, arch_of
from basicsr_semantic.config.signatures import argument_docs
from basicsr_semantic.priors import CELL, SemanticPriors
from basicsr_semantic.priors.semantic_priors import AXES

OURS = {name: cls for name, cls in ARCH_REGISTRY if cls.__module__.startswith('basicsr_semantic.')}
SEMANTIC = {name: cls for name, cls in OURS.items() if issubclass(cls, SemanticArch)}
RESTORES = {
    name: cls for name, cls in SEMANTIC.items() if [*inspect.signature(cls.forward).parameters][1:3] == ['lq', 'priors']
}
SMALL: dict[str, Any] = {
    'num_feat': 8, 'num_block': 1, 'num_masks': 4, 'reduction': 4, 'deformable_groups': 2, 'num_extract_block': 1,
    'num_reconstruct_block': 1, 'mid_channels': 8, 'embed_dim': 12, 'depths': [1], 'num_heads': [2],
    'window_size': [3, 8, 8], 'token_dim': 8, 'global_dim': 8, 'missing_priors': 'neutral',
}  # fmt: skip
"""Sizes by the name of the argument: a network takes those that it has."""


def build(cls: type, **changes: Any) -> Any:
    """A small network of a class, in evaluation."""
    known = inspect.signature(cls).parameters
    torch.manual_seed(0)
    return cls(**{name: value for name, value in (SMALL | changes).items() if name in known}).eval()


def clip_of(
    net: SemanticArch, batch: int = 1, frames: int = 3, size: tuple[int, int] | None = None, seed: int = 1
) -> tuple[torch.Tensor, SemanticPriors]:
    """Frames that the network accepts, and whatever priors it reads; those of a seed of their own."""
    h, w = size or (least_side(net, 8), least_side(net, 8))
    generator = torch.Generator().manual_seed(seed)
    sizes = {'b': batch, 'T': frames, 'I': net.num_masks or 3, 'h': h, 'w': w, 'K': 4, 'N': 3}
    sizes |= {'hp': -(-h // CELL), 'wp': -(-w // CELL)}
    given = {}
    for field in net.prior_fields:
        width = net.token_dims.get(field, 0)
        shape = [sizes.get(axis, width) for axis in AXES[field].split()]
        values = torch.rand(shape, generator=generator)
        given[field] = (values < 0.5).byte() if field == 'masks' else values
    lq = torch.rand(batch, frames, 3, h, w, generator=torch.Generator().manual_seed(0))
    return lq, SemanticPriors(**given)


def least_side(net: SemanticArch, side: int = 1) -> int:
    """The smallest side that the network accepts and that is no smaller than this one."""
    needs = arch_of(net).size_requirements
    return -(-max(needs.minimum, side) // needs.multiple_of) * needs.multiple_of


def awake(net: Any) -> Any:
    """The same with numbers in the layers that start at zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


ADDS = [name for name, cls in RESTORES.items() if build(cls).adapter_prefixes]
"""Networks that are a base network and modules of their own."""
READS = [(name, field) for name, cls in RESTORES.items() for field in build(cls).prior_fields]


def test_there_are_networks_to_check():
    assert SEMANTIC and RESTORES and ADDS and READS


@pytest.mark.parametrize('name', OURS)
def test_every_argument_has_a_type_a_default_and_a_line(name):
    parameters = inspect.signature(OURS[name]).parameters
    docs = argument_docs(OURS[name])
    for key, one in parameters.items():
        assert one.annotation is not one.empty and one.default is not one.empty, key
        assert docs.get(key), f'{key} is not described'
    if len(parameters) >= 10:
        assert all(one.kind is one.KEYWORD_ONLY for one in parameters.values())


@pytest.mark.parametrize('name', SEMANTIC)
def test_the_attributes_of_the_contract_have_their_types(name):
    net = build(SEMANTIC[name])
    assert arch_of(net) is net
    assert isinstance(net.prior_fields, tuple) and set(net.prior_fields) <= AXES.keys()
    assert isinstance(net.scale, int) and net.scale >= 1
    assert isinstance(net.size_requirements, SizeRequirements)
    assert net.missing_priors in get_args(MissingPriors)
    assert set(net.token_dims) <= AXES.keys()
    names = [key for key, _ in net.named_parameters()]
    for prefix in net.adapter_prefixes:
        assert any(key.startswith(prefix) for key in names), prefix


@pytest.mark.parametrize('name', SEMANTIC)
def test_state_dicts_copies_and_options_travel(name):
    net = build(SEMANTIC[name])
    twin = build(SEMANTIC[name])
    loaded, left_out = arch_of(twin).filter_checkpoint(net.state_dict())
    assert not left_out and not any(twin.load_state_dict(loaded))
    copied = copy.deepcopy(net)
    assert all(torch.equal(a, b) for a, b in zip(copied.state_dict().values(), loaded.values(), strict=True))
    assert arch_of(copied).prior_fields == net.prior_fields
    defaults = {key: one.default for key, one in inspect.signature(SEMANTIC[name]).parameters.items()}
    small = {key: value for key, value in SMALL.items() if key in defaults}
    assert pickle.loads(pickle.dumps(defaults)) == defaults
    assert json.loads(json.dumps(small)) == small


@torch.no_grad()
@pytest.mark.parametrize('name', RESTORES)
@pytest.mark.parametrize('batch', [1, 2])
def test_frames_of_a_batch_are_restored_each_for_itself(name, batch):
    net = build(RESTORES[name])
    frames = net.num_frame or 3
    lq, priors = clip_of(net, batch, frames)
    with torch.no_grad():
        restored = net(*net.inputs(lq, priors))
    size = (net.scale * lq.size(-2), net.scale * lq.size(-1))
    assert restored.shape in {(batch, 3, *size), (batch, frames, 3, *size)} and restored.isfinite().all()
    for k in range(batch):
        one = SemanticPriors(**{key: value[k : k + 1] for key, value in priors.present().items()})
        alone = net(*net.inputs(lq[k : k + 1], one))
        assert torch.allclose(alone, restored[k : k + 1], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('name', RESTORES)
def test_priors_may_be_missing_where_that_is_allowed(name):
    net = build(RESTORES[name])
    lq, _ = clip_of(net, frames=net.num_frame or 3)
    assert net(lq).shape == net(*net.inputs(lq, SemanticPriors())).shape
    strict = build(RESTORES[name], missing_priors='error')
    if strict.prior_fields:
        with pytest.raises(ValueError, match=strict.prior_fields[0]):
            strict(lq, SemanticPriors())


@torch.no_grad()
@pytest.mark.parametrize('name', RESTORES)
def test_a_clip_without_its_priors_is_one_that_has_none(name):
    net = awake(build(RESTORES[name]))
    lq, priors = clip_of(net, 2, net.num_frame or 3)
    mixed = net(*net.inputs(lq, net.without_priors(priors, torch.tensor([False, True]))))
    assert torch.allclose(mixed[1:], net(lq[1:]), atol=1e-5)
    assert torch.allclose(mixed[:1], net(*net.inputs(lq, priors))[:1], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('name', RESTORES)
def test_any_number_of_frames_or_the_one_that_it_says(name):
    net = build(RESTORES[name])
    window = net.num_frame
    for frames in (1, 2, 5):
        lq, priors = clip_of(net, frames=frames)
        if window in (None, frames):
            assert net(*net.inputs(lq, priors)).isfinite().all()
        else:
            with pytest.raises(ValueError, match='num_frame'):
                net(*net.inputs(lq, priors))


@torch.no_grad()
@pytest.mark.parametrize('name', RESTORES)
def test_it_accepts_the_sizes_that_it_says_and_refuses_others(name):
    net = build(RESTORES[name])
    needs, least = net.size_requirements, least_side(net)
    lq, priors = clip_of(net, frames=net.num_frame or 2, size=(least, least + needs.multiple_of))
    restored = net(*net.inputs(lq, priors))
    assert restored.shape[-2:] == (net.scale * least, net.scale * (least + needs.multiple_of))
    wrong = {least - needs.multiple_of, least + 1 if needs.multiple_of > 1 else 0} - {0}
    for side in [side for side in wrong if side > 0]:
        lq, priors = clip_of(net, frames=net.num_frame or 2, size=(least, side))
        with pytest.raises(ValueError, match=f'{name} needs'):
            net(*net.inputs(lq, priors))


@torch.no_grad()
@pytest.mark.parametrize('name', ADDS)
def test_what_it_adds_to_a_base_network_starts_as_nothing(name):
    """To the bit: priors change nothing, and BasicSR's own network of these weights gives the same."""
    net = build(RESTORES[name])
    lq, priors = clip_of(net, frames=net.num_frame or 3)
    shown = net(*net.inputs(lq, priors))
    for other in (clip_of(net, frames=net.num_frame or 3, seed=2)[1], SemanticPriors()):
        assert torch.equal(net(*net.inputs(lq, other)), shown)
    weights = {key: value for key, value in net.state_dict().items() if not key.startswith(net.adapter_prefixes)}
    for base in [cls for cls in type(net).__mro__ if cls.__module__.startswith('basicsr.')]:
        host = build(base)
        host.load_state_dict(weights)
        assert torch.equal(host(lq), shown)


@torch.no_grad()
@pytest.mark.parametrize(('name', 'field'), READS)
def test_priors_act(name, field):
    """Once the layers that start at zero hold numbers, each field that it reads changes what it gives."""
    net = awake(build(RESTORES[name]))
    lq, priors = clip_of(net, frames=net.num_frame or 3)
    other = clip_of(net, frames=net.num_frame or 3, seed=2)[1]
    changed = replace(priors, **{field: getattr(other, field)})
    assert not torch.allclose(net(*net.inputs(lq, changed)), net(*net.inputs(lq, priors)), atol=1e-6)


# ----------------------------------------------------------------------------------------------- networks of others


class Old(nn.Module):
    """A network of the contract before: each field an argument of its own."""

    prior_fields = ('masks', 'global_tokens')
    scale = 2


def test_networks_of_others_are_described_once():
    arch, lq = arch_of(Old()), torch.rand(1, 2, 3, 4, 4)
    priors = SemanticPriors(masks=torch.ones(1, 2, 3, 4, 4, dtype=torch.uint8), global_tokens=torch.rand(1, 2, 5))
    assert (arch.prior_fields, arch.scale, arch.missing_priors) == (('masks', 'global_tokens'), 2, 'error')
    assert arch.inputs(lq, priors) == (lq, priors.masks, priors.global_tokens)
    assert arch_of(nn.Conv2d(3, 3, 1)).inputs(lq, priors) == (lq,)


def _without_arguments(cls: type) -> bool:
    return all(one.default is not one.empty for one in inspect.signature(cls).parameters.values())


BASICSR = [name for name, cls in ARCH_REGISTRY if cls.__module__.startswith('basicsr.') and _without_arguments(cls)]


@pytest.mark.parametrize('name', BASICSR)
def test_networks_of_basicsr_read_no_priors(name):
    cls = ARCH_REGISTRY.get(name)
    try:
        with torch.device('meta'):
            net = cls()
    except RuntimeError:  # it reads values while it is built
        net = cls()
    arch = arch_of(net)
    assert arch.prior_fields == () and arch.adapter_prefixes == () and arch.size_requirements.minimum >= 1


def test_the_sizes_of_basicsrs_networks():
    basicvsr = arch_of(ARCH_REGISTRY.get('BasicVSR')(num_feat=8, num_block=1))
    assert basicvsr.size_requirements == SizeRequirements(minimum=33)
    edvr = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
    assert arch_of(ARCH_REGISTRY.get('EDVR')(**edvr)).size_requirements == SizeRequirements(4, 4)
    for window, with_tsa in ((5, True), (7, True), (3, False)):
        assert arch_of(ARCH_REGISTRY.get('EDVR')(**edvr, num_frame=window, with_tsa=with_tsa)).num_frame == window
    assert basicvsr.num_frame is None
    assert arch_of(ARCH_REGISTRY.get('EDVR')(**edvr, hr_in=True)).size_requirements == SizeRequirements(16, 16)
