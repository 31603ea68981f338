"""SeeClear's Pixel Condenser (NeurIPS 2024): the network that predicts a clip from a state of its diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from ..priors import SemanticPriors
from ..utils.errors import MissingError
from .layers.condenser import AttentionStage, GuidedStage, Textures
from .layers.incam import ClipReading, InstanceAlignment, InstanceGuide
from .layers.instance_encoder_decoder import InstanceEncoderDecoder
from .layers.mask_input import MissingPriors, check_missing_priors
from .layers.mfsa import run
from .layers.size_requirements import SizeRequirements
from .layers.texture_memory import MemoryStart, MemoryState, TextureMemory, TextureReader
from .layers.time_blocks import StepEmbedding, group_norm, zero
from .layers.token_attention import known_tokens
from .layers.wavelet_blocks import HAAR, POLYPHASE, FramePyramid, WaveletUp
from .semantic_arch import SemanticArch

UNet = Literal['seeclear', 'wavediff', 'swin']
Skip = Literal['high', 'full']

# Stages of the middle, and of encoder and decoder.
_MIDDLE, _LEVELS = 3, 4


@dataclass
class Condition:
    """All that the network gets about a clip; the same for every step of the diffusion.

    Attributes:
        frames: LR frames (n, 3, h, w), n = batch * frames.
        pyramid: Features of the LR frames on the levels below the first.
        guides: For InCAM, of every stage of middle and decoder, or None.
        textures: Keys and values of the memory, of every such stage, or None.
    """

    frames: torch.Tensor
    pyramid: list[torch.Tensor]
    guides: list[InstanceGuide] | None
    textures: list[Textures] | None


@ARCH_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class SeeClear(nn.Module, SemanticArch):
    """A U-Net on wavelet packets, guided by the instances of the clip and by a memory of textures.

    It predicts the clip, not the noise. Frames, base and states are in [-1, 1] (a state: that plus noise, scaled by
    ``BlurringResShift.scale_input``). A clip has ``clip_length`` frames. InCAM and the reading of the memory start as
    the identity.

    Args:
        dim: Channels of the first level; a multiple of ``head_dim``.
        multipliers: Channels of the four levels, in units of ``dim``.
        head_dim: Channels of an attention head.
        window: Rows and columns of a window.
        mlp_ratio: Hidden channels of the MLPs, in units of the channels.
        clip_length: Frames of a clip.
        unet: ``seeclear``; ``wavediff``, without attention in the stages; or ``swin``, without wavelets and without
            channel attention. The latter two replace the networks of the paper's Table 4.
        dwt: Wavelets; False separates the pixels of a block instead (Table 2, row 6).
        semantic: InCAM's modulation and attention to the tokens of a frame (Eq. 10 to 13).
        mfsa: Windows over all frames of the clip in middle and decoder.
        incam: Pixels are modulated by tokens of the clip (Eq. 14 and 15); needs ``semantic``.
        incam_reading: ``embed``: pixels get the tokens that they activate; ``scale``: their activation scales them.
        category: The memory of textures (Eq. 16 to 20).
        skip: ``high``: the decoder gets the high bands of the encoder, as in Algorithm 1; ``full``: its features, too.
        token_dim: Channels of the frame tokens.
        feature_dim: Channels of the segmentation features.
        hidden_dim: Width of the instance encoder and decoder, and of the memory.
        num_tokens: Tokens of a frame that are used, the first ones.
        num_queries: Tokens N of a clip.
        instance_heads: Heads of the instance encoder and decoder.
        feedforward_dim: Width inside their feed-forward layers.
        encoder_layers: Layers of the instance encoder.
        decoder_layers: Layers of the instance decoder.
        groups: Groups J of the memory.
        memory_start: Its first values: ``unit``, or ``near_zero``, see :class:`TextureMemory`.
        upscale: 2 or 4; log2 of it is the depth of the packets, so that they have the size of the LR frame.
        checkpointing: Work stages out again in the backward pass instead of keeping what they need for it.
        missing_priors: Without priors, raise an error or go on with zeros ('neutral').

    Raises:
        ValueError: Arguments out of range.
    """

    takes_priors_object = True
    size_requirements = SizeRequirements(multiple_of=8)

    def __init__(
        self,
        *,
        dim: int = 120,
        multipliers: Sequence[int] = (1, 2, 2, 4),
        head_dim: int = 30,
        window: int = 8,
        mlp_ratio: float = 2.0,
        clip_length: int = 5,
        unet: UNet = 'seeclear',
        dwt: bool = True,
        semantic: bool = True,
        mfsa: bool = True,
        incam: bool = True,
        incam_reading: ClipReading = 'embed',
        category: bool = True,
        skip: Skip = 'high',
        token_dim: int = 256,
        feature_dim: int = 256,
        hidden_dim: int = 256,
        num_tokens: int = 100,
        num_queries: int = 100,
        instance_heads: int = 8,
        feedforward_dim: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 3,
        groups: int = 4,
        memory_start: MemoryStart = 'unit',
        upscale: int = 4,
        checkpointing: bool = False,
        missing_priors: MissingPriors = 'error',
    ) -> None:
        super().__init__()
        check_missing_priors(missing_priors)
        dims = [dim * factor for factor in multipliers]
        if len(dims) != _LEVELS or any(width % head_dim for width in dims):
            raise ValueError(
                f'multipliers are four and head_dim divides the channels of every level; they are {list(multipliers)} '
                f'and {head_dim}, with dim {dim}.'
            )
        if unet not in ('seeclear', 'wavediff', 'swin') or skip not in ('high', 'full'):
            raise ValueError(f"unet is seeclear, wavediff or swin, and skip high or full; not '{unet}' and '{skip}'.")
        if incam and not semantic:
            raise ValueError('incam modulates pixels that semantic has embedded: set semantic: true, or incam: false.')
        if upscale not in (2, 4):
            raise ValueError(f'upscale is 2 or 4, not {upscale}.')
        if min(clip_length, groups, window) < 1 or mlp_ratio <= 0:
            raise ValueError(
                f'clip_length, groups and window are at least 1, and mlp_ratio above 0; they are {clip_length}, '
                f'{groups}, {window} and {mlp_ratio}.'
            )
        self.scale: int = upscale
        self.clip_length, self.num_tokens = clip_length, num_tokens
        self.skip, self.checkpointing, self.missing_priors = skip, checkpointing, missing_priors
        self.token_dims = {'frame_tokens': token_dim, 'pixel_features': feature_dim}
        used = {'frame_tokens': semantic or category, 'pixel_features': semantic}
        self.prior_fields = tuple(name for name, needed in used.items() if needed)
        self.bands = HAAR if dwt and unet != 'swin' else POLYPHASE
        self.packet_levels = int(math.log2(upscale))
        packet_dim, step_dim = 3 * upscale**2, 4 * dim

        def stage(in_dim: int, width: int, frames: int, number: int) -> AttentionStage:
            size = (frames, window, window)
            attention = (width // head_dim, size, mlp_ratio, number % 2 == 1, unet != 'wavediff', unet == 'seeclear')
            return AttentionStage(in_dim, width, step_dim, *attention)

        def guided(in_dim: int, width: int, number: int) -> GuidedStage:
            heads = width // head_dim
            align = None
            if semantic:
                heads_in = in_dim // head_dim
                align = InstanceAlignment(in_dim, heads_in, hidden_dim, feature_dim, incam, incam_reading)
            textures = TextureReader(width, heads, hidden_dim) if category else None
            return GuidedStage(stage(in_dim, width, clip_length if mfsa else 1, number), align, textures)

        self.step = StepEmbedding(dim, step_dim)
        self.stem = nn.Conv2d(3 + packet_dim, dim, 3, 1, 1)
        self.pyramid = FramePyramid(dim, _LEVELS - 1, self.bands)
        self.encoder = nn.ModuleList(stage(dims[i - 1] + dim if i else dim, dims[i], 1, i) for i in range(_LEVELS))
        self.middle = nn.ModuleList(guided(dims[-1], dims[-1], i) for i in range(_MIDDLE))
        lower = dims[-2::-1]  # the levels that the decoder climbs to
        self.up = nn.ModuleList(
            WaveletUp(below, width, width, self.bands) for below, width in zip([dims[-1], *lower], lower, strict=False)
        )
        widen = 2 if skip == 'full' else 1
        self.decoder = nn.ModuleList(
            [*(guided(width * widen, width, i) for i, width in enumerate(lower)), guided(dim, dim, _LEVELS - 1)]
        )
        self.norm = group_norm(dim)
        self.last = nn.Conv2d(dim, packet_dim, 3, 1, 1)
        zero(self.last)
        self.to_hidden = nn.Linear(token_dim, hidden_dim) if token_dim != hidden_dim and self.prior_fields else None
        self.instances = self.memory = None
        self._memory_prefixes = ('memory.',) if incam else ('memory.', 'instances.')
        if incam or category:
            layers = (feedforward_dim, encoder_layers, decoder_layers)
            self.instances = InstanceEncoderDecoder(
                hidden_dim, instance_heads, *layers, clip_length + 1, num_queries, num_tokens
            )
        if category:
            levels = [*lower, dim]
            self.memory = TextureMemory(hidden_dim, num_queries, groups, instance_heads, levels, memory_start)

    # ---------------------------------------------------------------------------------------------- once a clip

    def condition(
        self,
        lq: torch.Tensor,
        priors: SemanticPriors | None = None,
        memory: MemoryState | None = None,
        frame_size: tuple[int, int] | None = None,
    ) -> Condition:
        """Work out what does not depend on the step.

        Args:
            lq: LR frames (b, clip_length, 3, h, w) in [-1, 1]; h and w are multiples of 8.
            priors: frame_tokens (b, clip_length, K, token_dim), the most certain first, K at least ``num_tokens``, and
                pixel_features (b, clip_length, feature_dim, hp, wp).
            memory: Running memory of the video; None: the memory is not read.
            frame_size: Height and width of what the pixel features cover, where the frames were padded.

        Raises:
            ValueError: Wrong shapes, or no priors where they are needed.
        """
        frames, _, h, w = lq.shape[1:]
        if frames != self.clip_length:
            raise ValueError(f'SeeClear takes clips of {self.clip_length} frames; this one has {frames}.')
        self.size_requirements.check(h, w, 'SeeClear')
        given = self._checked(lq, priors or SemanticPriors())
        flat = lq.flatten(0, 1)
        guided = self._guided()
        tokens = clip_tokens = guides = textures = None
        if 'frame_tokens' in given:
            tokens = given['frame_tokens'][:, :, : self.num_tokens]
            tokens = tokens if self.to_hidden is None else self.to_hidden(tokens) * known_tokens(tokens)
        if self.instances is not None and tokens is not None:
            clip_tokens = self.instances.associate(tokens)[0][-1]
        if 'pixel_features' in given and tokens is not None:
            features = given['pixel_features'].flatten(0, 1)
            area = frame_size or (h, w)
            guides = []
            for part, level in zip(guided, self._levels(), strict=True):
                assert part.align is not None
                whole = (h >> level, w >> level)
                shown = (math.ceil(area[0] / 2**level), math.ceil(area[1] / 2**level))
                arguments = (features, tokens.flatten(0, 1), clip_tokens, shown, whole)
                guides.append(run(part.align.guide, *arguments, checkpointing=self.checkpointing))
        if self.memory is not None and memory is not None and clip_tokens is not None:
            read = self.memory.read(clip_tokens, memory)
            textures = [part.textures.keys_values(read) for part in guided if part.textures is not None]
        return Condition(flat, self.pyramid(flat), guides, textures)

    def initial_memory(self, batch: int) -> MemoryState | None:
        """The memory at the start of a video; None without ``category``."""
        return None if self.memory is None else self.memory.initial(batch)

    def is_of_memory(self, name: str) -> bool:
        """Whether a parameter of this name trains in the stage of the memory: CaTeGory and its readers.

        Without InCAM, tokens of the clip serve the memory alone, so what makes them is part of it.
        """
        return name.startswith(self._memory_prefixes) or '.textures.' in name

    def update_memory(self, state: MemoryState, features: Sequence[torch.Tensor]) -> MemoryState:
        """The memory after a clip; see :meth:`TextureMemory.update`."""
        assert self.memory is not None
        return self.memory.update(state, features)

    # ---------------------------------------------------------------------------------------------- once a step

    def denoise(
        self, x: torch.Tensor, t: torch.Tensor, base: torch.Tensor, condition: Condition
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Predict the clip.

        Args:
            x: Scaled state (b, clip_length, 3, H, W).
            t: Step of each clip (b,), from 1.
            base: What the prediction is added to (b, clip_length, 3, H, W).
            condition: Of :meth:`condition`.

        Returns:
            The prediction (b, clip_length, 3, H, W), and the features of every decoder layer, for the memory.
        """
        b, frames = x.shape[:2]
        state = x.flatten(0, 1)
        for _ in range(self.packet_levels):
            state = self.bands.split(state)
        step = self.step(t).repeat_interleave(frames, dim=0).to(state.dtype)
        # Algorithm 1, line 14, has the state twice; the text has the state and the LR frame.
        y = self.stem(torch.cat([condition.frames, state], dim=1))
        passed: list[tuple[torch.Tensor, torch.Tensor]] = []
        for i, stage in enumerate(self.encoder):
            if i:
                y = torch.cat([condition.pyramid[i - 1], y], dim=1)
            y = run(stage, y, step, checkpointing=self.checkpointing)
            if i < _LEVELS - 1:
                whole, bands = y, self.bands.split(y)
                y, high = bands.split([y.size(1), 3 * y.size(1)], dim=1)
                passed.append((whole, high))
        guides = condition.guides or [None] * (_MIDDLE + _LEVELS)
        textures = condition.textures or [None] * (_MIDDLE + _LEVELS)
        features = []
        for i, stage in enumerate(self._guided()):
            k = i - _MIDDLE
            if 0 <= k < _LEVELS - 1:
                whole, high = passed.pop()
                y = self.up[k](y, high)
                y = torch.cat([y, whole], dim=1) if self.skip == 'full' else y
            y = run(stage, y, step, guides[i], textures[i], checkpointing=self.checkpointing)
            if k >= 0:
                features.append(y.unflatten(0, (b, frames)))
        y = self.last(F.silu(self.norm(y))).float()  # frames are made in full precision under autocast, too
        for _ in range(self.packet_levels):
            y = self.bands.join(y)
        return y.unflatten(0, (b, frames)) + base, features

    # ------------------------------------------------------------------------------------------------- training

    def forward(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        lq: torch.Tensor,
        base: torch.Tensor,
        priors: Sequence[SemanticPriors] | None = None,
        with_memory: bool = True,
    ) -> torch.Tensor:
        """Predict m clips of each video, one after the other, with the memory running from clip to clip.

        What a clip shows enters the memory without its history; the update and the reading of the next clip keep
        theirs, so the memory learns from the clip after. It is shown at the step that was drawn for the clip, whereas
        Algorithm 1 (line 43) takes the last step: that would cost a sampling of every clip in every iteration.

        Args:
            x: Scaled states (b, m, clip_length, 3, H, W).
            t: Steps (b, m).
            lq: LR frames (b, m, clip_length, 3, h, w).
            base: (b, m, clip_length, 3, H, W).
            priors: Of each of the m clips.
            with_memory: Read and update the memory; False leaves it out.

        Returns:
            Predictions (b, m, clip_length, 3, H, W).
        """
        memory = self.initial_memory(x.size(0)) if with_memory else None
        results = []
        for k in range(x.size(1)):
            condition = self.condition(lq[:, k], None if priors is None else priors[k], memory)
            predicted, features = self.denoise(x[:, k], t[:, k], base[:, k], condition)
            results.append(predicted)
            if memory is not None and k + 1 < x.size(1):
                state = memory if k == 0 else memory.detach()
                memory = self.update_memory(state, [level.detach() for level in features])
        return torch.stack(results, dim=1)

    # -------------------------------------------------------------------------------------------------- details

    def _guided(self) -> list[GuidedStage]:
        """The stages of middle and decoder."""
        return [cast(GuidedStage, stage) for stage in (*self.middle, *self.decoder)]

    def _levels(self) -> list[int]:
        """Level of every stage of middle and decoder; 0 has the size of the LR frame."""
        top = _LEVELS - 1
        return [*[top] * _MIDDLE, *range(top - 1, -1, -1), 0]

    def _checked(self, lq: torch.Tensor, priors: SemanticPriors) -> dict[str, torch.Tensor]:
        """The fields that the network takes, or zeros in their place where that is allowed."""
        b, t, _, h, w = lq.shape
        shapes = {
            'frame_tokens': (b, t, self.num_tokens, self.token_dims['frame_tokens']),
            'pixel_features': (b, t, self.token_dims['pixel_features'], max(h // 4, 1), max(w // 4, 1)),
        }
        missing = [name for name in self.prior_fields if getattr(priors, name) is None]
        if missing and self.missing_priors != 'neutral':
            raise MissingError(
                f'SeeClear needs {", ".join(missing)} with the frames. Give them, or build the network with '
                "missing_priors='neutral' to go on without any.",
                'features',
            )
        found = {}
        for name in self.prior_fields:
            value, shape = getattr(priors, name), shapes[name]
            value = lq.new_zeros(shape) if value is None else value.to(lq.dtype)
            few = name == 'frame_tokens' and value.size(2) < shape[2]
            width = value.size(-1 if name == 'frame_tokens' else 2)
            if value.shape[:2] != (b, t) or few or width != self.token_dims[name]:
                wanted = '(b, T, at least {}, {})' if name == 'frame_tokens' else '(b, T, {}, any, any)'
                sizes = shape[2:4] if name == 'frame_tokens' else shape[2:3]
                raise ValueError(
                    f'The {name} for SeeClear have shape {tuple(value.shape)}; for this network and {b} clips of {t} '
                    f'frames it is {wanted.format(*sizes)}.'
                )
            found[name] = value
        return found
