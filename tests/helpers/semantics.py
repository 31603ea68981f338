"""Extractors of Semantic Lens with a few ten thousand parameters, in files as stage 1 writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from basicsr_semantic.archs.layers.instance_transformer import InstanceTransformer
from basicsr_semantic.extractors.xdecoder import XDecoder

TOKENS, WIDTH = 6, 16


def tiny_xdecoder(seed: int = 0, width: int = WIDTH, tokens: int = TOKENS) -> XDecoder:
    """An X-Decoder of random weights."""
    torch.manual_seed(seed)
    network = XDecoder(
        embed_dim=8,
        depths=(1, 1, 1, 1),
        focal_levels=(1, 1, 1, 1),
        layer_scale=0.5,
        hidden_dim=width,
        mask_dim=width,
        num_queries=tokens + 1,
        nheads=2,
        dim_feedforward=2 * width,
        enc_layers=1,
        dec_layers=3,
        norm_groups=4,
    )
    return network.eval()


def tiny_instances(seed: int = 1, width: int = WIDTH, tokens: int = TOKENS, queries: int = 5) -> InstanceTransformer:
    """An instance network of random weights that is sure of its classes and whose masks differ."""
    torch.manual_seed(seed)
    network = InstanceTransformer(
        hidden_dim=width,
        num_heads=2,
        feedforward_dim=2 * width,
        encoder_layers=2,
        decoder_layers=2,
        num_queries=queries,
        num_frame_queries=tokens,
        num_classes=3,
        mask_dim=width,
        feature_dim=width,
    )
    with torch.no_grad():
        network.class_embed.weight *= 2
        network.mask_embed.layers[-1].weight *= 20  # pyright: ignore[reportOperatorIssue]
    return network.eval()


def save_network(network: nn.Module, path: Path) -> str:
    """Write a checkpoint of ours; gives its path as text, as options have it."""
    torch.save({'params': network.state_dict(), 'network': network.config}, path)
    return str(path)


def checkpoints(folder: Path) -> dict[str, str]:
    """Both files, by the names of the extractor's arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        'checkpoint': save_network(tiny_xdecoder(), folder / 'net_f.pth'),
        'instance_checkpoint': save_network(tiny_instances(), folder / 'net_g.pth'),
    }


def small_xdecoder(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The extractor of these files with all that it can give."""
    sizes = {'short_side': 32, 'max_instances': 4, 'score_threshold': 0.0, 'pixel_features': True}
    return {**checkpoints(folder), **sizes}


def small_stored_tokens(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Instances of tokens of any size."""
    return {'instance_source': 'mean_over_time'}
