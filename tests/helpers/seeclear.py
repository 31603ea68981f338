"""A tiny SeeClear and what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.clips import data_sets
from helpers.project import training_options

from basicsr_semantic.archs import SeeClear
from basicsr_semantic.priors import PriorStore, PriorStoreWriter, SemanticPriors, store_metadata

TINY: dict[str, Any] = {
    'dim': 24, 'head_dim': 12, 'window': 4, 'clip_length': 3, 'hidden_dim': 16, 'token_dim': 16, 'feature_dim': 8,
    'num_tokens': 5, 'num_queries': 6, 'instance_heads': 2, 'feedforward_dim': 32, 'encoder_layers': 1,
    'decoder_layers': 1, 'groups': 2,
}  # fmt: skip


def build(**changes) -> SeeClear:
    torch.manual_seed(0)
    return SeeClear(**(TINY | changes))


def awake(net: SeeClear) -> SeeClear:
    """The same with numbers in the layers that start at zero."""
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return net


def priors(batch: int = 1, frames: int = 3, tokens: int = 5, cells: tuple[int, int] = (4, 6)) -> SemanticPriors:
    generator = torch.Generator().manual_seed(5)
    return SemanticPriors(
        frame_tokens=torch.randn(batch, frames, tokens, 16, generator=generator),
        pixel_features=torch.randn(batch, frames, 8, *cells, generator=generator),
    )


def small_see_clear_model(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The first stage, with tokens and pixel features of a store."""
    frame = (18, 22)
    sections = data_sets(folder, *frame, gt_size=32)
    sizes = {'num': TINY['num_tokens'], 'dim': TINY['token_dim'], 'global_dim': 0}
    for name, section in sections.items():
        reader = PriorStore(section.pop('dataroot_priors'))
        features = {'dim': TINY['feature_dim'], 'cell': 4}
        meta = store_metadata('openseed', order='id', max_masks=0, tokens=sizes, features=features)
        with PriorStoreWriter(folder / f'{name}_tokens', meta) as store:
            for number, key in enumerate(reader.keys()):
                generator = np.random.default_rng(number)
                cells = (-(-side // 4) for side in frame)
                store.put_features(key, generator.standard_normal((features['dim'], *cells)).astype(np.float32))
                tokens = generator.standard_normal((sizes['num'], sizes['dim'])).astype(np.float32)
                store.put_tokens(key, tokens, np.zeros(0, np.float32))
                store.put(key, np.zeros((0, *frame), bool))
        section |= {'dataroot_priors': str(folder / f'{name}_tokens'), 'prior_kind': 'openseed', 'with_features': True}
        del section['num_masks']
    return training_options(
        folder,
        model_type='SeeClearModel',
        datasets=sections,
        network_g={'type': 'SeeClear', **TINY},
        diffusion={'steps': 3},
        train={'stage': 'condenser'},
        val={'sample_steps': 2, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
    )
