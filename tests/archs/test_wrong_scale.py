"""A network that enlarges by another factor than the data: the sentence names what to set."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs.basicvsr_arch import BasicVSR
from basicsr.archs.ecbsr_arch import ECBSR
from helpers.options import make_data, problems_of, stock_options

from basicsr_semantic.archs import EDVRSEEM, BasicVSRSEEM, PSRTRecurrent, SeeClear, SemanticLens
from basicsr_semantic.archs.semantic_arch import wrong_scale
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.models.networks import make_network
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.signatures import constructor_arguments

SMALL = {'depths': [1], 'num_heads': [2], 'embed_dim': 8}


class Theirs(torch.nn.Module):
    """Takes anything."""

    scale = 4

    def __init__(self, **options: object) -> None:
        super().__init__()


class Heir(SemanticLens):
    """Hands its arguments on."""

    def __init__(self, **options) -> None:
        super().__init__(**SMALL, **options)


@pytest.mark.parametrize(
    'net', [SemanticLens(**SMALL), PSRTRecurrent(**SMALL, align='none'), SeeClear(dim=24, head_dim=12)]
)
def test_the_argument_of_the_network_is_named(net):
    name = type(net).__name__
    assert wrong_scale(net, 2) == f'{name} enlarges 4 times, but scale is 2. Set network_g:upscale: 2, or scale: 4.'
    assert wrong_scale(net, 4) is None and wrong_scale(net, None) is None


def test_other_names_and_sections():
    net = ECBSR(3, 3, 1, 4, False, 'prelu', 2)
    assert wrong_scale(net, 4, 'base_upsampler') == (
        'ECBSR enlarges 2 times, but scale is 4. Set base_upsampler:scale: 4, or scale: 2.'
    )
    assert str(wrong_scale(Heir(), 2)).endswith('Set network_g:upscale: 2, or scale: 4.')


def test_networks_of_one_factor_say_so():
    for net in (BasicVSRSEEM(num_feat=16, num_block=1), EDVRSEEM(num_feat=16)):
        name = type(net).__name__
        told = f'{name} enlarges 4 times, but scale is 2. {name} has no argument for another factor: set scale: 4.'
        assert wrong_scale(net, 2) == told
    assert wrong_scale(Theirs(), 2) == 'Theirs enlarges 4 times, but scale is 2.'  # nobody knows what it takes
    assert wrong_scale(BasicVSR(8, 1), 2) is None  # it does not say


def test_what_is_advised_works(tmp_path):
    text = stock_options(make_data(tmp_path))['rcan']
    (tmp_path / 'a.yml').write_text(text)
    network = 'network_g={type: SemanticLens, depths: [1], num_heads: [2], embed_dim: 8, gps: false, isee: false, '
    network += 'image: false}'

    def check(*more: str) -> list[str]:
        file = OptionFile.read(tmp_path / 'a.yml', [network, 'model_type=SemanticVSRModel', *more])
        return [one.message for one in problems_of(file, True) if one.key.startswith('network_g')]

    assert check('scale=2') == ['SemanticLens enlarges 4 times, but scale is 2. Set network_g:upscale: 2, or scale: 4.']
    assert check('scale=2', 'network_g:upscale=2') == [] and check('scale=4') == []
    with pytest.raises(UserError, match=r'base_upsampler: .* Set base_upsampler:upscale: 2, or scale: 4'):
        make_network({'type': 'SemanticLens', **SMALL}, 2, 'base_upsampler')


def test_arguments_of_constructors():
    assert constructor_arguments(Heir)[0] >= {'upscale', 'token_dim'} and not constructor_arguments(Heir)[1]
    assert constructor_arguments(Theirs) == (set(), True)
    assert constructor_arguments(type('Plain', (), {})) == (set(), True)
