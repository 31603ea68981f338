"""What two processes do and decide together: to freeze and thaw, to stop, to refuse, to fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import rank_scenarios as scenarios
from helpers.project import environment, group_of_two

from basicsr_semantic.engine.checkpoint import load_file


def make_clips(folder: Path) -> None:
    """Three clips of 7 frames, GT (3, 160, 160)."""
    generator = np.random.default_rng(0)
    for clip in ('000', '001', '002'):
        texture = cv2.resize(generator.integers(0, 255, (20, 20, 3), np.uint8), (200, 200))
        (folder / 'gt' / clip).mkdir(parents=True)
        for i in range(7):
            assert cv2.imwrite(str(folder / f'gt/{clip}/{i:08d}.png'), texture[i : i + 160, 2 * i : 2 * i + 160])


@pytest.mark.slow(100)
def test_two_processes_do_and_decide_together(tmp_path, monkeypatch):
    make_clips(tmp_path)
    command = [sys.executable, '-m', scenarios.__name__, str(tmp_path)]
    # not under torchrun, which ends all processes when one ends
    processes = [
        subprocess.Popen(command, env=environment() | rank, stderr=subprocess.PIPE, text=True)
        for rank in group_of_two()
    ]
    for process in processes:
        _, messages = process.communicate(timeout=600)
        assert process.returncode == 0, messages[-3000:]
    first, second = (json.loads((tmp_path / f'seen.{rank}.json').read_text()) for rank in range(2))

    # parts that are frozen at first train in several processes, and a resumed run is the uninterrupted one
    for what in scenarios.STAGED:
        same = [f'identical from {saved}' for saved in (1, 3)]
        assert first['staged'][what] == ['done', 'done', same[0], 'done', same[1]], what
        assert second['staged'][what] == ['done'] * 3, what
    # with half of the batch in each they end where one process with all of it ends
    monkeypatch.chdir(tmp_path)
    for what, (model, network, keys) in scenarios.STAGED.items():
        opt = scenarios.options(f'one, {what}', model, network, **keys)
        opt['datasets']['train']['batch_size_per_gpu'] = 2
        assert scenarios.run(opt, tmp_path, 'none') == 'done'
        two, one = (load_file(tmp_path / f'experiments/{name}/models/net_g_4.pth') for name in (what, opt['name']))
        start = load_file(tmp_path / f'experiments/{what}/models/net_g_1.pth')['params']
        for key, value in two['params'].items():
            # Adam makes a step of a gradient that is almost zero out of its rounding
            difference = (value - one['params'][key]).abs().float()
            assert difference.max() < 1e-4 and (difference > 2e-5).float().mean() < 0.01, key
        moved = {key for key, value in two['params'].items() if not torch.equal(value, start[key])}
        assert any('spynet' in key or 'feature_extraction' in key for key in moved), 'what was frozen never trained'

    # a loss that is no number in one process stops both before the step
    for model, name in (('SemanticVSRModel', 'l_pix'), ('VideoRecurrentModel', 'NaNInProcess1')):
        messages = {seen['nan_loss'][model] for seen in (first, second)}
        assert len(messages) == 1 and messages.pop().startswith(
            f'UserError: {name} of process 1 is nan at iteration 2;'
        )
        models = tmp_path / f'experiments/nan {model}/models'
        assert [path.name for path in models.iterdir()] == ['net_g_1.pth']
        assert all(torch.isfinite(value).all() for value in load_file(models / 'net_g_1.pth')['params'].values())

    # a signal to one process stops both after the same iteration, with one state
    assert {seen['stop']['end'] for seen in (first, second)} == {'KeyboardInterrupt: '}
    assert sorted(p.name for p in (tmp_path / 'experiments/stop/training_states').iterdir()) == ['1.state', '2.state']

    # what fails in one process ends both, each with a sentence
    frame = 'Frame 00000003 of clip 001 cannot be read.'
    assert second['broken_frame']['end'] == f'UserError: {frame}'
    assert first['broken_frame']['end'] == f'UserError: Process 1 of 2 failed: {frame}'
    for where in ('training', 'test'):
        assert 'This metric failed.' in second['failing_validation'][where]
        assert first['failing_validation'][where].startswith('UserError: Process 1 of 2 failed: Frame 00000000 of clip')
    assert (tmp_path / 'experiments/validation/training_states/2.state').is_file()
