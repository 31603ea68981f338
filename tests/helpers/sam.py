"""Segment Anything made tiny: the package's own architecture at sizes that a test can run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import segment_anything
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from basicsr_semantic.extractors import sam

KEEP_ALL = {'pred_iou_thresh': 0.0, 'stability_score_thresh': 0.0, 'box_nms_thresh': 1.0}


def tiny_sam() -> Sam:
    """Segment Anything with 64x64 inputs and one block; all else as in the package."""
    encoder = ImageEncoderViT(
        img_size=64, patch_size=16, embed_dim=24, depth=1, num_heads=2, out_chans=16, use_rel_pos=True, window_size=2
    )
    prompts = PromptEncoder(embed_dim=16, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=4)
    transformer = TwoWayTransformer(depth=1, embedding_dim=16, mlp_dim=16, num_heads=2)
    decoder = MaskDecoder(transformer_dim=16, transformer=transformer, iou_head_hidden_dim=16)
    return Sam(encoder, prompts, decoder).eval()


def tiny_checkpoint(folder: Path, patch: pytest.MonkeyPatch) -> str:
    """A checkpoint of the tiny network, known as model type ``tiny``."""
    torch.manual_seed(0)
    path = folder / 'tiny.pth'
    torch.save(tiny_sam().state_dict(), path)
    patch.setitem(sam.MODEL_SIZES, 'tiny', (24, 1))
    patch.setitem(segment_anything.sam_model_registry, 'tiny', tiny_sam)
    return str(path)


def small_sam(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Few points, and thresholds that masks of random weights pass."""
    checkpoint = tiny_checkpoint(folder, patch)
    return {'checkpoint': checkpoint, 'model_type': 'tiny', 'points_per_side': 3, 'max_masks': 8, **KEEP_ALL}
