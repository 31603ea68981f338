"""Every registered component is found under our scope, from MMEngine's root, from elsewhere, and without MMagic."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from helpers.project import script
from torch import nn

from basicsr_semantic.config.components import components

pytest.importorskip('mmengine')
mm = pytest.importorskip('basicsr_semantic.mm')

from mmengine import registry as root  # noqa: E402

REGISTRY_OF = {'arch': 'MODELS', 'loss': 'MODELS', 'extractor': 'MODELS', 'dataset': 'DATASETS', 'metric': 'METRICS'}
SEEM = {'num_feat': 8, 'num_block': 1, 'num_masks': 4, 'reduction': 2}


@pytest.mark.parametrize('kind', REGISTRY_OF)
def test_every_component_has_its_name(kind):
    found = components(kind)
    assert len(found) >= (3 if kind == 'extractor' else 5)
    for name in found:
        assert getattr(root, REGISTRY_OF[kind]).get(f'basicsr_semantic.{name}') is not None, name


def test_an_arch_and_a_loss_are_built_with_their_arguments():
    net = root.MODELS.build({'type': 'basicsr_semantic.BasicVSRSEEM', **SEEM})
    assert type(net) is ARCH_REGISTRY.get('BasicVSRSEEM')
    loss = root.MODELS.build({'type': 'basicsr_semantic.CharbonnierLoss', 'loss_weight': 0.5})
    assert type(loss) is LOSS_REGISTRY.get('CharbonnierLoss') and loss.loss_weight == 0.5
    assert root.MODELS.build({'type': 'basicsr_semantic.regions', 'max_masks': 3}).max_masks == 3


def test_what_is_registered_later_is_found_too():
    class BroughtLater(nn.Module):
        pass

    try:
        ARCH_REGISTRY.register(BroughtLater)
        assert type(root.MODELS.build({'type': 'basicsr_semantic.BroughtLater'})) is BroughtLater
    finally:
        ARCH_REGISTRY._obj_map.pop('BroughtLater')
        mm.registry.MODELS._module_dict.pop('BroughtLater', None)


@pytest.mark.parametrize('broken', [False, True])
def test_another_scope_finds_them_with_mmagic_absent_and_broken(monkeypatch, broken):
    """As MMagic's own registries look: up to the root and down again."""
    if broken:
        package = types.ModuleType('mmagic')

        def fail(name):
            raise AttributeError(f'module mmagic has no attribute {name}')

        package.__getattr__ = fail  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, 'mmagic', package)
    theirs = root.Registry('model', parent=root.MODELS, scope=f'theirs{broken}')
    try:
        assert type(theirs.build({'type': 'basicsr_semantic.BasicVSRSEEM', **SEEM})).__name__ == 'BasicVSRSEEM'
    finally:
        root.MODELS.children.pop(f'theirs{broken}')


def test_a_taken_scope_is_one_sentence(tmp_path):
    code = (
        'import mmengine.registry as root\n'
        "taken = root.Registry('model', parent=root.MODELS, scope='basicsr_semantic')\n"
        'import basicsr_semantic.mm\n'
    )
    (tmp_path / 'taken.py').write_text(code)
    done = script('taken.py', tmp_path)
    assert done.returncode and 'has registered the scope basicsr_semantic in mmengine.registry.MODELS' in done.stderr


def refuses(folder: Path, message: str) -> None:
    """A command that needs mmengine, with the modules of a folder, ends in one sentence."""
    (folder / 'run.py').write_text(
        "import sys\nfrom basicsr_semantic.cli import main\nsys.exit(main(['mm-config', 'a.yml']))\n"
    )
    done = script('run.py', folder)
    assert done.returncode == 2 and message in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('module', 'message'),
    [
        ("raise ModuleNotFoundError(\"No module named 'mmengine'\", name='mmengine')", 'which is not installed'),
        ("__version__ = '0.7.4'", 'mmengine is 0.7.4, but basicsr_semantic.mm needs 0.10.7 or newer'),
        ("raise ImportError('cannot import name x')", 'mmengine cannot be imported: cannot import name x.'),
    ],
)
def test_no_mmengine_or_an_old_one_is_one_sentence(tmp_path, module, message):
    (tmp_path / 'mmengine.py').write_text(module + '\n')
    refuses(tmp_path, message)


HALF_WRITTEN = """
from pathlib import Path
tries = Path(__file__).with_name('tries')
tries.write_text(tries.read_text() + '.')
if len(tries.read_text()) <= {failures}:
    raise EOFError('Ran out of input')
"""


@pytest.mark.parametrize(('failures', 'message'), [(2, 'mmengine is 0.7.4, but'), (99, 'yapf has a damaged cache')])
def test_a_cache_that_another_process_is_writing_is_waited_for(tmp_path, failures, message):
    (tmp_path / 'tries').write_text('')
    (tmp_path / 'yapf.py').write_text(HALF_WRITTEN.format(failures=failures))
    (tmp_path / 'mmengine.py').write_text("import yapf\n__version__ = '0.7.4'\n")
    refuses(tmp_path, message)


def test_the_package_never_imports_it(tmp_path):
    code = 'import basicsr_semantic, sys\nbasicsr_semantic.register()\nimport basicsr_semantic.engine.pipeline\n'
    (tmp_path / 'run.py').write_text(code + "print(any(n.split('.')[0] == 'mmengine' for n in sys.modules))\n")
    done = script('run.py', tmp_path)
    assert done.stdout.strip() == 'False', done.stderr
