"""Instances of a whole clip from the object tokens of its frames: an encoder and a decoder over time.

The form is that of VITA (Heo et al., "VITA: Video Instance Segmentation via Object Token Association", NeurIPS 2022),
which Semantic Lens (AAAI 2024, Eq. 4 and 5) takes over. A frame decoder (X-Decoder, OpenSeeD, Mask2Former) gives the
tokens and the pixel features. It is not part of this module, and neither is what the result is used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...utils.recording import records_arguments
from .instance_encoder_decoder import InstanceEncoderDecoder, Shift
from .query_blocks import MLP


@dataclass
class VideoInstances:
    """What :class:`InstanceTransformer` finds; the shapes begin with L if those of the tokens did.

    Attributes:
        tokens: (b, N, C), one token an instance: the video queries after the last layer and its norm (O_V of Eq. 4).
        class_logits: (D, b, N, classes + 1) for each of the D decoder layers; the last class is "no object".
        mask_embeds: (D, b, N, mask_dim); the product with projected pixel features gives mask logits.
        clip_embeds: (b, N, C), instances for the similarity loss, or None without similarity heads.
        frame_embeds: (b, T, K, C), encoded frame tokens for the similarity loss, or None.
    """

    tokens: torch.Tensor
    class_logits: torch.Tensor
    mask_embeds: torch.Tensor
    clip_embeds: torch.Tensor | None
    frame_embeds: torch.Tensor | None


class InstanceTransformer(InstanceEncoderDecoder):
    """Encode frame tokens over time in windows, then let video queries gather the instances of the clip.

    Parameters have VITA's names. Without the similarity loss build it with ``similarity=False`` (or freeze
    ``sim_embed_*``): the two heads serve nothing else, and they would have no gradient.

    Args:
        hidden_dim: Width C of tokens and layers. VITA has 256; 512 is that of X-Decoder's tokens.
        num_heads: Attention heads.
        feedforward_dim: Width inside the feed-forward layers.
        encoder_layers: Layers of window attention over time; 0: none.
        decoder_layers: Layers D of the video queries, at least 1.
        window: Frames of a window.
        num_queries: Video queries N, the most instances a clip can have.
        num_frame_queries: Tokens K of a frame; each has a learned position for the decoder.
        num_classes: Classes without "no object".
        mask_dim: Width of mask embeddings and projected pixel features.
        feature_dim: Width of the pixel features.
        similarity: Whether there are heads for the similarity loss.
        shift: When the windows of every second encoder layer are shifted by half a window. ``eval``: in evaluation
            only, as released, but not where one window holds all frames, which training has seen whole; ``always``:
            in training too; ``never``; ``vita``: the released rule to the letter, which in evaluation divides even a
            single window.

    Raises:
        ValueError: An argument is out of its range.
    """

    config: dict[str, Any]

    @records_arguments
    def __init__(
        self,
        *,
        hidden_dim: int = 512,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 3,
        window: int = 6,
        num_queries: int = 100,
        num_frame_queries: int = 100,
        num_classes: int = 40,
        mask_dim: int = 512,
        feature_dim: int = 512,
        similarity: bool = True,
        shift: Shift = 'eval',
    ) -> None:
        super().__init__(
            hidden_dim,
            num_heads,
            feedforward_dim,
            encoder_layers,
            decoder_layers,
            window,
            num_queries,
            num_frame_queries,
            shift,
        )
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        # Eq. 5 prints M = O_V . f, tokens times features; the paper keeps the settings of VITA's code, so before the
        # product tokens pass an MLP and features a 1x1 convolution
        self.mask_embed = MLP(hidden_dim, hidden_dim, hidden_dim, mask_dim)
        self.vita_mask_features = nn.Conv2d(feature_dim, mask_dim, 1)
        nn.init.kaiming_uniform_(self.vita_mask_features.weight, a=1)
        nn.init.zeros_(self.vita_mask_features.bias)  # pyright: ignore[reportArgumentType]
        self.sim_embed_frame = nn.Linear(hidden_dim, hidden_dim) if similarity else None
        self.sim_embed_clip = nn.Linear(hidden_dim, hidden_dim) if similarity else None

    def forward(self, frame_tokens: torch.Tensor, valid: torch.Tensor | None = None) -> VideoInstances:
        """Find the instances of clips.

        Args:
            frame_tokens: (b, T, K, C) object tokens of T frames, T at least 1; or (L, b, T, K, C) those of the last L
                layers of the frame decoder, each treated as a clip of its own.
            valid: (b, T) bool, False for frames that only fill up a batch of clips of differing length; they have no
                effect on the rest. Every clip needs one valid frame. None: all frames are valid.

        Returns:
            The instances; see :class:`VideoInstances`.

        Raises:
            ValueError: Tokens of another shape than the network was built for.
        """
        outputs, memory = self.associate(frame_tokens, valid)
        embeds = self.sim_embed_clip(outputs[-1]) if self.sim_embed_clip is not None else None
        frame_embeds = self.sim_embed_frame(memory) if self.sim_embed_frame is not None else None
        return VideoInstances(outputs[-1], self.class_embed(outputs), self.mask_embed(outputs), embeds, frame_embeds)

    def project_features(self, mask_features: torch.Tensor) -> torch.Tensor:
        """Bring pixel features (n, feature_dim, h, w) of frames to the space of the mask embeddings.

        Returns:
            (n, mask_dim, h, w); mask logits of Eq. 5 are ``einsum('...nc,tchw->...nthw', mask_embeds, this)``.
        """
        return self.vita_mask_features(mask_features)


def instance_config(state_dict: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Read the sizes of an :class:`InstanceTransformer` off its weights.

    Args:
        state_dict: Its parameters by name.

    Returns:
        Constructor arguments. ``num_heads``, ``window`` and ``shift`` leave no trace in weights and are not in it.

    Raises:
        ValueError: The weights are not those of an instance transformer.
    """

    def count(prefix: str) -> int:
        return len({name.split('.')[1] for name in state_dict if name.startswith(f'{prefix}.')})

    try:
        mask_features = state_dict['vita_mask_features.weight']
        return {
            'hidden_dim': state_dict['query_feat.weight'].size(1),
            'feedforward_dim': state_dict['transformer_ffn_layers.0.linear1.weight'].size(0),
            'encoder_layers': count('enc_self_attn'),
            'decoder_layers': count('transformer_cross_attention_layers'),
            'num_queries': state_dict['query_feat.weight'].size(0),
            'num_frame_queries': state_dict['fq_pos.weight'].size(0),
            'num_classes': state_dict['class_embed.weight'].size(0) - 1,
            'mask_dim': mask_features.size(0),
            'feature_dim': mask_features.size(1),
            'similarity': 'sim_embed_clip.weight' in state_dict,
        }
    except (KeyError, IndexError) as error:
        raise ValueError(f'These are not the weights of an instance transformer: they have no {error}.') from error
