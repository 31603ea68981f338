"""Mistakes under MMEngine end in one sentence; the lines that docs/mmagic.md shows work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from helpers.project import ROOT

pytest.importorskip('mmengine')

from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.optim import build_optim_wrapper
from mmengine.registry import FUNCTIONS, HOOKS, MODELS, Registry

from basicsr_semantic.mm import registry
from basicsr_semantic.mm import test as mm_test
from basicsr_semantic.mm.running import in_a_sentence
from basicsr_semantic.mm.train import main as train_main
from basicsr_semantic.utils.errors import UserError

MODEL = {
    'type': 'basicsr_semantic.SemanticRestorer',
    'generator': {'type': 'BasicVSRSEEM', 'num_feat': 8, 'num_block': 1, 'num_masks': 4, 'reduction': 2},
    'pixel_loss': {'type': 'CharbonnierLoss'},
}


AMP = "model = train_dataloader = train_cfg = dict()\noptim_wrapper = dict(type='AmpOptimWrapper')"


@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU is there')
@pytest.mark.parametrize(
    ('text', 'main', 'message'),
    [
        (None, train_main, 'There is no configuration a.py. basicsr mm-config makes one'),
        ('model = dict(', train_main, 'a.py is no configuration of MMEngine:'),
        ('model = dict()', train_main, 'a.py has no train_dataloader: it is for a test.'),
        (AMP, train_main, "MMEngine's mixed precision (AmpOptimWrapper, --amp) needs a GPU, and there is none."),
        ('model = dict()', mm_test.main, 'a.py has no test_dataloader.'),
        ('test_dataloader = dict()', mm_test.main, 'The configuration has no model.'),
    ],
)
def test_a_configuration_that_lacks_something(tmp_path, monkeypatch, capsys, text, main, message):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path('a.py').write_text(text)
    assert main(['a.py']) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        (['--work-dir', 'a.py'], "FileExistsError: [Errno 17] File exists: '"),
        (['--cfg-options', 'model.generator.num_blok=2'], "unexpected keyword argument 'num_blok'"),
    ],
)
def test_a_runner_that_cannot_be_built(tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    Path('a.py').write_text(f'model = {MODEL}\ntest_dataloader = test_evaluator = test_cfg = dict()')
    assert mm_test.main(['a.py', *flags]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert 'The runner cannot be built: ' in message and said in message


@pytest.mark.parametrize('main', [train_main, mm_test.main])
def test_a_checkpoint_of_the_other_side(tmp_path, monkeypatch, capsys, main):
    """MMEngine would load nothing of it, and go on."""
    monkeypatch.chdir(tmp_path)
    Path('a.py').write_text('model = train_dataloader = test_dataloader = train_cfg = optim_wrapper = dict()')
    torch.save({'params': {'conv.weight': torch.zeros(1)}}, 'net_g_5.pth')
    flag = ['--resume'] if main is train_main else []
    assert main(['a.py', *flag, 'net_g_5.pth']) == 2
    said = capsys.readouterr().err
    assert 'net_g_5.pth is no checkpoint of MMEngine' in said
    assert '--cfg-options model.weights.pretrain_network_g=net_g_5.pth' in said
    assert main(['a.py', *flag, 'absent.pth']) == 2
    assert 'There is no checkpoint absent.pth.' in capsys.readouterr().err


@pytest.mark.filterwarnings('ignore')
def test_a_checkpoint_with_objects_of_mmengine(tmp_path, capsys):
    torch.save({'message_hub': {'log_scalars': {'loss': HistoryBuffer()}}}, tmp_path / 'a.pth')
    assert in_a_sentence(lambda path: torch.load(path, weights_only=True), tmp_path / 'a.pth') == 2
    assert 'without the hook basicsr_semantic.PlainCheckpoint' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'train_cfg': {'amp': 'bf16'}}, 'train_cfg:amp belongs to the runner of MMEngine'),
        ({'train_cfg': {'trainable': ['seem_', 'smee']}}, "names 'smee'"),
        ({'generator': {'type': 'BasicVSRSEEM', 'num_masks': 0}}, 'num_masks'),
        ({'weights': {'pretrain_network_g': 'absent.pth'}}, 'absent.pth'),
    ],
)
def test_a_model_with_a_mistake(changes, message):
    with pytest.raises(UserError, match=message):
        MODELS.build(MODEL | changes)


def test_keys_that_no_group_has_and_batches_of_several_items():
    model = MODELS.build(MODEL)
    wrapper = {'constructor': 'basicsr_semantic.GroupedOptimizer', 'optimizer': {'type': 'Adam', 'lr': 1e-4}}
    with pytest.raises(UserError, match='paramwise_cfg:lr_mult is unknown'):
        build_optim_wrapper(model, Config(wrapper | {'paramwise_cfg': {'lr_mult': 2}}))
    collate = FUNCTIONS.get('basicsr_semantic.collate_item')
    with pytest.raises(UserError, match='one item at a time, not 2'):
        collate([{}, {}])
    items = [{'lq': torch.zeros(2, 3, size, 8)} for size in (8, 16)]
    with pytest.raises(UserError, match='8x8 and 8x16 pixels'):
        FUNCTIONS.get('basicsr_semantic.collate_clips')(items)


def test_a_mode_that_does_not_exist_and_the_tensor_mode():
    model = MODELS.build(MODEL)
    batch = {'lq': torch.rand(1, 2, 3, 64, 64), 'masks': torch.zeros(1, 2, 4, 64, 64, dtype=torch.uint8)}
    assert model(**batch, mode='tensor').shape == (1, 2, 3, 256, 256)
    with pytest.raises(ValueError, match='loss, predict or tensor'):
        model(**batch, mode='los')


def test_the_configuration_of_the_page_builds():
    page = (ROOT / 'docs' / 'mmagic.md').read_text()
    text = max(re.findall(r'```python\n(.*?)```', page, re.DOTALL), key=len)
    config = Config.fromstring(text, '.py')
    config.model.pop('weights')  # a file of the reader
    model = MODELS.build(config.model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    trained = {id(p) for group in wrapper.optimizer.param_groups for p in group['params']}
    named = model.generator.named_parameters()
    assert trained == {id(p) for name, p in named if name.startswith(('sam_embed', 'seem_'))}
    for hook in config.custom_hooks:
        assert HOOKS.build(hook)
    table = page.split('| name | what it is |')[1].split('\n\n')[0]
    for name in re.findall(r'`(\w+)`', ''.join(line.split('|')[1] for line in table.splitlines() if '|' in line[1:])):
        assert any(name in one.module_dict for one in vars(registry).values() if isinstance(one, Registry)), name
