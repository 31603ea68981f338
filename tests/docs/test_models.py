"""docs/models.md: every model that can be named, and figures that are those of the files of results."""

from __future__ import annotations

import json
import re

import released
from helpers.project import ROOT

from basicsr_semantic.config.named_weights import NAMED
from basicsr_semantic.utils.files import file_sha256

PAGE = (ROOT / 'docs/models.md').read_text(encoding='utf-8')
LITE = json.loads((ROOT / 'docs/results/lite.json').read_text(encoding='utf-8'))


def test_every_name_has_a_row_and_a_card():
    rows = dict(re.findall(r'^\| `([\w-]+)` \|(.*)\|$', PAGE, re.MULTILINE))
    assert rows.keys() == NAMED.keys()
    for name, row in rows.items():
        cells = [cell.strip() for cell in row.split('|')]
        assert cells[2] == f'{NAMED[name].size / 1e6:.1f} MB' and cells[3] == NAMED[name].licence
        assert re.search(rf'^## .*`{name}`', PAGE, re.MULTILINE), name


def test_the_figures_of_lite_are_those_of_its_file():
    for name, lite in LITE['lite'].items():
        bicubic = LITE['bicubic'][name]
        gain = lite['psnr_y'] - bicubic['psnr_y']
        figures = ' / '.join(f'{bicubic[metric]:.{k}f}' for metric, k in (('psnr_y', 3), ('ssim_y', 4)))
        restored = ' / '.join(f'{lite[metric]:.{k}f}' for metric, k in (('psnr_y', 3), ('ssim_y', 4)))
        assert f'| {name} | {figures} | {restored} | {gain:+.3f} |' in PAGE
        assert gain >= 1.0, 'the least that it has to be worth'
    assert {'calendar', 'car-shadow', 'goat', 'parkour'} == LITE['lite'].keys()
    assert f'{LITE["iterations"]:,} iterations' in PAGE
    assert LITE['sha256'] == NAMED['lite'].sha256 == file_sha256(NAMED['lite'].find())


def test_the_figures_of_the_adapter_are_those_of_its_file():
    name, arm = released.BASES['released'].adapter
    rows = released.read(released.BASES['released'].results)
    adapter = rows['adapter']
    assert (adapter['arm'], adapter['sha256']) == (arm, NAMED[name].sha256)
    assert NAMED[name].base == released.BASES['released'].weights
    base = next(row for row in rows['rows'] if row['arm'] == 'released')
    for sets in ('val', 'calendar'):
        for clip in base[sets]:
            kinds = (adapter[f'{sets}{end}'][clip] for end in ('_neutral', '', '_swapped'))
            cells = [f'{one["psnr_y"]:.3f} / {one["ssim_y"]:.4f}' for one in (base[sets][clip], *kinds)]
            assert f'| {clip} | {" | ".join(cells)} |' in PAGE
    tried = {row['arm']: released.average(row['clips']) for row in rows['choice']}
    assert tried.keys() == set(released.CHOICE) and max(tried, key=tried.__getitem__) == arm


def test_published_figures_are_those_of_their_page():
    published = (ROOT / 'docs/results/published.md').read_text(encoding='utf-8')
    for figures in ('27.237', '0.8249', '23.866', '0.8093'):
        assert figures in PAGE and figures in published
