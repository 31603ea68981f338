"""InCAM, the instance-centric alignment module of SeeClear (Section 3.2): semantics of pixels, frames and the clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from .choices import check_choice
from .time_blocks import zero
from .token_attention import TokenAttention

ClipReading = Literal['embed', 'scale']


@dataclass
class InstanceGuide:
    """What an InCAM takes from the priors of a clip; the same for every step of the diffusion.

    Attributes:
        scale: gamma of Eq. 10 (n, C, h, w) for n = batch times frames.
        shift: beta of Eq. 10 (n, C, h, w).
        keys: Projected frame tokens (n, heads, K, C / heads).
        values: As the keys.
        clip: Projected tokens of the clip (b, N, C), or None without Eq. 14 and 15.
        clip_values: What they say (b, N, C), where they are embedded.
    """

    scale: torch.Tensor
    shift: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    clip: torch.Tensor | None
    clip_values: torch.Tensor | None = None


class InstanceAlignment(TokenAttention):
    """InCAM up to its attention over frames, which is the block that follows. Starts as the identity.

    Args:
        dim: Channels C.
        num_heads: Heads of the attention to frame tokens.
        token_dim: Channels of frame and clip tokens.
        feature_dim: Channels of the segmentation features.
        clip: With Eq. 14 and 15, tokens of the clip that highlight pixels across frames.
        reading: How they do. ``embed``: each pixel gets the tokens that it activates. ``scale``: the strongest
            activation scales the pixel, "akin to the class activation mapping". The LayerNorm of the attention that
            follows divides most of that out again, and a scale cannot say which instance it was: where a class is told
            in the tokens of one frame alone, the other frames learned it by ``embed`` (41.1 dB) and not by ``scale``
            (24.2 dB, and 25.5 without it; one seed, more in docs/results/probe.md).

    Raises:
        ValueError: Another reading.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        token_dim: int,
        feature_dim: int,
        clip: bool,
        reading: ClipReading = 'embed',
    ) -> None:
        super().__init__(dim, num_heads, token_dim)
        check_choice('incam_reading', reading, get_args(ClipReading))
        self.conv1 = nn.Conv2d(feature_dim, dim, 3, 1, 1)
        self.conv2 = nn.Conv2d(dim, dim * 2, 3, 1, 1)
        self.clip_token = nn.Linear(token_dim, dim) if clip else None
        self.clip_pixel = nn.Linear(dim, dim) if clip else None
        self.gain = self.clip_norm = self.clip_value = self.clip_out = None
        if clip and reading == 'scale':
            self.gain = nn.Parameter(torch.zeros(()))
        elif clip:
            self.clip_norm = nn.LayerNorm(dim)
            self.clip_value, self.clip_out = nn.Linear(token_dim, dim), nn.Linear(dim, dim)
            zero(self.clip_out)
        zero(self.conv2)
        zero(self.proj)

    def guide(
        self,
        features: torch.Tensor,
        frame_tokens: torch.Tensor,
        clip_tokens: torch.Tensor | None,
        size: tuple[int, int],
        padded: tuple[int, int],
    ) -> InstanceGuide:
        """Prepare what does not depend on the state of the diffusion.

        Args:
            features: Segmentation features P (n, feature_dim, hp, wp).
            frame_tokens: O_i (n, K, token_dim), the most certain first.
            clip_tokens: O_c (b, N, token_dim), or None without them.
            size: Height and width of what the segmentation features cover, at the resolution to be aligned.
            padded: Height and width of what will be aligned; beyond ``size`` the border goes on.
        """
        resized = F.interpolate(features, size, mode='bilinear', align_corners=False)
        resized = F.pad(resized, (0, padded[1] - size[1], 0, padded[0] - size[0]), mode='replicate')
        # Eq. 10: "two convolutional layers followed by a ReLU". A ReLU at the end would allow no negative scale or
        # shift, so it is between the layers.
        modulation = self.conv2(F.relu(self.conv1(resized)))
        # Seven stages multiply one after the other (Eq. 11), and a step of Adam moves each of the thousands of weights
        # behind a scale by the learning rate: undivided, features grow ten thousandfold in a hundred steps.
        modulation = modulation / math.sqrt(self.conv2.weight[0].numel())
        scale, shift = modulation.chunk(2, dim=1)
        # Eq. 12 writes tokens of the frame, lines 28 and 36 of Algorithm 1 those of the clip: the equation holds, since
        # the ablation calls this step "intra-frame".
        keys, values = self.prior_keys_values(frame_tokens)
        clip = None if self.clip_token is None or clip_tokens is None else self.clip_token(clip_tokens)
        clip_values = None if self.clip_value is None or clip_tokens is None else self.clip_value(clip_tokens)
        return InstanceGuide(scale, shift, keys, values, clip, clip_values)

    def forward(self, x: torch.Tensor, guide: InstanceGuide) -> torch.Tensor:
        """Features (n, C, h, w) to the same shape."""
        x = torch.addcmul(guide.shift, x, guide.scale) + x  # Eq. 11
        pixels = x.permute(0, 2, 3, 1)  # (n, h, w, C)
        # Eq. 12 has Q = F W. Features of a residual stream have any size, so they are normed first.
        # Eq. 13 has no residual. A V is a mixture of a few tokens: without one the pixels would be lost.
        pixels = pixels + self.attend(pixels, guide.keys, guide.values)
        if guide.clip is not None and self.gain is not None:
            highlight = self.activations(pixels, guide.clip).amax(-1, keepdim=True)
            pixels = pixels * (1 + self.gain * highlight.view(*pixels.shape[:-1], 1))
        elif guide.clip is not None and guide.clip_values is not None:
            assert self.clip_norm is not None and self.clip_out is not None
            active = self.activations(self.clip_norm(pixels), guide.clip)
            # over the root of their number, the sum of N tokens is about as large as one
            told = active @ guide.clip_values.to(active.dtype) / math.sqrt(guide.clip.size(1))
            pixels = pixels + self.clip_out(told).view(pixels.shape)
        return pixels.permute(0, 3, 1, 2)

    def activations(self, pixels: torch.Tensor, clip: torch.Tensor) -> torch.Tensor:
        """How much each pixel belongs to each instance of its clip, between 0 and 1.

        Eq. 15 prints O_c . F^, the product of N tokens and C-channel features, as the input of an attention that takes
        C channels. What has a meaning is the text: "akin to the class activation mapping, which highlights the most
        similar pixels".

        Args:
            pixels: Features (n, h, w, C).
            clip: Projected tokens of the clip (b, N, C); n = b * frames.

        Returns:
            (b, frames h w, N).
        """
        assert self.clip_pixel is not None
        batch, channels = clip.size(0), clip.size(-1)
        scores = self.clip_pixel(pixels).reshape(batch, -1, channels) @ clip.to(pixels.dtype).mT
        return (scores / math.sqrt(channels)).sigmoid()
