"""What docs/metrics.md says about options, files and addresses is what the code has."""

from __future__ import annotations

import re

from helpers.options import problems_of
from helpers.project import ROOT

from basicsr_semantic.config.components import better_of, components
from basicsr_semantic.config.option_file import load_yaml
from basicsr_semantic.engine.evaluator import wants
from basicsr_semantic.metrics import clip_iqa, perceptual

TEXT = (ROOT / 'docs/metrics.md').read_text(encoding='utf-8')


def test_the_example_is_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r'```yaml\n(.*?)```', TEXT, re.DOTALL)
    head = 'name: x\nmodel_type: SRModel\ndatasets: {test: {name: x, type: SingleImageDataset, dataroot_lq: .,'
    head += ' io_backend: {type: disk}}}\nnetwork_g: {type: RCAN, num_in_ch: 3, num_out_ch: 3}\n'
    (tmp_path / 'a.yml').write_text(head + example)
    problems = problems_of(load_yaml(tmp_path / 'a.yml'), False)
    assert [problem.key for problem in problems] == ['val:metrics:warp_spynet:flow:load_path']
    assert problems[0].missing_file


def test_files_and_addresses():
    officials = [perceptual._backbone(net) for net in ('vgg', 'alex', 'squeeze')]
    for official in (*officials, perceptual._DISTS_WEIGHTS, clip_iqa._RN50):
        row = next(line for line in TEXT.splitlines() if line.endswith(f'| {official.url} |'))
        assert f'`{official.file}`' in row and f'`{official.option}`' in row


def test_the_table_of_metrics():
    rows = [line.split('|') for line in TEXT.splitlines() if line.startswith('| `calculate_')]
    listed = {name: (row[2].strip(), row[3].strip()) for row in rows for name in re.findall(r'`(\w+)`', row[1])}
    found = components('metric')
    assert {name for name in listed if name in found} == set(listed)
    registered = {name for name, one in found.items() if one.target.__module__.startswith('basicsr')}
    assert set(listed) == {name for name in registered if not name.endswith('_pt')}  # those take tensors
    for name, (better, gt) in listed.items():
        assert better_of(found[name]) == better
        assert wants({'type': name}).gt == (gt == 'yes')
