"""Why BasicSR cannot be imported: a folder that hides it, or a package that is missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from helpers.project import python

from basicsr_semantic.compat import installation

IMPORT = (
    'try:\n'
    '    import basicsr_semantic; basicsr_semantic.register()\n'
    'except ValueError as error:\n'
    '    print("said:", error)\n'
    'else:\n'
    '    print("fine")\n'
)


def run(text: str, cwd: Path) -> subprocess.CompletedProcess:
    (cwd / 'script.py').write_text(text)
    return python('script.py', cwd=cwd)


def fork(root: Path, content: str) -> None:
    (root / 'basicsr').mkdir()
    (root / 'basicsr' / '__init__.py').write_text(content)


@pytest.mark.parametrize('content', ['', 'from .version import __version__\n', 'def train_pipeline(): pass\n'])
def test_a_folder_that_hides_basicsr_is_named(tmp_path, content):
    fork(tmp_path, content)
    done = run(IMPORT, tmp_path)
    assert f'said: The folder {tmp_path / "basicsr"} hides the installed BasicSR 1.4' in done.stdout, done.stderr
    assert 'pip install' not in done.stdout


def test_a_whole_copy_of_basicsr_runs_with_a_warning(tmp_path):
    import basicsr

    (tmp_path / 'basicsr').mkdir()
    for part in Path(str(basicsr.__file__)).parent.iterdir():
        if part.name == '__pycache__':
            continue
        if part.name == '__init__.py':
            (tmp_path / 'basicsr' / part.name).write_text(part.read_text())
        else:
            (tmp_path / 'basicsr' / part.name).symlink_to(part)
    done = run(IMPORT, tmp_path)
    assert done.stdout.split() == ['fine'], done.stdout
    assert 'hides the installed BasicSR' in done.stderr


def test_the_installed_basicsr_hides_nothing():
    assert installation.hiding_folder() is None


@pytest.mark.parametrize(('module', 'to_install'), [('lmdb', 'lmdb'), ('cv2', 'opencv-python')])
def test_a_package_that_basicsr_needs_is_named(tmp_path, module, to_install):
    done = run(f'import sys\nsys.modules["{module}"] = None\n{IMPORT}', tmp_path)
    sentence = f'basicsr needs the package {module}, which is not installed: pip install {to_install}.'
    assert done.stdout.strip() == f'said: {sentence}', done.stderr


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f'No module named {name!r}', name=name)


def test_sentences_of_missing_modules():
    message = installation.missing_package
    assert message(missing('no_such.part'), 'hat.archs') == (
        'hat.archs needs the package no_such, which is not installed: pip install no_such.'
    )
    assert 'no module hat,' in str(message(missing('hat'), 'hat.archs'))
    assert 'hat has no module hat.version' in str(message(missing('hat.version'), 'hat.archs'))
    assert 'needs torch.no_such, which the torch that is installed' in str(message(missing('torch.no_such'), 'hat'))
    assert message(ImportError('cannot import name x'), 'hat') is None
    assert message(ValueError(), 'hat') is None
