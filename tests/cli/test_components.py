"""``basicsr components``: everything registered, in brief, in full, as JSON."""

from __future__ import annotations

import json

import pytest
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from basicsr_semantic.cli import main
from basicsr_semantic.config.components import KINDS, components, find


@pytest.mark.parametrize('kind', KINDS)
def test_lists_every_component_of_a_kind_within_100_characters(kind, capsys):
    assert main(['components', '--kind', kind]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f'{kind} ({len(components(kind))})')
    names = [line.split()[0] for line in out.splitlines() if line.startswith('  ') and line[2] != ' ']
    assert names == list(components(kind))
    assert max(len(line) for line in out.splitlines()) <= 100


def test_without_a_kind_all_are_listed(capsys):
    assert main(['components']) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line and line[0] != ' '] == list(KINDS)
    assert 'SemanticVSRModel' in out and 'SemanticClipDataset' in out and 'BasicVSRSEEM' in out


def test_in_brief_name_summary_file_and_arguments(capsys):
    main(['components', 'BasicVSR', '--kind', 'arch'])
    full = capsys.readouterr().out
    main(['components', '--kind', 'arch'])
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[:1] == ['BasicVSR'])
    assert lines[at].endswith('A recurrent network for video SR. Now only x4 is supported.')
    assert lines[at + 1].strip() == 'basicsr/archs/basicvsr_arch.py'
    assert lines[at + 2].strip() == 'num_feat=64, num_block=15, spynet_path=~'
    assert full.startswith('BasicVSR (arch)\n')


def test_in_full_every_option_with_type_default_and_meaning(capsys):
    assert main(['components', 'SemanticVSRModel']) == 0
    out = capsys.readouterr().out
    for text in (
        'SemanticVSRModel (model)',
        'semantic_vsr_model.py',
        'Option keys of train:',
        '  total_iter  (an integer; required)',
        '  amp  (one of bf16, fp16 or ~; default ~)\n      Mixed precision',
        'Option keys of path:',
        'Option keys of val:',
    ):
        assert text in out


def test_arguments_without_known_default_and_those_that_must_be_given(capsys):
    main(['components', '--kind', 'dataset'])
    out = ' '.join(capsys.readouterr().out.split())
    part = out[out.index('REDSRecurrentDataset') : out.index('SemanticClipDataset')]
    assert 'dataroot_gt,' in part and 'interval_list=[1]' in part and 'random_reverse=false' in part


def test_json_has_the_same(capsys):
    assert main(['components', 'calculate_psnr', '--json']) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry['name'], entry['kind']) == ('calculate_psnr', 'metric')
    assert entry['file'].endswith('psnr_ssim.py') and entry['summary'].startswith('Calculate PSNR')
    arguments = {argument['name']: argument for argument in entry['arguments']}
    assert arguments['crop_border']['required'] and 'default' not in arguments['crop_border']
    assert arguments['test_y_channel']['default'] is False and arguments['test_y_channel']['doc']
    assert not {'img', 'img2'} & arguments.keys()
    assert main(['components', '--json']) == 0
    assert len(json.loads(capsys.readouterr().out)) == sum(len(components(kind)) for kind in KINDS)


def test_an_unknown_name_names_the_nearest(capsys):
    assert main(['components', 'BasicVRS']) == 2
    assert "No component is registered as 'BasicVRS'. Did you mean BasicVSR?" in capsys.readouterr().err
    assert main(['components', 'BasicVSR', '--kind', 'loss']) == 2
    assert 'No loss is registered' in capsys.readouterr().err


def test_names_with_basicsr_suffix_are_found_plain_and_hidden_by_plain_ones(monkeypatch):
    assert find('arch', 'UNetDiscriminatorSN').target.__name__ == 'UNetDiscriminatorSN'
    assert find('arch', 'UNetDiscriminatorSN_basicsr') is None and find('arch', ['x']) is None

    class UNetDiscriminatorSN(nn.Module):
        """Another one.

        With more to say.
        """

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'UNetDiscriminatorSN', UNetDiscriminatorSN)
    found = find('arch', 'UNetDiscriminatorSN')
    assert found.target is UNetDiscriminatorSN and found.summary == 'Another one.'


def test_a_component_without_documentation_or_arguments(capsys, monkeypatch):
    class Undocumented(nn.Module):
        pass

    Undocumented.__doc__ = None
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Undocumented', Undocumented)
    assert main(['components', 'Undocumented']) == 0
    out = capsys.readouterr().out
    assert '(no documentation)' in out and 'Option keys: none.' in out
