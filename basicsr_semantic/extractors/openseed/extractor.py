"""OpenSeeD as an extractor: the tokens of each frame that are most like any name of a vocabulary, and pixel features.

SeeClear (NeurIPS 2024), "Semantic Distiller": image features of a frozen segmentation network. The paper leaves open
which tokens and how many; here they are those with the highest scores. A frame is described by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ...priors import CELL
from ...utils.errors import UserError
from ..base import EXTRACTOR_REGISTRY, Extractor, FramePriors, check_enlarged, frame_to_tensor
from ..layers.pixel_features import extend_to_cells, features_of_cells
from .checkpoint import load_openseed
from .vocabulary import load_vocabulary

_log = logging.getLogger(__name__)


@dataclass
class ClipDescription:
    """What is said about a clip of T frames, on the device of the extractor."""

    frame_tokens: Tensor
    """(T, K, C), the most certain first, float32 of half precision, as a store keeps them."""
    pixel_features: Tensor
    """(T, Cp, hp, wp), one vector for each cell of 4x4 pixels, also float32 of half precision."""


@EXTRACTOR_REGISTRY.register()
class OpenSeeDExtractor(Extractor):
    """Semantic priors of single frames by a frozen OpenSeeD: tokens and pixel features, no masks.

    Args:
        checkpoint: Weights of OpenSeeD: the released model_state_dict_swint_51.2ap.pt, or one of ours.
        text_embeddings: File of ``basicsr prepare text``: the names to look for. Tokens depend on them.
        num_tokens: Tokens K of a frame; the paper does not give the number.
        device: Where the network runs: 'cpu', 'cuda', 'cuda:1', ...
        short_side: Frames with a shorter short side are enlarged bicubically to this one for the network, both sides
            rounded to multiples of 4; None or 0: as they are.
        checksum: SHA-256 that the checkpoint must have; None: not checked.

    Raises:
        UserError: A file is missing, damaged or of another network, a value is out of its range, or the device cannot
            be used.
    """

    kind = 'openseed'
    order = 'id'
    max_masks = 0

    def __init__(
        self,
        checkpoint: str,
        text_embeddings: str,
        num_tokens: Annotated[int, Field(ge=1)] = 100,
        device: str = 'cpu',
        short_side: Annotated[int, Field(ge=0)] | None = 512,
        checksum: str | None = None,
    ) -> None:
        if num_tokens < 1 or (short_side or 0) < 0 or 0 < (short_side or 0) < 32:
            raise UserError(
                f'num_tokens must be at least 1 and short_side 0 or at least 32 pixels, not {num_tokens} and '
                f'{short_side}.'
            )
        # the small file first: most mistakes show without reading the large one
        self.vocabulary = load_vocabulary(text_embeddings)
        self.network = load_openseed(checkpoint, checksum, device)
        if self.network.num_tokens < num_tokens:
            raise UserError(
                f'num_tokens is {num_tokens}, but the OpenSeeD of {checkpoint} gives {self.network.num_tokens} a frame.'
            )
        self.vocabulary.check_width(self.network.projection_dim)
        self.num_tokens, self.short_side = num_tokens, short_side or None
        self.device = next(self.network.parameters()).device
        self._words = self.vocabulary.embeddings.to(self.device)
        report = self.network.report
        self.checkpoint = {'file': report.file, 'sha256': report.sha256} if report else None
        if report and self.vocabulary.checkpoint not in (None, report.sha256):
            _log.warning(
                'The text embeddings %s were made with another checkpoint than %s; unless both have the same text '
                'encoder, tokens mean nothing.',
                text_embeddings,
                checkpoint,
            )

    @property
    def tokens(self) -> dict[str, int]:
        """Sizes of the tokens of a frame, for the metadata of a store; there is no global token."""
        return {'num': self.num_tokens, 'dim': self.network.token_dim, 'global_dim': 0}

    @property
    def features(self) -> dict[str, int]:
        """Sizes of the pixel features, for the metadata of a store."""
        return {'dim': self.network.mask_dim, 'cell': CELL}

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides tokens and features, for the metadata of a store."""
        return {'short_side': self.short_side, 'text_sha256': self.vocabulary.sha256}

    @torch.no_grad()
    def describe(self, frames: Tensor, wanted: Collection[str] = ()) -> ClipDescription:
        """Describe frames that are in memory; one by one, so that neighbours change nothing.

        Args:
            frames: (T, 3, h, w) float RGB in [0, 1], whole frames.
            wanted: Without effect: tokens and features come in one pass.
        """
        size = (frames.shape[-2], frames.shape[-1])
        tokens, features = [], []
        for frame in frames:
            image = _enlarge(extend_to_cells(frame[None].to(self.device, torch.float32)), self.short_side)
            found = self.network(image, self._words)
            # half precision here already: a store and the networks of an online run then get the same
            tokens.append(found.top_tokens(self.num_tokens).to(torch.float16).float())
            features.append(features_of_cells(found.mask_features, (image.shape[-2], image.shape[-1]), size))
        return ClipDescription(torch.cat(tokens), torch.cat(features))

    def describe_frame(self, frame: np.ndarray) -> FramePriors:
        """Describe a frame for a store; see :class:`~basicsr_semantic.extractors.base.Extractor`."""
        found = self.describe(frame_to_tensor(frame)[None])
        return FramePriors(
            frame_tokens=found.frame_tokens[0].cpu().numpy(),
            global_token=np.zeros(0, np.float32),
            pixel_features=found.pixel_features[0].cpu().numpy(),
            masks=np.zeros((0, *frame.shape[:2]), bool),
        )


def _enlarge(frames: Tensor, short_side: int | None) -> Tensor:
    """Frames (n, 3, h, w) in [0, 1] with a short side of at least ``short_side``; sides are multiples of 4."""
    height, width = frames.shape[-2:]
    factor = (short_side or 0) / min(height, width)
    if factor <= 1:
        return frames
    # a mask feature is 4 pixels wide: no feature reaches over the edge
    size = [4 * round(side * factor / 4) for side in (height, width)]
    check_enlarged((height, width), size)
    return F.interpolate(frames, size, mode='bicubic', align_corners=False).clamp(0, 1)
