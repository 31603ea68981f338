"""tools/install.sh and the Makefile's stamp, with Pythons that are a few lines of shell and install nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.project import ROOT

APT = 'sudo apt-get install make python3-venv git libgl1 libglib2.0-0'

# Answers what install.sh asks a Python, and writes every `-m` call to the log that FAKE_LOG names.
FAKE_PYTHON = """#!/bin/sh
case "$1 $2" in
    *version_info*) echo {version} ;;
    '-c import ensurepip, venv') exit {no_venv} ;;
    '-c import cv2') {opencv} ;;
    '-m venv') echo "venv $3" >> "$FAKE_LOG"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
    '-m pip')
        shift 2
        echo "pip $*" >> "$FAKE_LOG"
        case "$*" in *"${{FAKE_FAIL:-nothing fails}}"*)
            [ -z "${{FAKE_INTERRUPT:-}}" ] || kill -INT "$PPID"
            echo >> "$FAKE_LOG.failed"
            [ "$(sed -n '$=' "$FAKE_LOG.failed")" -gt "${{FAKE_FAILURES:-99}}" ] || exit 1 ;;
        esac ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""
NO_LIBGL = """echo 'ImportError: libGL.so.1: cannot open shared object file: No such file or directory' >&2; exit 1"""


@pytest.fixture
def machine(tmp_path) -> Path:
    """A folder to use as PATH, with the few commands that install.sh needs and no Python."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for command in ('sh', 'sed', 'rm', 'touch', 'mkdir', 'cp', 'basename', 'make', 'sleep'):
        (folder / command).symlink_to(str(shutil.which(command)))
    return folder


def add_python(folder: Path, name: str, version: str, *, venv: bool = True, opencv: str = ':') -> None:
    file = folder / name
    file.write_text(FAKE_PYTHON.format(version=version, no_venv=int(not venv), opencv=opencv))
    file.chmod(0o755)


def run(machine: Path, *command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {key: value for key, value in os.environ.items() if key not in ('PYTHON', 'VENV', 'MAKEFLAGS', 'MAKELEVEL')}
    return subprocess.run(
        command,
        cwd=cwd,
        env=keep | {'PATH': str(machine)} | environment,
        capture_output=True,
        text=True,
        # in the background of a script SIGINT is ignored, and what it starts cannot even trap it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_command_that_exists_and_does_not_run_is_passed_over(machine):
    shim = machine / 'python3.12'
    shim.write_text('#!/bin/sh\necho "pyenv: python3.12: command not found" >&2\nexit 127\n')
    shim.chmod(0o755)
    add_python(machine, 'python3.11', '3.11')
    found = run(machine, 'sh', 'tools/install.sh', 'python')
    assert (found.returncode, found.stdout) == (0, 'python3.11\n')


def test_the_newest_python_that_works_is_used(machine):
    for minor in (10, 11, 12, 13):
        add_python(machine, f'python3.{minor}', f'3.{minor}')
    add_python(machine, 'python3', '3.13')
    assert run(machine, 'sh', 'tools/install.sh', 'python').stdout == 'python3.12\n'


def test_a_python_without_venv_is_passed_over_when_another_has_it(machine):
    add_python(machine, 'python3.12', '3.12', venv=False)
    add_python(machine, 'python3', '3.11')
    assert run(machine, 'sh', 'tools/install.sh', 'python').stdout == 'python3\n'


def test_a_path_with_spaces_may_be_named(machine, tmp_path):
    folder = tmp_path / 'my pythons'
    folder.mkdir()
    add_python(folder, 'python', '3.10')
    found = run(machine, 'sh', 'tools/install.sh', 'python', PYTHON=str(folder / 'python'))
    assert found.stdout == f'{folder / "python"}\n'


@pytest.mark.parametrize(
    ('pythons', 'named', 'sentence'),
    [
        ({}, '', f'no Python 3.10, 3.11 or 3.12 was found; on Debian and Ubuntu: {APT}'),
        ({}, 'python3.12', 'PYTHON=python3.12 does not run'),
        ({'python3': ('3.13', True)}, '', 'python3 is Python 3.13, and Python 3.10, 3.11 or 3.12 is needed'),
        ({'python3': ('3.13', True)}, '', 'BasicSR cannot be built on Python 3.13 or newer'),
        ({'python3': ('3.8', True)}, 'python3', 'python3 is Python 3.8, and Python 3.10'),
        ({'python3': ('3.11', False)}, '', f'python3 has no venv and ensurepip modules; on Debian and Ubuntu: {APT}'),
        ({'python3.12': ('3.12', False), 'python3': ('3.13', True)}, '', 'python3.12-venv'),
    ],
)
def test_what_is_missing_is_one_sentence(machine, pythons, named, sentence):
    for name, (version, venv) in pythons.items():
        add_python(machine, name, version, venv=venv)
    for verb in ('python', 'venv'):
        stopped = run(machine, 'sh', 'tools/install.sh', verb, PYTHON=named, VENV=str(machine / 'never made'))
        assert stopped.returncode == 2
        assert stopped.stdout == ''
        assert sentence in stopped.stderr
        assert len(stopped.stderr.splitlines()) == 1
    assert not (machine / 'never made').exists()


def test_a_missing_system_library_is_one_sentence_that_names_it(machine):
    add_python(machine, 'python3', '3.11', opencv=NO_LIBGL)
    stopped = run(machine, 'sh', 'tools/install.sh', 'check', 'python3')
    assert stopped.returncode == 2
    assert stopped.stderr == (
        f'basicsr_semantic: OpenCV needs the system library libGL.so.1; on Debian and Ubuntu: {APT}\n'
    )


def test_any_other_trouble_with_opencv_is_shown(machine):
    add_python(machine, 'python3', '3.11', opencv="echo 'ImportError: numpy.core.multiarray' >&2; exit 1")
    stopped = run(machine, 'sh', 'tools/install.sh', 'check', 'python3')
    assert stopped.returncode == 2
    assert 'numpy.core.multiarray' in stopped.stderr
    assert 'apt-get' not in stopped.stderr


class TestMake:
    """`make venv` in a folder whose name has a space, with a Python that only writes down what it was asked."""

    @pytest.fixture
    def tree(self, tmp_path) -> Path:
        tree = tmp_path / 'my clone'
        (tree / 'tools').mkdir(parents=True)
        for file in ('Makefile', 'constraints.txt', 'pyproject.toml', 'setup.py', 'tools/install.sh'):
            shutil.copy(ROOT / file, tree / file)
        return tree

    @pytest.fixture
    def make(self, machine, tree, tmp_path):
        add_python(machine, 'python3', '3.11')
        log = tmp_path / 'log'

        def make_venv(**environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
            log.write_text('')
            done = run(machine, 'make', 'venv', cwd=tree, FAKE_LOG=str(log), **({'PAUSE': '0'} | environment))
            return done, log.read_text().splitlines()

        return make_venv

    def test_twice_installs_once(self, make, tree):
        done, calls = make()
        assert done.returncode == 0, done.stderr
        assert (tree / '.venv' / '.installed').exists()
        assert calls[0] == 'venv --clear'
        steps = [call for call in calls if call.startswith('pip install')]
        assert all(' -c constraints.txt ' in step for step in steps)
        order = [
            next(i for i, step in enumerate(steps) if f' {name}' in step) for name in ('numpy', 'torch', 'basicsr')
        ]
        assert order == sorted(order)
        assert steps[-1].endswith('--no-build-isolation -e .[dev]')
        assert calls[-1] == 'pip check'
        done, calls = make()
        assert (done.returncode, calls) == (0, [])

    def test_new_constraints_are_installed_into_the_same_environment(self, make, tree):
        make()
        later = (tree / '.venv' / '.installed').stat().st_mtime + 10
        os.utime(tree / 'constraints.txt', (later, later))
        done, calls = make()
        assert done.returncode == 0
        assert calls[0].startswith('pip install')

    @pytest.mark.parametrize(
        'step', ['install --disable-pip-version-check -c constraints.txt torch', '-e .[dev]', 'check']
    )
    def test_an_interrupted_installation_is_not_taken_for_a_finished_one(self, make, tree, step):
        done, _ = make(FAKE_FAIL=step)
        assert done.returncode != 0
        assert 'basicsr_semantic: ' in done.stderr
        assert not (tree / '.venv' / '.installed').exists()
        done, calls = make()
        assert done.returncode == 0
        assert calls[0] == 'venv --clear'
        assert (tree / '.venv' / '.installed').exists()

    def test_a_step_that_fails_is_tried_again(self, make, tree):
        done, calls = make(FAKE_FAIL='torch torchvision', FAKE_FAILURES='2')
        assert done.returncode == 0, done.stderr
        assert (tree / '.venv' / '.installed').exists()
        assert len([call for call in calls if call.endswith('torch torchvision')]) == 3
        assert done.stdout.count('-- pip stopped; trying again in 0 seconds') == 2

    def test_a_step_that_keeps_failing_is_one_sentence_after_three_attempts(self, make, tree):
        done, calls = make(FAKE_FAIL='torch torchvision')
        assert done.returncode != 0
        assert calls[-3:] == calls[-1:] * 3
        assert done.stderr.count('basicsr_semantic: the installation in .venv did not finish') == 1

    @pytest.mark.parametrize('shell', ['bash', 'dash'])
    def test_an_interrupted_step_is_not_tried_again(self, machine, tree, tmp_path, shell):
        """pip catches Ctrl-C and returns 1; bash, unlike dash, would go on."""
        if shutil.which(shell) is None:
            pytest.skip(f'no {shell}')
        add_python(machine, 'python3', '3.11')
        log = tmp_path / 'log'
        asked = {'FAKE_LOG': str(log), 'FAKE_FAIL': 'torch torchvision', 'FAKE_INTERRUPT': '1', 'PAUSE': '0'}
        stopped = run(machine, str(shutil.which(shell)), 'tools/install.sh', 'venv', cwd=tree, **asked)
        assert stopped.returncode == 130 and 'trying again' not in stopped.stdout
        assert log.read_text().count('torch torchvision') == 1
        assert not (tree / '.venv' / '.installed').exists()

    @pytest.mark.parametrize(('free', 'said'), [(72788824, False), (2621440, True)])
    def test_a_nearly_full_disk_is_said_before_the_large_download(self, make, machine, free, said):
        disk = machine / 'df'
        table = f'Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 264212084 33602088 {free} 32% /'
        disk.write_text(f'#!/bin/sh\necho "{table}"\n')
        disk.chmod(0o755)
        done, _ = make(TMPDIR='/tmp')
        assert done.returncode == 0, done.stderr
        assert ('-- .venv has 2621 MB free' in done.stdout) is said
        assert ('-- /tmp has 2621 MB free' in done.stdout) is said

    def test_an_interrupted_update_is_not_taken_for_a_finished_one(self, make, tree):
        make()
        later = (tree / '.venv' / '.installed').stat().st_mtime + 10
        os.utime(tree / 'pyproject.toml', (later, later))
        make(FAKE_FAIL='basicsr')
        _, calls = make()
        assert calls[0] == 'venv --clear'

    def test_opencv_is_checked_before_the_large_download(self, make, machine):
        add_python(machine, 'python3', '3.11', opencv=NO_LIBGL)
        done, calls = make()
        assert done.returncode != 0
        assert 'libGL.so.1' in done.stderr
        assert not any('torch' in call for call in calls)
