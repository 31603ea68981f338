"""``basicsr check``: what it prints and returns."""

from __future__ import annotations

import json
import re

import pytest
from helpers.options import make_data, stock_options
from helpers.project import write_options

from basicsr_semantic.cli import main


@pytest.fixture
def good(tmp_path):
    """A training file in order."""
    path = tmp_path / 'good.yml'
    path.write_text(stock_options(make_data(tmp_path))['rcan'])
    return path


def test_a_file_in_order_says_what_was_checked(good, capsys):
    assert main(['check', '-opt', str(good)]) == 0
    keys = len(re.findall(r'\w:(?= |$)', good.read_text(), re.MULTILINE))
    out = capsys.readouterr().out
    assert out == f'{good}: OK. Training: {keys} keys, model SRModel, 2 data sets, 1 network, 1 loss, 2 metrics.\n'


def test_a_file_without_train_is_a_test(good, capsys):
    text = good.read_text()
    good.write_text(text[: text.index('\ntrain:')] + text[text.index('\npath:') :])
    assert main(['check', '-opt', str(good)]) == 0
    assert 'OK. Test: ' in capsys.readouterr().out


def test_all_problems_of_all_files_are_printed(good, tmp_path, capsys):
    bad = tmp_path / 'bad.yml'
    bad.write_text(good.read_text().replace('gt_size', 'gt_sise').replace('print_freq', 'print_frq'))
    broken = tmp_path / 'broken.yml'
    broken.write_text('a: [1\n')
    assert main(['check', '-opt', str(bad), str(good), str(broken), str(tmp_path / 'none.yml')]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f'{bad}:') and "'gt_size', which PairedImageDataset needs, is missing" in lines[0]
    # BasicSR ignores a key that it does not know, and so its own files must pass with one
    assert 'gt_sise: warning: ' in lines[1] and 'Did you mean gt_size?' in lines[1]
    assert "'print_freq', which logger needs, is missing" in lines[2]
    assert 'print_frq: warning: ' in lines[3] and 'Did you mean print_freq?' in lines[3]
    assert lines[4] == f'{bad}: 2 problems.'
    assert lines[5].startswith(f'{good}: OK.')
    assert lines[6].startswith(f'{broken}:') and 'is not valid YAML' in lines[6]
    assert 'does not exist' in lines[7]
    assert lines[8] == '1 of 4 option files are in order.'


def test_warnings_are_errors_where_that_is_asked_for(good, capsys):
    arguments = ['check', '-opt', str(good), '--force_yml', 'datasets:train:use_shuffle=true']
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert (
        "datasets:train:use_shuffle: warning: PairedImageDataset has no key 'use_shuffle'" in out
        and '1 warning.' in out
    )
    assert main([*arguments, '--strict']) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f'{good}: 1 problem.'


def test_files_that_are_not_there_yet_can_be_ignored(good, capsys):
    good.write_text(good.read_text().replace(f'{good.parent}/gt', 'nowhere/gt'))
    assert main(['check', '-opt', str(good)]) == 1
    assert '2 problems' in capsys.readouterr().out
    assert main(['check', '-opt', str(good), '--ignore-missing-files']) == 0
    assert '2 files or folders are not there yet.' in capsys.readouterr().out


def test_overrides_are_checked_too(good, capsys):
    assert main(['check', '-opt', str(good), '--force_yml', 'network_g:num_fet=3', 'train:optim_g:lr=1e-3']) == 1
    assert '--force_yml: network_g:num_fet: ' in capsys.readouterr().out


def test_a_malicious_file_is_refused_and_runs_nothing(tmp_path, capsys):
    path = tmp_path / 'evil.yml'
    path.write_text(f'name: !!python/object/apply:os.system ["touch {tmp_path}/ran"]\n')
    assert main(['check', '-opt', str(path)]) == 1
    assert 'evil.yml:1 holds the tag !!python/object/apply:os.system' in capsys.readouterr().out
    assert not (tmp_path / 'ran').exists()


def test_components_of_an_imported_module_are_known(options, tmp_path, capsys, monkeypatch):
    (tmp_path / 'my_module_for_check.py').write_text(
        'from basicsr.utils.registry import ARCH_REGISTRY\nfrom torch import nn\n\n\n'
        '@ARCH_REGISTRY.register()\nclass MyNetForCheck(nn.Module):\n'
        '    def __init__(self, width: int = 3):\n        super().__init__()\n'
    )
    monkeypatch.chdir(tmp_path)
    opt = options(network_g={'type': 'MyNetForCheck', 'width': 4})
    path = write_options(opt, tmp_path / 'mine.yml')
    assert main(['check', '-opt', str(path)]) == 1
    assert '--import adds' in capsys.readouterr().out
    assert main(['check', '-opt', str(path), '--import', 'my_module_for_check']) == 0
    opt['network_g']['widht'] = 4
    write_options(opt, path)
    assert main(['check', '-opt', str(path), '--import', 'my_module_for_check']) == 1
    assert 'Did you mean width?' in capsys.readouterr().out


def test_the_schema_is_printed_or_written(tmp_path, capsys):
    assert main(['check', '--schema']) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)['$schema'] == 'https://json-schema.org/draft/2020-12/schema'
    file = tmp_path / 'sub' / 'schema.json'
    assert main(['check', '--schema', '-o', str(file)]) == 0
    assert file.read_text() == printed
    assert f'$schema={file.as_uri()}' in capsys.readouterr().out


def test_flags_that_do_not_go_together(good, capsys):
    with pytest.raises(SystemExit):
        main(['check'])
    with pytest.raises(SystemExit):
        main(['check', '--schema', '-opt', str(good)])
    assert main(['check', '-opt', str(good), '-o', 'x']) == 2
    assert '-o FILE belongs to --schema' in capsys.readouterr().err


def test_keys_and_values_do_not_steer_the_terminal(tmp_path, capsys):
    path = tmp_path / 'a.yml'
    known = '"name": "a", "model_type": "SRModel", "datasets": {"val": {"type": "SR\\e[2J\\u202e", "name": "x"}}'
    path.write_text('{' + known + r', "a\n\e[31m\rb": 1}')
    assert main(['check', '-opt', str(path)]) == 1
    message = capsys.readouterr().out
    assert all(line.isprintable() for line in message.splitlines())
    assert 'a\\n\\u001b[31m\\rb' in message
