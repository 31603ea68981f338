"""Hostile inputs of every kind, each met by a command in a child process: one sentence, or it works, and nothing else.

What is judged is in fault.py. Here run some of each kind; tools/checks/faults.py runs all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import healthy
import pytest
from fault import EITHER, REFUSED, TRAIN, WORKS, Fault, change, nothing, try_fault, write
from helpers.children import NOT_ENDED, Children, Setting
from kinds import KINDS, Idle, of_kind

MOST = 8
"""Inputs of a kind: together they take a minute."""


@pytest.fixture(scope='module')
def attempt(tmp_path_factory) -> Iterator:
    """A function that runs a fault and says what is wrong with what came of it."""
    folder, place = tmp_path_factory.mktemp('healthy'), tmp_path_factory.mktemp('faults')
    healthy.make(folder)
    numbers = itertools.count()
    with Children() as children:
        idle = Idle(children, folder, place)
        yield lambda fault: try_fault(fault, children, folder, place / str(next(numbers)), idle.of(fault))


@pytest.mark.slow(20)
@pytest.mark.parametrize('kind', KINDS)
def test_inputs_of_a_kind_end_in_a_sentence_or_work(attempt, kind):
    wrong = {str(fault): message for fault in of_kind(kind, MOST) if (message := attempt(fault)) is not None}
    assert not wrong, '\n'.join(f'{name}: {message}' for name, message in wrong.items())


def test_there_are_many_kinds_and_inputs():
    assert len(KINDS) >= 30 and sum(len(of_kind(kind)) for kind in KINDS) >= 600


# ------------------------------------------------------------------------------------- the judge itself finds failures


@pytest.mark.parametrize(
    ('fault', 'said'),
    [
        (Fault('x', 'a sound file', TRAIN, nothing, REFUSED), 'code 0, but right is: refused'),
        (Fault('x', 'an unknown key', TRAIN, change('train.yml', 'network_g:a', 1), WORKS), 'code 2, but right is: wo'),
        (Fault('x', 'another word', TRAIN, change('train.yml', 'network_g:a', 1), says='zebra'), "not say 'zebra'"),
        (Fault('x', 'code', TRAIN, write('hacked', 'x'), EITHER), 'code of the input was run'),
        (Fault('x', 'files', TRAIN, nothing, EITHER, after=lambda: 'the frames are gone'), 'the frames are gone'),
        (
            Fault('x', 'time', TRAIN, nothing, EITHER, setting=Setting(kill_after=0.01)),
            'it did not end',
        ),
    ],
)
def test_what_is_wrong_is_found(attempt, fault, said):
    assert said in (attempt(fault) or '')


def test_a_child_that_takes_too_long_is_ended(tmp_path):
    with Children() as children:
        outcome = children.run(['components'], tmp_path, seconds=0.01)
    assert outcome.code == NOT_ENDED and outcome.seconds < 5
