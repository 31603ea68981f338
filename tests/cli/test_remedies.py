"""The command that mends an error: one table in `cli`, and no command in a message of any other room."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest
from torch.utils.data import DataLoader, Dataset

import basicsr_semantic
from basicsr_semantic import cli
from basicsr_semantic.cli import remedies
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.config.problems import OptionError, problem_of
from basicsr_semantic.utils.errors import MissingError, UserError, What

PACKAGE = Path(basicsr_semantic.__file__).parent
OUTSIDE = [path for path in PACKAGE.rglob('*.py') if path.relative_to(PACKAGE).parts[0] != 'cli']
COMMAND = re.compile(r'basicsr(_semantic)? (extract|prepare|adapter|components|check|train|test)\b')
MISSING = MissingError('The store x is gone.', 'priors', kind='regions', store=Path('x'))
REMEDY = 'Extract the priors with: basicsr extract --extractor regions --frames LR_FRAMES --out x'


def said_by_the_command(monkeypatch, capsys, error: Exception) -> str:
    def fail(args):
        raise error

    monkeypatch.setattr(cli.components, 'run', fail)
    assert cli.main(['components']) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize('what', get_args(What))
def test_every_kind_has_a_command_which_the_command_line_says(monkeypatch, capsys, what):
    names = [name for _, name, _, _ in Formatter().parse(remedies._REMEDIES[what]) if name]
    assert set(names) <= remedies._NOT_KNOWN.keys()
    unknown = said_by_the_command(monkeypatch, capsys, MissingError('X is gone', what))
    assert unknown.startswith('basicsr: X is gone. ') and COMMAND.search(unknown) and not re.search('[{}]', unknown)
    values = {name: f'the_{name}' for name in names}
    message = said_by_the_command(monkeypatch, capsys, MissingError('X is gone.', what, **values))
    assert 'X is gone. ' in message and all(value in message for value in values.values())


def test_the_table_has_no_entry_for_nothing():
    assert remedies._REMEDIES.keys() == set(get_args(What))


def literals(path: Path) -> list[tuple[int, str]]:
    """Line and text of the strings in a file but its docstrings, among them those that describe an attribute."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    docs = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    found = (one for one in ast.walk(tree) if isinstance(one, ast.Constant) and id(one) not in docs)
    return [(one.lineno, one.value) for one in found if isinstance(one.value, str)]


@pytest.mark.parametrize('path', OUTSIDE, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_other_room_knows_a_command(path):
    assert not [(line, text) for line, text in literals(path) if COMMAND.search(text)]


def test_each_kind_is_in_use():
    messages = {text for path in OUTSIDE if path.parent.name != 'utils' for _, text in literals(path)}
    assert set(get_args(What)) <= messages


def test_an_error_says_what_is_missing_as_data():
    assert str(MISSING) == 'The store x is gone.' and isinstance(MISSING, UserError)
    assert (MISSING.what, MISSING.values) == ('priors', {'kind': 'regions', 'store': 'x'})
    again = pickle.loads(pickle.dumps(MISSING))
    assert (str(again), again.what, again.values) == (str(MISSING), MISSING.what, MISSING.values)
    assert remedies.remedy_of(again) == REMEDY


def test_an_error_raised_from_another_has_its_command(monkeypatch, capsys):
    error = UserError(f'Process 1 of 2 failed: {MISSING}')
    error.__cause__ = MISSING
    assert remedies.remedy_of(error) == REMEDY
    assert said_by_the_command(monkeypatch, capsys, error) == f'basicsr: {error} {REMEDY}\n'
    assert remedies.remedy_of(UserError('Something else.')) == remedies.remedy_of(MissingError('Nothing.')) == ''


class Lacking(Dataset):
    """Its only item is missing."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        try:
            raise ValueError('no Error: this is')
        except ValueError as error:
            raise MissingError(f'The record is damaged ({error}).', 'priors', kind='regions', store='x') from error


def test_a_process_of_a_loader_hands_on_what_is_missing(monkeypatch, capsys):
    with pytest.raises(MissingError) as caught:
        next(iter(DataLoader(Lacking(), num_workers=1)))
    assert '\0' not in str(caught.value) and caught.value.values == MISSING.values
    message = said_by_the_command(monkeypatch, capsys, caught.value)
    assert message == f'basicsr: The record is damaged (no Error: this is). {REMEDY}\n'


def test_a_problem_of_an_option_file_keeps_its_command():
    file = OptionFile({'a': {'b': 1}}, 'a.yml')
    found = [problem_of(file, ('a', 'b'), MISSING, 'Or not.'), problem_of(file, ('a',), 'A sentence.', 'Do it.')]
    assert [str(one) for one in found] == [
        'a.yml: a:b: The store x is gone. Or not.',
        'a.yml: a: A sentence. Do it.',
    ]
    told = remedies.with_remedies(found, file)
    assert [one.suggestion for one in told] == [f'Or not. {REMEDY}', 'Do it.']
    assert REMEDY in cli._sentence(OptionError(found, file))
