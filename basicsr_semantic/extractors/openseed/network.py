"""OpenSeeD's vision network: from frames and the names of things to tokens, their scores and mask features.

Zhang et al., "A Simple Framework for Open-Vocabulary Segmentation and Detection" (ICCV 2023).
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
from ..pretrained import CheckpointReport
from .pixel_decoder import DeformablePixelDecoder
from .query_decoder import QueryDecoder
from .swin import SwinTransformer

#: The network divides height and width by this; images are padded to a multiple.
STRIDE = 32
_MEAN = (123.675, 116.28, 103.53)  # of RGB in 0-255
_STD = (58.395, 57.12, 57.375)


@dataclass
class QuerySemantics:
    """What OpenSeeD says about n frames; Q queries, V names, height and width padded to 32."""

    tokens: torch.Tensor
    """(n, Q, C) normalised queries of the last layer; class scores and masks are read off them."""
    class_scores: torch.Tensor
    """(n, Q, V) likeness of each token to each name: scaled cosine similarity, before any sigmoid."""
    mask_features: torch.Tensor
    """(n, mask_dim, h / 4, w / 4) pixel features that masks are read off."""
    mask_logits: torch.Tensor | None
    """(n, Q, h / 4, w / 4) mask logits, or None if not asked for."""

    @property
    def scores(self) -> torch.Tensor:
        """(n, Q) likeness of each token to the name that it is most like."""
        return self.class_scores.amax(-1)

    def top_order(self, k: int = 100) -> torch.Tensor:
        """(n, k) int64, places of the k tokens with the highest scores, the highest first; equal ones in their order.

        Raises:
            UserError: There are not so many tokens.
        """
        if not 1 <= k <= self.tokens.size(1):
            raise UserError(f'OpenSeeD gives {self.tokens.size(1)} tokens a frame; the best {k} of them do not exist.')
        return self.scores.sort(dim=1, descending=True, stable=True).indices[:, :k]

    def top_tokens(self, k: int = 100) -> torch.Tensor:
        """(n, k, C) the tokens of :meth:`top_order`."""
        order = self.top_order(k)[..., None]
        return self.tokens.gather(1, order.expand(-1, -1, self.tokens.size(2)))


class OpenSeeDHead(nn.Module):
    """Pixel decoder and query decoder under their released names.

    Args:
        pixel_decoder: The pixel decoder.
        predictor: The query decoder.
    """

    def __init__(self, pixel_decoder: DeformablePixelDecoder, predictor: QueryDecoder) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor


class OpenSeeD(nn.Module):
    """OpenSeeD without its text branch, whose embeddings are an input. Defaults are those of the released Swin-T.

    Parameters have the released names, each once. What is for training only is left out: denoising (``lang_mapper``)
    and the loss. ``logit_scale`` is a buffer.

    Args:
        embed_dim: Width of the backbone's first stage; it doubles from stage to stage.
        depths: Blocks of the backbone's four stages.
        num_heads: Heads of the backbone's four stages.
        window_size: Side of the backbone's windows in tokens.
        mlp_ratio: Width inside the backbone's MLPs over that outside.
        hidden_dim: Width C of tokens, a multiple of 4.
        mask_dim: Width of the mask features.
        projection_dim: Width P of text embeddings.
        num_queries: Queries Q.
        nheads: Attention heads of both decoders.
        num_points: Places that a head reads of each scale.
        dim_feedforward: Width inside the feed-forward parts of both decoders.
        enc_layers: Transformer layers of the pixel decoder.
        dec_layers: Layers of the query decoder.
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
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        hidden_dim: int = 256,
        mask_dim: int = 256,
        projection_dim: int = 512,
        num_queries: int = 300,
        nheads: int = 8,
        num_points: int = 4,
        dim_feedforward: int = 2048,
        enc_layers: int = 6,
        dec_layers: int = 9,
        norm_groups: int = 32,
    ) -> None:
        super().__init__()
        _check_sizes(self.config)
        #: Where the weights came from; None if they were not read from a file.
        self.report: CheckpointReport | None = None
        self.token_dim, self.num_tokens, self.mask_dim = hidden_dim, num_queries, mask_dim
        self.projection_dim = projection_dim
        self.backbone = SwinTransformer(embed_dim, depths, num_heads, window_size, mlp_ratio)
        decoder = (nheads, num_points, dim_feedforward)
        self.sem_seg_head = OpenSeeDHead(
            DeformablePixelDecoder(self.backbone.widths, hidden_dim, mask_dim, *decoder, enc_layers, norm_groups),
            QueryDecoder(hidden_dim, projection_dim, mask_dim, num_queries, *decoder, dec_layers),
        )

    @property
    def logit_scale(self) -> torch.Tensor:
        """() logarithm of the scale of cosine similarities to texts."""
        return self.sem_seg_head.predictor.lang_encoder.logit_scale

    def forward(self, images: torch.Tensor, text_embeddings: torch.Tensor, masks: bool = False) -> QuerySemantics:
        """Describe frames in the words of a vocabulary. Tokens depend on it: queries are chosen by it.

        Args:
            images: (n, 3, H, W) float RGB in [0, 1], any height and width; padded at the right and the bottom with the
                mean colour to a multiple of 32.
            text_embeddings: (V, P) of unit length, one for each name.
            masks: Whether to return mask logits.

        Raises:
            UserError: The images or the embeddings have another form.
        """
        if images.dim() != 4 or images.size(1) != 3 or not images.is_floating_point() or 0 in images.shape:
            raise UserError(
                f'OpenSeeD takes images (n, 3, H, W) of floating point, not {tuple(images.shape)} of {images.dtype}.'
            )
        if text_embeddings.dim() != 2 or text_embeddings.size(1) != self.projection_dim or 0 in text_embeddings.shape:
            raise UserError(
                f'OpenSeeD takes text embeddings (names, {self.projection_dim}), not {tuple(text_embeddings.shape)}.'
            )
        height, width = images.shape[-2:]
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        images = F.pad((images * 255 - mean) / std, (0, -width % STRIDE, 0, -height % STRIDE))
        text_embeddings = text_embeddings.to(images)
        levels, mask_features = self.sem_seg_head.pixel_decoder(self.backbone(images))
        predictor = self.sem_seg_head.predictor
        tokens = predictor(levels, text_embeddings)
        return QuerySemantics(
            tokens=tokens,
            class_scores=predictor.class_scores(tokens, text_embeddings),
            mask_features=mask_features,
            mask_logits=predictor.masks(tokens, mask_features) if masks else None,
        )


def _check_sizes(config: dict[str, Any]) -> None:
    for name in ('depths', 'num_heads'):
        if len(config[name]) != 4 or min(config[name]) < 1:
            raise UserError(f'{name} of OpenSeeD is {config[name]}; it must be four numbers, each at least 1.')
    for i, heads in enumerate(config['num_heads']):
        if config['embed_dim'] * 2**i % heads:
            raise UserError(
                f'num_heads of OpenSeeD is {config["num_heads"]}; they must divide the widths of the stages, '
                f'{[config["embed_dim"] * 2**j for j in range(4)]}.'
            )
    hidden_dim, nheads, norm_groups = (config[name] for name in ('hidden_dim', 'nheads', 'norm_groups'))
    if hidden_dim % 4 or hidden_dim % nheads or hidden_dim % norm_groups:
        raise UserError(
            f'hidden_dim of OpenSeeD is {hidden_dim}; it must be a multiple of 4, of nheads ({nheads}) and of '
            f'norm_groups ({norm_groups}).'
        )
    for name in ('window_size', 'num_queries', 'num_points', 'dec_layers'):
        if config[name] < 1:
            raise UserError(f'{name} of OpenSeeD is {config[name]}; it must be at least 1.')
