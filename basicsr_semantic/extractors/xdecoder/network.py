"""X-Decoder's vision network: from frames to tokens, mask features and masks.

Zou et al., "Generalized Decoding for Pixel, Image, and Language" (CVPR 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ...utils.errors import UserError
from ...utils.recording import records_arguments
from ..layers.language import unit
from ..pretrained import CheckpointReport
from .focal import FocalNet
from .pixel_decoder import PixelDecoder
from .transformer_decoder import Predictor

#: name -> constructor arguments that differ from the defaults. Focal-T: 100.8 M parameters; Focal-L is the release
#: with 201 queries.
PRESETS: dict[str, dict[str, Any]] = {
    'focal_t': {},
    'focal_l': {
        'embed_dim': 192,
        'depths': (2, 2, 18, 2),
        'focal_levels': (4, 4, 4, 4),
        'num_queries': 201,
        'depthwise': False,
    },
}
#: The network divides height and width by this; images are padded to a multiple.
STRIDE = 32
_MEAN = (123.675, 116.28, 103.53)  # of RGB in 0-255
_STD = (58.395, 57.12, 57.375)


@dataclass
class FrameSemantics:
    """What X-Decoder says about n frames; K object queries, D - 1 decoder layers, height and width padded to 32."""

    tokens: torch.Tensor
    """(n, K, C) object tokens: the normalised queries of the last layer."""
    global_token: torch.Tensor
    """(n, C) the token of the whole frame, recomputed from the object tokens of the last layer."""
    layer_tokens: torch.Tensor
    """(L, n, K, C) object tokens of the last layers, at most three; the last are ``tokens``."""
    layer_class_embeds: torch.Tensor
    """(D, n, K + 1, P) class embeddings before any layer and after each; the last slot is the global one."""
    layer_mask_logits: torch.Tensor | None
    """(D, n, K, h / 4, w / 4) mask logits before any layer and after each, or None if not asked for."""
    mask_features: torch.Tensor
    """(n, mask_dim, h / 4, w / 4) pixel features that masks are read off."""
    mask_logits: torch.Tensor
    """(n, K, h / 4, w / 4) mask logits of the last layer."""


class XDecoderHead(nn.Module):
    """Pixel decoder and transformer decoder under their released names.

    Args:
        pixel_decoder: The pixel decoder.
        predictor: The transformer decoder.
    """

    def __init__(self, pixel_decoder: PixelDecoder, predictor: Predictor) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor


class XDecoder(nn.Module):
    """X-Decoder without its text branch, which does not enter tokens or masks. Defaults are those of Focal-T.

    Parameters and buffers have the released names. Every parameter takes part in the forward pass with
    ``all_layers=True``. What exists in released checkpoints alone is left out: the text encoder, captioning
    (``caping_embed``, ``pos_embed_caping``), retrieval (``backbone_proj``), the loss (``criterion``) and
    ``self_attn_mask``, which follows from the sizes. ``logit_scale`` is a buffer: it serves :meth:`class_scores` only.

    Args:
        embed_dim: Width of the backbone's first stage; it doubles from stage to stage.
        depths: Blocks of the backbone's four stages.
        focal_levels: Ranges of focal modulation in each stage.
        focal_windows: Kernel side of the first range in each stage; each further range is 2 wider.
        mlp_ratio: Width inside the backbone's MLPs over that outside.
        depthwise: Blocks with depthwise convolutions, as in the released Focal-T, or without, as in Focal-L.
        layer_scale: Start value of the backbone's residual scales. 1e-4 suits training after pre-training on images;
            from scratch a small network learns faster with more.
        drop_path: Highest rate of stochastic depth in training; X-Decoder was trained with 0.3.
        hidden_dim: Width C of tokens, a multiple of 4.
        mask_dim: Width of the mask features.
        projection_dim: Width P of class and text embeddings; None: ``hidden_dim``.
        num_queries: Object queries K plus the global one.
        nheads: Attention heads.
        dim_feedforward: Width inside the feed-forward parts of both decoders.
        enc_layers: Transformer layers of the pixel decoder.
        dec_layers: Layers of the transformer decoder.
        norm_groups: Groups of the pixel decoder's norms.

    Raises:
        UserError: Sizes that do not fit together.
    """

    config: dict[str, Any]

    @records_arguments
    def __init__(
        self,
        *,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        focal_levels: Sequence[int] = (3, 3, 3, 3),
        focal_windows: Sequence[int] = (3, 3, 3, 3),
        mlp_ratio: float = 4.0,
        depthwise: bool = True,
        layer_scale: float = 1e-4,
        drop_path: float = 0.0,
        hidden_dim: int = 512,
        mask_dim: int = 512,
        projection_dim: int | None = None,
        num_queries: int = 101,
        nheads: int = 8,
        dim_feedforward: int = 2048,
        enc_layers: int = 6,
        dec_layers: int = 9,
        norm_groups: int = 32,
    ) -> None:
        super().__init__()
        _check_sizes(depths, focal_levels, focal_windows, hidden_dim, num_queries, nheads, dec_layers, norm_groups)
        projection_dim = hidden_dim if projection_dim is None else projection_dim
        self.config['projection_dim'] = projection_dim  # never None: stage 1 and texts ask for the width
        #: Where the weights came from; None if they were not read from a file.
        self.report: CheckpointReport | None = None
        self.token_dim, self.num_tokens, self.mask_dim = hidden_dim, num_queries - 1, mask_dim
        self.backbone = FocalNet(
            embed_dim, depths, focal_levels, focal_windows, mlp_ratio, depthwise, layer_scale, drop_path
        )
        self.sem_seg_head = XDecoderHead(
            PixelDecoder(self.backbone.widths, hidden_dim, mask_dim, nheads, dim_feedforward, enc_layers, norm_groups),
            Predictor(hidden_dim, projection_dim, mask_dim, num_queries, nheads, dim_feedforward, dec_layers),
        )

    @property
    def logit_scale(self) -> torch.Tensor:
        """() logarithm of the scale of cosine similarities to texts."""
        return self.sem_seg_head.predictor.lang_encoder.logit_scale

    def forward(self, images: torch.Tensor, all_layers: bool = False) -> FrameSemantics:
        """Describe frames.

        Args:
            images: (n, 3, H, W) float RGB in [0, 1], any height and width; padded at the right and the bottom with the
                mean colour to a multiple of 32.
            all_layers: Whether to return the mask logits of every layer.

        Raises:
            UserError: The images have another form.
        """
        if images.dim() != 4 or images.size(1) != 3 or not images.is_floating_point() or 0 in images.shape:
            raise UserError(
                f'X-Decoder takes images (n, 3, H, W) of floating point, not {tuple(images.shape)} of {images.dtype}.'
            )
        height, width = images.shape[-2:]
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        images = F.pad((images * 255 - mean) / std, (0, -width % STRIDE, 0, -height % STRIDE))
        levels, mask_features = self.sem_seg_head.pixel_decoder(self.backbone(images))
        predictions = self.sem_seg_head.predictor(levels, mask_features)
        last = predictions[-1]
        return FrameSemantics(
            tokens=last.tokens[:, :-1],
            global_token=last.tokens[:, -1],
            layer_tokens=torch.stack([each.tokens[:, :-1] for each in predictions[1:][-3:]]),
            layer_class_embeds=torch.stack([each.class_embeds for each in predictions]),
            layer_mask_logits=torch.stack([each.masks[:, :-1] for each in predictions]) if all_layers else None,
            mask_features=mask_features,
            mask_logits=last.masks[:, :-1],
        )

    def class_scores(self, class_embeds: torch.Tensor, text_embeddings: torch.Tensor) -> torch.Tensor:
        """Scores of classes that are named by texts: scaled cosine similarities, before any softmax.

        Args:
            class_embeds: (..., P), as in ``FrameSemantics.layer_class_embeds``.
            text_embeddings: (V, P) of unit length, one for each class name.

        Returns:
            (..., V).
        """
        return self.logit_scale.exp() * unit(class_embeds) @ text_embeddings.to(class_embeds).T


def build_xdecoder(preset: str = 'focal_t', **sizes: Any) -> XDecoder:
    """An X-Decoder with fresh weights.

    Args:
        preset: ``focal_t`` or ``focal_l``.
        sizes: Constructor arguments of :class:`XDecoder` that replace those of the preset.

    Raises:
        UserError: The preset is unknown, or sizes do not fit together.
    """
    if preset not in PRESETS:
        raise UserError(f'There is no preset {preset!r} of X-Decoder. There are: {", ".join(PRESETS)}.')
    return XDecoder(**{**PRESETS[preset], **sizes})


def _check_sizes(
    depths: Sequence[int],
    focal_levels: Sequence[int],
    focal_windows: Sequence[int],
    hidden_dim: int,
    num_queries: int,
    nheads: int,
    dec_layers: int,
    norm_groups: int,
) -> None:
    for name, values in (('depths', depths), ('focal_levels', focal_levels), ('focal_windows', focal_windows)):
        if len(values) != 4 or min(values) < 1:
            raise UserError(f'{name} of X-Decoder is {list(values)}; it must be four numbers, each at least 1.')
    if any(window % 2 == 0 for window in focal_windows):
        raise UserError(f'focal_windows of X-Decoder is {list(focal_windows)}; they must be odd.')
    if hidden_dim % 4 or hidden_dim % nheads or hidden_dim % norm_groups:
        raise UserError(
            f'hidden_dim of X-Decoder is {hidden_dim}; it must be a multiple of 4, of nheads ({nheads}) and of '
            f'norm_groups ({norm_groups}).'
        )
    if num_queries < 2 or dec_layers < 1:
        raise UserError(
            f'num_queries and dec_layers of X-Decoder are {num_queries} and {dec_layers}; '
            'they must be at least 2 and 1.'
        )
