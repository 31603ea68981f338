"""tools/checks/faults.py: its table, its page, and that it runs."""

from __future__ import annotations

import subprocess
import sys

import faults
import pytest
from helpers.project import ROOT, environment


def test_the_table_counts_inputs_kills_and_attempts():
    inputs = [faults.Found('a', 'x', ''), faults.Found('a', 'y', 'wrong'), faults.Found(faults.ATTEMPTS, 'z', '')]
    text = faults.table(inputs, [faults.Found('train', 'killed', '')])
    assert '| a | 2 | 1 |' in text and '| **all inputs** | **3** | **2** |' in text and '| train | 1 | 1 |' in text
    assert f'{faults.ATTEMPTS.capitalize()}: 1 tried, 0 succeeded.' in text


def test_the_table_goes_between_its_marks_and_nowhere_else(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{faults.BEGIN}\nold\n{faults.END}\nafter\n')
    faults.put_table(page, '| new |')
    assert page.read_text() == f'before\n{faults.BEGIN}\n\n| new |\n\n{faults.END}\nafter\n'
    page.write_text('no marks')
    with pytest.raises(ValueError, match='no place for the table'):
        faults.put_table(page, '')


def test_the_page_shows_a_run_in_which_everything_passed():
    text = (ROOT / 'docs' / 'reliability.md').read_text()
    rows = [line.strip('|').split('|') for line in text.splitlines() if line.startswith('|') and line[2:3].islower()]
    counts = {row[0].strip(): [int(cell) for cell in row[1:]] for row in rows if row[1].strip().isdigit()}
    assert {*faults.KINDS, *(one.name for one in faults.COMMANDS)} <= counts.keys()
    assert all(tried == passed for tried, passed in counts.values())
    assert sum(counts[kind][0] for kind in faults.KINDS) >= 600


@pytest.mark.slow(25)
def test_it_runs(tmp_path):
    command = [sys.executable, 'tools/checks/faults.py', '--kinds', 'files of a run', '--most', '2', '--kills', '1']
    found = subprocess.run(
        [*command, '--jobs', '1', '--json', str(tmp_path / 'a.json')],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert '| files of a run | 2 | 2 |' in found.stdout and '| train | 1 | 1 |' in found.stdout
