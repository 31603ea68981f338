"""The benchmark of the store runs and compares like with like."""

from __future__ import annotations

import re

import benchmark_store as tool
import numpy as np


def test_it_prints_a_ratio_a_case(capsys):
    assert tool.main(['--size', '320x192', '--gt-size', '128', '--samples', '2']) == 0
    printed = capsys.readouterr().out
    assert re.search(r'photographs, 320x192: \d+ masks a frame, crop 128', printed)
    assert len(re.findall(r'ms +\d\.\d{3}  (reached|MISSED)', printed)) == len(tool.CASES) == 3


def test_both_data_sets_give_the_same_sample(clips, tmp_path):
    import random

    tool.prepare(clips / 'gt', tmp_path)
    case = tool.Case('tiny', 3, False)
    items = []
    for masks in (False, True):
        random.seed(5)
        items.append(tool.data_set(tmp_path, case, 64, masks)[4])
    assert np.array_equal(items[0]['lq'], items[1]['lq'])
    assert np.array_equal(items[0]['gt'], items[1]['gt'])
    assert 'masks' not in items[0]
    assert items[1]['masks'].any()
