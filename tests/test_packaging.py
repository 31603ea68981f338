"""What a user installs: metadata, the constraints files, setup.py's sentence, the wheel, the Makefile's list."""

from __future__ import annotations

import importlib
import runpy
import shutil
import subprocess
import sys
import zipfile

import pytest
from helpers.project import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import basicsr_semantic

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
PYTHONS = ('3.10', '3.11', '3.12')


def holds(requirement: Requirement, python: str) -> bool:
    """Whether a line is meant for a Python version."""
    return requirement.marker is None or requirement.marker.evaluate({'python_version': python})


def requirements(python: str) -> list[Requirement]:
    """All dependencies for a Python version, those of the extras too."""
    extras = (line for extra in PROJECT['optional-dependencies'].values() for line in extra)
    lines = [Requirement(line) for line in (*PROJECT['dependencies'], *extras)]
    return [requirement for requirement in lines if holds(requirement, python)]


def pins(file: str, python: str) -> dict[str, str]:
    """Name -> exact version that a constraints file gives for one Python version; a name twice is a failure."""
    found: dict[str, str] = {}
    for line in (ROOT / file).read_text(encoding='utf-8').splitlines():
        if not line or line.startswith('#'):
            continue
        pin = Requirement(line)
        if not holds(pin, python):
            continue
        name = canonicalize_name(pin.name)
        assert name not in found, f'{file} pins {name} twice for Python {python}'
        (specifier,) = pin.specifier
        assert specifier.operator == '==', f'{file}: {line} is not an exact version'
        found[name] = specifier.version
    return found


@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('file', ['constraints.txt', 'constraints-min.txt'])
def test_constraints_cover_every_dependency_within_its_bounds(file, python):
    pinned = pins(file, python)
    for requirement in requirements(python):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f'{file} has no {name} for Python {python}'
        assert requirement.specifier.contains(pinned[name], prereleases=True), f'{file}: {name} {pinned[name]}'


@pytest.mark.parametrize('python', PYTHONS)
def test_smallest_constraints_are_the_lower_bounds(python):
    pinned = pins('constraints-min.txt', python)
    for requirement in requirements(python):
        lower = [s.version for s in requirement.specifier if s.operator == '>=']
        assert lower == [pinned[canonicalize_name(requirement.name)]], f'{requirement} was not tried at its bound'


def test_python_range_is_the_same_everywhere():
    allowed = SpecifierSet(PROJECT['requires-python'])
    assert [f'3.{minor}' for minor in range(8, 15) if f'3.{minor}' in allowed] == list(PYTHONS)
    classifiers = [line.rsplit(' ', 1)[1] for line in PROJECT['classifiers'] if 'Python :: 3.' in line]
    assert classifiers == list(PYTHONS)


def test_version_is_written_in_one_place():
    assert PROJECT['dynamic'] == ['version']
    assert 'version' not in PROJECT
    command = [sys.executable, 'setup.py', '--version']
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()[-1]
    assert printed == basicsr_semantic.__version__


def test_console_script_is_a_function():
    module, _, name = PROJECT['scripts']['basicsr'].partition(':')
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize('version', [(3, 13, 0, 'final', 0), (3, 14, 1, 'final', 0), (3, 9, 18, 'final', 0)])
def test_setup_says_why_this_python_cannot_work(monkeypatch, version):
    monkeypatch.setattr(sys, 'version_info', version)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / 'setup.py'))
    assert f'Python {version[0]}.{version[1]}: BasicSR' in str(stopped.value)
    assert 'needs Python 3.10, 3.11 or 3.12' in str(stopped.value)


def test_setup_goes_on_with_a_python_that_works(monkeypatch):
    called = []
    monkeypatch.setattr('setuptools.setup', lambda **keywords: called.append(keywords))
    runpy.run_path(str(ROOT / 'setup.py'))
    assert called == [{}]


def test_wheel_has_the_whole_package_and_nothing_else(tmp_path):
    tree = tmp_path / 'tree'
    tree.mkdir()
    for file in ROOT.iterdir():
        if file.is_file() and file.suffix in ('.toml', '.py', '.md', '') and not file.name.startswith('.'):
            shutil.copy(file, tree)
    for folder in ('basicsr_semantic', 'tests', 'tools'):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns('__pycache__'))
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', tmp_path, tree]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {str(path.relative_to(tree)) for path in (tree / 'basicsr_semantic').rglob('*.py')}
    meta_info = {str(path.relative_to(tree)) for path in (tree / 'basicsr_semantic').rglob('data/meta_info/*.txt')}
    assert meta_info, 'the lists of clips of the data sets are missing'
    weights = {str(path.relative_to(tree)) for path in (tree / 'basicsr_semantic' / 'weights').iterdir()}
    named = ('lite', 'seem-basicvsr-davis320')
    assert weights == {f'basicsr_semantic/weights/{name}.safetensors' for name in named}
    rest = names - package - meta_info - weights - {'basicsr_semantic/py.typed'}
    assert package <= names
    assert meta_info | weights | {'basicsr_semantic/py.typed'} <= names
    assert all('.dist-info/' in name for name in rest), f'the wheel should not contain {sorted(rest)}'
    assert any(name.endswith('licenses/LICENSE') for name in rest)
    assert any(name.endswith('entry_points.txt') for name in rest)


def test_make_lists_its_targets():
    listed = subprocess.run(['make'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ('help', 'venv', 'demo', 'demo-lens', 'demo-data', 'test', 'lint', 'format', 'clean'):
        assert f'  make {target} ' in listed
