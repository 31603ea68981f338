"""Frozen convolutions that keep no input: same output, same gradients, less memory."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from basicsr.archs.arch_util import ResidualBlockNoBN
from helpers.seem import random_input, randomise, tune_only_adapter
from torch import nn

from basicsr_semantic.archs import EDVRSEEM, BasicVSRSEEM
from basicsr_semantic.archs.layers.frozen import LeanConv2d, LeanLeakyReLU, LeanReLU, lean_frozen_convs

NETWORKS = {
    'BasicVSRSEEM': lambda: BasicVSRSEEM(num_feat=8, num_block=2, num_masks=4, reduction=4),
    'EDVRSEEM': lambda: EDVRSEEM(
        num_feat=8, deformable_groups=2, num_extract_block=1, num_reconstruct_block=2, num_masks=4, reduction=4
    ),
}


def frozen_stack(**conv_options) -> nn.Sequential:
    """Convolutions and activations of both kinds, in place and not, frozen."""
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3, **{'padding': 1, **conv_options}),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 1, bias=False),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.ReLU(),
    )
    return randomise(net, std=0.3).requires_grad_(False)


def output_and_gradients(net: nn.Module, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """Output, gradients to the inputs that need one, gradients to what trains."""
    inputs = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in inputs)
    net.zero_grad(set_to_none=True)
    output = net(*inputs)
    (output.float() * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    gradients = [x.grad for x in inputs if x.requires_grad] + [p.grad for p in net.parameters() if p.requires_grad]
    return [output.detach(), *gradients]


def kept_bytes(net: nn.Module, *inputs: torch.Tensor) -> int:
    """Bytes of all storages, weights aside, that the backward pass would use."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(*inputs)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def assert_same_to_the_bit(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert len(one) == len(other) > 1
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


@pytest.mark.parametrize(
    'options',
    [{}, {'stride': 2}, {'dilation': 2, 'padding': 2}, {'groups': 2}, {'padding': (0, 1)}, {'bias': False}],
    ids=str,
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_outputs_and_gradients_are_the_same_to_the_bit(options, dtype):
    plain = frozen_stack(**options).to(dtype)
    lean = copy.deepcopy(plain)
    assert lean_frozen_convs(lean) == 3
    x = torch.randn(2, 4, 9, 10, dtype=dtype, requires_grad=True)
    assert_same_to_the_bit(output_and_gradients(lean, x), output_and_gradients(plain, x))


def test_gradients_are_right_first_and_second():
    net = frozen_stack(stride=2).double()
    assert lean_frozen_convs(net) == 3
    x = torch.randn(1, 4, 5, 5, dtype=torch.double, requires_grad=True)
    torch.autograd.gradcheck(net, x)
    torch.autograd.gradgradcheck(net, x)


@pytest.mark.parametrize('name', NETWORKS)
def test_tuning_a_network_is_the_same_to_the_bit_and_keeps_less(name):
    plain = tune_only_adapter(randomise(NETWORKS[name]()))
    lean = copy.deepcopy(plain)
    frozen = [m for m in plain.modules() if type(m) is nn.Conv2d and not m.weight.requires_grad]
    assert lean_frozen_convs(lean) == len(frozen) > 10
    lq, masks = random_input(2, 5, 4, 36, 40)
    assert_same_to_the_bit(output_and_gradients(lean, lq, masks), output_and_gradients(plain, lq, masks))
    assert kept_bytes(lean, lq, masks) < 0.7 * kept_bytes(plain, lq, masks)


def test_a_frozen_block_keeps_one_mask():
    block = ResidualBlockNoBN(8).requires_grad_(False)
    x = torch.randn(1, 8, 6, 7, requires_grad=True)
    plain = kept_bytes(block, x)
    assert lean_frozen_convs(block) == 2
    assert plain >= 2 * x.numel() * 4 and kept_bytes(block, x) == x.numel()


def test_what_trains_is_left_alone():
    net = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3))
    net[0].requires_grad_(False)
    assert lean_frozen_convs(net) == 1
    assert [type(m) for m in net] == [LeanConv2d, nn.ReLU, nn.Conv2d]
    assert lean_frozen_convs(nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU())) == 0
    net[0].bias.requires_grad_()
    assert lean_frozen_convs(net[:1]) == 0


@pytest.mark.parametrize('options', [{'padding': 'same'}, {'padding': 1, 'padding_mode': 'reflect'}])
def test_other_padding_is_left_alone(options):
    net = nn.Sequential(nn.Conv2d(2, 2, 3, **options)).requires_grad_(False)
    assert lean_frozen_convs(net) == 0 and type(net[0]) is nn.Conv2d


def test_subclasses_are_left_alone():
    class Other(nn.Conv2d):
        pass

    net = nn.Sequential(Other(2, 2, 3)).requires_grad_(False)
    assert lean_frozen_convs(net) == 0 and type(net[0]) is Other


def test_a_second_call_changes_nothing():
    net = frozen_stack()
    assert lean_frozen_convs(net) == 3 and lean_frozen_convs(net) == 0


@pytest.mark.parametrize('thawed', ['weight', 'bias'])
def test_a_convolution_that_was_thawed_trains(thawed):
    plain = frozen_stack()
    lean = copy.deepcopy(plain)
    lean_frozen_convs(lean)
    for net in (plain, lean):
        getattr(net[4], thawed).requires_grad_()
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    got, expected = output_and_gradients(lean, x), output_and_gradients(plain, x)
    assert len(got) == 3 and got[-1].any()
    assert_same_to_the_bit(got, expected)


def test_names_copies_and_pickles_are_as_before():
    net = frozen_stack()
    keys, x = list(net.state_dict()), torch.randn(1, 4, 6, 6, requires_grad=True)
    before = output_and_gradients(net, x)
    lean_frozen_convs(net)
    assert list(net.state_dict()) == keys and isinstance(net[0], nn.Conv2d) and isinstance(net[1], nn.ReLU)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    for other in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(file, weights_only=False)):
        assert [type(m) for m in other[:4]] == [LeanConv2d, LeanReLU, LeanConv2d, LeanLeakyReLU]
        assert_same_to_the_bit(output_and_gradients(other, x), before)
    assert copy.deepcopy(net)[0].weight.data_ptr() != net[0].weight.data_ptr()


def test_in_place_activations_stay_in_place():
    net = frozen_stack()
    lean_frozen_convs(net)
    for at, in_place in ((1, True), (3, True), (5, False), (6, False)):
        x = torch.randn(1, 2, 3, 3, requires_grad=True) * 1
        assert (net[at](x).data_ptr() == x.data_ptr()) == in_place


def test_inference_keeps_nothing():
    net = frozen_stack()
    lean_frozen_convs(net)
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    with torch.no_grad():
        assert not net(x).requires_grad
    assert kept_bytes(net, x.detach()) == 0


def test_mixed_precision_is_the_same_to_the_bit():
    plain = frozen_stack()
    lean = copy.deepcopy(plain)
    lean_frozen_convs(lean)
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        got, expected = output_and_gradients(lean, x), output_and_gradients(plain, x)
    assert got[0].dtype == torch.bfloat16 and got[1].dtype == torch.float32
    assert_same_to_the_bit(got, expected)


def test_works_under_ddp(tmp_path):
    store = f'file://{tmp_path / "store"}'
    torch.distributed.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    try:
        plain = tune_only_adapter(randomise(NETWORKS['EDVRSEEM']()))
        lean = copy.deepcopy(plain)
        lean_frozen_convs(lean)
        lq, masks = random_input(1, 5, 4, 8, 8)
        got = output_and_gradients(nn.parallel.DistributedDataParallel(lean), lq, masks)
        assert_same_to_the_bit(got, output_and_gradients(plain, lq, masks))
    finally:
        torch.distributed.destroy_process_group()


def test_compiled_networks_have_the_same_gradients():
    plain = frozen_stack()
    lean = copy.deepcopy(plain)
    lean_frozen_convs(lean)
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    got = output_and_gradients(torch.compile(lean, backend='eager'), x)
    for a, b in zip(got, output_and_gradients(plain, x), strict=True):
        torch.testing.assert_close(a, b)
