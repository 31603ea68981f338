"""Who may import whom: every import of the package, those inside functions too, is held to one table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.project import ROOT

PACKAGE = ROOT / 'basicsr_semantic'
BELOW_MODELS = {'archs', 'config', 'data', 'diffusion', 'engine', 'extractors', 'losses', 'metrics', 'priors'}
ALLOWED = {
    'utils': set(),
    'priors': set(),
    'diffusion': set(),
    'archs': {'priors'},
    'losses': {'archs.layers'},
    'extractors': {'priors', 'archs.layers'},
    'config': set(),
    'data': {'config', 'priors'},
    'engine': {'config'},
    'metrics': {'config', 'engine.checkpoint'},
    'models': BELOW_MODELS,
    'inference': BELOW_MODELS | {'models'},
    'video': BELOW_MODELS | {'models', 'inference'},
    'mm': BELOW_MODELS | {'models'},
    'compat': {'archs', 'config', 'data', 'engine', 'losses', 'metrics', 'models', 'priors'},
    'cli': BELOW_MODELS | {'models', 'inference', 'mm', 'video', ''},
    '': {'archs', 'cli', 'compat', 'diffusion', 'extractors', 'inference', 'priors', 'video'},
}
"""What each room may import, apart from itself and ``utils``; '' is the package's own file."""
EXCEPTIONS = {
    ('config.building', 'archs.semantic_arch'): 'the contract says how to describe a network of somebody else',
    ('config.lost_priors', 'archs.semantic_arch'): 'the contract says which priors a network reads',
    ('engine.checkpoint', 'archs.semantic_arch'): 'the contract says which weights an adapter has',
    ('engine.network_record', ''): 'the version of the package goes into each checkpoint',
    ('config.components', 'extractors'): 'the registry of extractors is ours, those of the others are BasicSR\'s',
    ('config.plugins', 'compat.installation'): 'a plugin fails for the same reasons as BasicSR itself',
    ('extractors.runner', 'data.clip_folders'): 'frames are found and named as by the data sets',
    ('models.semantic_vsr_model', 'compat.video_models'): 'the repaired model of BasicSR is its base class',
}  # fmt: skip
"""Single files that may import more, and why."""
OPTIONAL = {'huggingface_hub', 'lpips', 'mmcv', 'mmengine', 'piq', 'pyiqa', 'segment_anything', 'spandrel', 'timm'}
OPTIONAL |= {'tokenizers', 'transformers'}


def module_of(file: Path) -> str:
    """``archs.layers.mfsa``; '' is the package's own file."""
    parts = file.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imports_of(file: Path, tree: ast.AST) -> Iterator[str]:
    """Full names of what the nodes below ``tree`` import; relative names are made absolute."""
    package = ('basicsr_semantic', *file.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = '.'.join([*base, *([node.module] if node.module else [])])
            # `from . import name` may name a module: each name counts
            yield from (f'{module}.{alias.name}' for alias in node.names)


def is_within(module: str, room: str) -> bool:
    return module == room or module.startswith(f'{room}.')


def forbidden(file: Path, source: str) -> list[str]:
    """What a file of the package may not import."""
    module = module_of(file)
    room = '' if module == '__main__' else module.split('.')[0]
    found = []
    for name in imports_of(file, ast.parse(source)):
        package, _, target = name.partition('.')
        if package != 'basicsr_semantic':
            continue
        if not (PACKAGE / target.split('.')[0]).is_dir():
            target = ''  # a name that the package's own file defines
        allowed = {room, 'utils', *ALLOWED[room]} | {there for here, there in EXCEPTIONS if here == module}
        if not any(target == one if one == '' else is_within(target, one) for one in allowed):
            found.append(f'{module or "__init__"} imports {name}')
    return found


FILES = sorted(PACKAGE.rglob('*.py'))


def test_every_room_is_in_the_table():
    rooms = {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    assert rooms == ALLOWED.keys() - {''}


@pytest.mark.parametrize('room', sorted(ALLOWED))
def test_a_room_imports_what_it_may(room):
    of_room = [file for file in FILES if module_of(file).split('.')[0] in ({'', '__main__'} if room == '' else {room})]
    wrong = [line for file in of_room for line in forbidden(file, file.read_text(encoding='utf-8'))]
    assert of_room and not wrong, '\n'.join(wrong)


def test_exceptions_are_still_needed():
    unused = []
    for (here, there), _ in EXCEPTIONS.items():
        file = (PACKAGE / here.replace('.', '/')).with_suffix('.py')
        names = imports_of(file, ast.parse(file.read_text(encoding='utf-8')))
        if not any(is_within(name, f'basicsr_semantic.{there}'.rstrip('.')) for name in names):
            unused.append((here, there))
    assert not unused


def test_optional_packages_are_imported_by_the_function_that_needs_them():
    wrong = []
    for file in FILES:
        for node in ast.parse(file.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                optional = OPTIONAL - ({'mmengine'} if module_of(file).split('.')[0] == 'mm' else set())
                found = {name.split('.')[0] for name in imports_of(file, ast.Module([node], []))} & optional
                wrong += [f'{module_of(file)} imports {name} at its top' for name in found]
    assert not wrong


@pytest.mark.parametrize(
    ('file', 'source', 'count'),
    [
        ('archs/mine.py', 'from ..models import x', 1),
        ('archs/layers/mine.py', 'def f():\n    from ...data.clips import x', 1),
        ('archs/layers/mine.py', 'from ...priors.store import x\nfrom ..semantic_arch import y', 0),
        ('losses/mine.py', 'from ..archs.layers.mlp import x\nfrom ..archs.seem_arch import y', 1),
        ('utils/mine.py', 'import basicsr_semantic.engine.run', 1),
        ('engine/mine.py', 'from .. import __version__, models', 2),
        ('priors/mine.py', 'import torch\nfrom ..utils.errors import UserError', 0),
    ],
)
def test_what_may_not_be_is_found(file, source, count):
    assert len(forbidden(PACKAGE / file, source)) == count
