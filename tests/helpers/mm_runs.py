"""Runs of MMEngine in the test's own process, from option files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from helpers.project import write_options
from torch import nn

from basicsr_semantic.cli import main

LOADER = ['train_dataloader.num_workers=0']


def configuration(opt: dict[str, Any], folder: Path) -> Path:
    """What `basicsr mm-config` makes of these options."""
    file = write_options(opt, folder / f'{opt["name"]}.yml')
    out = folder / f'{opt["name"]}.py'
    assert main(['mm-config', str(file), '-o', str(out), '--force']) == 0
    return out


def train(config: Path, work_dir: Path, *flags: str, changes: tuple[str, ...] = ()) -> None:
    """Train as `python -m basicsr_semantic.mm.train` does."""
    from basicsr_semantic.mm.train import main as train_main

    assert train_main([str(config), '--work-dir', str(work_dir), *flags, '--cfg-options', *LOADER, *changes]) == 0


def weights(work_dir: Path, iteration: int) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, read without running code, by their names in the network."""
    state = torch.load(work_dir / f'iter_{iteration}.pth', weights_only=True)['state_dict']
    return {name.removeprefix('generator.'): value for name, value in state.items()}


def scalars(work_dir: Path) -> list[dict[str, Any]]:
    """What the last run in a folder logged, line by line."""
    file = max(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in file.read_text().splitlines()]


def start(net: nn.Module, file: Path) -> str:
    """Save the weights that both toolboxes start from."""
    torch.save({'params': net.state_dict()}, file)
    return str(file)
