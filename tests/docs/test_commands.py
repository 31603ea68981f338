"""Every command of the pages that people start from is one: it parses, and without data it fails for that alone.

The page of the first hour is not among them: `test_first_hour` does all that it says.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers.project import ROOT, basicsr
from helpers.terminal import indented_blocks, sh_blocks, type_in

from basicsr_semantic.cli import build_parser

PAGES = (
    'README.md',
    'docs/seem.md',
    'docs/semantic_lens.md',
    'docs/seeclear.md',
    'docs/python.md',
    'docs/upscaling.md',
    'docs/models.md',
    'docs/memory.md',
    'docs/results/seem.md',
    'docs/results/semantic_lens.md',
    'docs/results/seeclear.md',
    'datasets/README.md',
)
INSTALLATION = ('sudo apt install ', 'sudo apt-get install ', 'pip install ', 'python3 -m venv ', 'git clone ')
"""Commands that begin so are for an empty machine, and are not run."""
TOOLS = ('cat', 'cp', 'grep', 'head', 'ls', 'mkdir', 'mv', 'tail', 'unzip')
"""Programs of every system; what the pages do with them is not tried here."""
OURS = ('basicsr', 'make', 'python', 'torchrun')
ENVIRONMENT = '.venv/bin/activate'
PLACEHOLDERS = {
    'F.yml': 'options/seem/test_BasicVSRSEEM_mine.yml',
    'FILE': 'options/seem/train_BasicVSRSEEM_REDS.yml',
    '...': None,
    'NAME': 'regions',
}
"""What a page has in the place of an argument -> an argument; None for more of the same."""
NOTHING_THERE = re.compile(r'(does not exist|cannot be read: No such file|[Tt]here (is|are) no)\b')
LAYOUT = re.compile(r'[\w.]+[/:]\S*')
"""How a line of an indented block begins that shows files or a part of an option file, not a command."""


def scripts(page: str) -> list[str]:
    """All that a page lets people type, block by block."""
    text = (ROOT / page).read_text(encoding='utf-8')
    if page != 'datasets/README.md':
        return sh_blocks(text)
    found = [one for one in indented_blocks(text) if not all(LAYOUT.match(line) for line in _unfolded(one))]
    # options in brackets, of which one may choose: take the first of each
    return sh_blocks(text) + [re.sub(r'\[([^]|]*)(?:\|[^]]*)?\]', r'\1', one) for one in found]


def _unfolded(block: str) -> list[str]:
    """Lines, those that a space begins left out: they go on with the one before."""
    return [line for line in block.splitlines() if not line.startswith(' ')]


def commands(script: str, folder: Path) -> list[list[str]]:
    """What a shell makes of a script: all commands with their arguments, in their order.

    Fails where a command is none of those named above.
    """
    for target in re.findall(r'>\s*([\w./-]+/)[\w.-]+', script):
        (folder / target).mkdir(parents=True, exist_ok=True)
    (folder / ENVIRONMENT).parent.mkdir(parents=True, exist_ok=True)
    (folder / ENVIRONMENT).touch()
    found: list[list[str]] = []

    def program(name: str):
        def note(arguments: list[str]) -> subprocess.CompletedProcess[str]:
            found.append([name, *arguments])
            return subprocess.CompletedProcess(name, 0, '', '')

        return note

    known = {*OURS, *TOOLS, *(line.split()[0] for line in INSTALLATION)}
    done = type_in(script, folder, {name: program(name) for name in known})
    assert done.returncode == 0, f'{script}\n{done.stderr}'
    return found


def tries(command: list[str], folder: Path) -> None:
    """Run a command, or as much of it as can be run without data; fails where it is not right."""
    command = [PLACEHOLDERS.get(one, one) for one in command]
    name, *arguments = [one for one in command if one is not None]
    if f'{shlex.join(command[:3])} '.startswith(INSTALLATION) or name in TOOLS:
        return
    if name == 'make':
        done = subprocess.run(['make', '-n', *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif '-m' in arguments and arguments[arguments.index('-m') + 1] == 'basicsr_semantic':
        tries_ours(arguments[arguments.index('-m') + 2 :], folder)
    elif name == 'basicsr':
        tries_ours(arguments, folder)
    else:
        assert name == 'python' and arguments[0].endswith('.py'), f'{shlex.join(command)} is not known here'
        tries_script(arguments)


def tries_ours(arguments: list[str], folder: Path) -> None:
    """A command of ours: it may fail because of files that are not there, as it says."""
    if arguments[0] in ('train', 'test', 'check'):
        files = _values(arguments, '-opt')
        changes = ['--force_yml', *_values(arguments, '--force_yml')] if '--force_yml' in arguments else []
        checked = basicsr('check', '--ignore-missing-files', '-opt', *files, *changes, cwd=folder)
        assert checked.returncode == 0 and ': OK. ' in checked.stdout, checked.stdout + checked.stderr
        if arguments[0] != 'check':
            assert (': OK. Training: ' in checked.stdout) == (arguments[0] == 'train'), checked.stdout
    if '--launcher' in arguments:  # which waits for other processes
        assert build_parser().parse_args(arguments).launcher in ('pytorch', 'slurm')
        return
    done = basicsr(*arguments, cwd=folder)
    output = done.stdout + done.stderr
    assert 'usage: basicsr' not in done.stderr and 'Traceback' not in output, output
    if done.returncode != 0:
        assert done.returncode in (1, 2) and NOTHING_THERE.search(output), output
        named = [one for one in arguments if not Path(folder, one).exists() and repr(one)[1:-1] in output]
        assert named or arguments[0] in ('train', 'test', 'check'), output


def _values(arguments: list[str], flag: str) -> list[str]:
    """What follows a flag, up to the next one."""
    if flag not in arguments:
        return []
    after = arguments[arguments.index(flag) + 1 :]
    return after[: next((i for i, one in enumerate(after) if one.startswith('-')), len(after))]


def tries_script(arguments: list[str]) -> None:
    """A script of the repository: it is there, and has all the flags."""
    file = ROOT / arguments[0]
    assert file.is_file(), file
    method = [one for one in arguments[1:2] if not one.startswith('-')]  # of drivers that have flags for each
    done = basicsr(file, *method, '--help', cwd=file.parent)  # a script, since its name ends in .py
    assert done.returncode == 0, done.stderr
    _has_flags(done.stdout, arguments)


def _has_flags(help_text: str, arguments: list[str]) -> None:
    for flag in (one.partition('=')[0] for one in arguments if re.match(r'--?[a-z]', one)):
        assert re.search(rf'(?<![\w-]){flag}(?![\w-])', help_text), f'{shlex.join(arguments)}: there is no {flag}'


def spans(page: str) -> list[str]:
    """Commands of ours within sentences, some of them without all they need to run."""
    text = re.sub(r'^```.*?^```', '', (ROOT / page).read_text(encoding='utf-8'), flags=re.MULTILINE | re.DOTALL)
    return [' '.join(one.split()) for one in re.findall(rf'`((?:{"|".join(OURS)})\s[^`]+)`', text)]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkout without data."""
    (tmp_path / 'options').symlink_to(ROOT / 'options')
    return tmp_path


def _cases(of) -> list:
    return [pytest.param(one, id=f'{page}-{i}') for page in PAGES for i, one in enumerate(of(page))]


def test_pages_have_commands():
    assert all(scripts(page) for page in PAGES)
    assert len(_cases(scripts)) > 20 and len(_cases(spans)) > 5


@pytest.mark.slow(5)
@pytest.mark.parametrize('script', _cases(scripts))
def test_each_command_of_a_block_is_right(script, folder):
    for command in commands(script, folder):
        tries(command, folder)


@pytest.mark.parametrize('span', _cases(spans))
def test_each_command_in_a_sentence_is_right(span, folder):
    name, *arguments = shlex.split(span)
    if name == 'make':
        tries([name, *arguments], folder)
        return
    if name != 'basicsr':
        assert arguments[0].endswith('.py') or '-m' in arguments, span
        if arguments[0].endswith('.py'):
            tries_script(arguments)
            return
        arguments = arguments[arguments.index('-m') + 2 :]
    verbs = [one for one in arguments[: 2 if arguments[0] in ('prepare', 'adapter') else 1] if one.isalpha()]
    extractor = [
        part for one in _values(arguments, '--extractor') for part in ('--extractor', PLACEHOLDERS.get(one, one))
    ]
    done = basicsr(*verbs, *extractor, '--help', cwd=folder)
    assert done.returncode == 0, done.stderr
    _has_flags(done.stdout, arguments)


@pytest.mark.parametrize(
    ('script', 'said'),
    [
        ('basicsr-train -opt options/semlens_ytvis.yml', 'not found'),
        ('basicsr trian -opt options/semlens_ytvis.yml', 'usage: basicsr'),
        ('basicsr check -opt options/semlens_ytvis.yml --no-such-flag', 'usage: basicsr'),
        ('basicsr check -opt options/no_such_file.yml', 'no_such_file'),
        ('basicsr train -opt options/seem/test_BasicVSRSEEM_mine.yml', 'OK. Test'),
        ('basicsr check -opt options/semlens_ytvis.yml --force_yml network_g:embed_dmi=4', 'embed_dmi'),
        ('basicsr extract --extractor regions --no-such-flag 3 --frames a --out b', 'no-such-flag'),
        ('make no-such-target', 'no-such-target'),
        ('python tools/no_such_script.py', 'no_such_script'),
        ('python tools/demo/demo.py --no-such-flag', 'no-such-flag'),
        ('python -m no_such_module', 'no_such_module'),
    ],
)
def test_a_wrong_command_is_found(script, said, folder):
    with pytest.raises(AssertionError, match=said):
        for command in commands(script, folder):
            tries(command, folder)
