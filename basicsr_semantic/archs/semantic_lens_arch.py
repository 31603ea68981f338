"""The Pixel Enhancer of Semantic Lens ("Instance-Centric Semantic Alignment for Video Super-Resolution", AAAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from ..priors import SemanticPriors
from ..utils.errors import MissingError
from .layers.image_alignment import ImageAlignment, ImageStart, instance_labels
from .layers.mask_input import MissingPriors, check_missing_priors
from .layers.mfsa import run
from .layers.recurrent_enhancer import BRANCHES, RecurrentEnhancer, Step, check_clip
from .layers.size_requirements import SizeRequirements
from .layers.space import SpaceBlock, TokenCompression
from .semantic_arch import SemanticArch


@dataclass
class _Guide:
    """Priors of a clip as the network uses them; None where a part is switched off.

    Attributes:
        global_tokens: (b, t, c).
        instance_tokens: (b, n, c).
        labels: (b, t, words, h, w), see :func:`instance_labels`.
    """

    global_tokens: torch.Tensor | None
    instance_tokens: torch.Tensor | None
    labels: torch.Tensor | None


@ARCH_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class SemanticLens(RecurrentEnhancer, SemanticArch):
    """PSRT's recurrent transformer without optical flow, guided by the instances and scenes of the clip.

    In each step of a branch, IMAGE aligns the propagated features to the current frame within the same instances; then
    SPACE embeds global tokens (GPS) and instance tokens (ISEE) before each group of self-attention blocks. SPACE starts
    as the identity. Weights of PSRT fit the shared part: set ``strict_load_g: false``.

    Args:
        mid_channels: Channels at the LR size behind the branches.
        embed_dim: Channels of the propagated features.
        depths: Swin blocks of each group of a branch.
        num_heads: Heads of each group; the first also counts for ISEE and IMAGE.
        window_size: Frames, rows and columns of a window; 3 frames.
        mlp_ratio: Hidden channels of the MLPs, in units of ``embed_dim``.
        drop_path_rate: Probability of leaving out a branch's last block in training; it grows linearly from the first.
        gps: Modulate features by the global token of their frame.
        isee: Let pixels attend to instance tokens.
        image: Align propagated features by masked attention; False passes them on as they are.
        isee_residual: Add ISEE's result to the features; False is Eq. 11 of the paper as printed.
        isee_nothing: Let pixels attend to a zero token, too; False is Eq. 10 as printed.
        image_window: Rows and columns of IMAGE's window: 5, 7, 9 or 11.
        image_start: Start IMAGE's projections as 'identity', or 'random' as any linear layer.
        token_dim: Channels of the instance tokens.
        global_dim: Channels of the global tokens.
        upscale: 2, 3 or 4.
        cpu_cache_length: Clips of more frames than this keep propagated features in main memory instead of the GPU's.
        checkpointing: Work blocks out again in the backward pass instead of keeping what they need for it.
        missing_priors: Without priors, raise an error or go on with zero tokens and one background ('neutral').

    Raises:
        ValueError: Arguments out of range.
    """

    prior_fields: tuple[str, ...] = ('masks', 'global_tokens', 'instance_tokens')
    size_requirements = SizeRequirements()
    scale = 4

    def __init__(
        self,
        *,
        mid_channels: int = 64,
        embed_dim: int = 120,
        depths: Sequence[int] = (6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6),
        window_size: Sequence[int] = (3, 8, 8),
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.1,
        gps: bool = True,
        isee: bool = True,
        image: bool = True,
        isee_residual: bool = True,
        isee_nothing: bool = False,
        image_window: int = 9,
        image_start: ImageStart = 'random',
        token_dim: int = 512,
        global_dim: int = 512,
        upscale: int = 4,
        cpu_cache_length: int = 100,
        checkpointing: bool = False,
        missing_priors: MissingPriors = 'error',
    ) -> None:
        check_missing_priors(missing_priors)
        super().__init__(
            mid_channels=mid_channels,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            window_size=window_size,
            mlp_ratio=mlp_ratio,
            drop_path_rate=drop_path_rate,
            upscale=upscale,
            cpu_cache_length=cpu_cache_length,
            checkpointing=checkpointing,
        )
        self.missing_priors: MissingPriors = missing_priors
        used = {'masks': image, 'global_tokens': gps, 'instance_tokens': isee}
        self.prior_fields = tuple(name for name, needed in used.items() if needed)
        self.token_dims = {'global_tokens': global_dim, 'instance_tokens': token_dim}
        heads = num_heads[0]
        self.compress_global = TokenCompression(global_dim, embed_dim) if gps else None
        self.compress_instance = TokenCompression(token_dim, embed_dim) if isee else None
        self.image = self.space = None
        if image:
            self.image = nn.ModuleDict(
                {name: ImageAlignment(embed_dim, image_window, heads, image_start) for name in BRANCHES}
            )
        if gps or isee:
            options = {'residual': isee_residual, 'nothing': isee_nothing}
            self.space = nn.ModuleDict(
                {
                    name: nn.ModuleList(SpaceBlock(embed_dim, gps, isee, heads, **options) for _ in depths)
                    for name in BRANCHES
                }
            )

    def forward(self, lq: torch.Tensor, priors: SemanticPriors | None = None) -> torch.Tensor:
        """Restore a clip.

        Args:
            lq: LR frames (b, t, 3, h, w), RGB in [0, 1].
            priors: What ``prior_fields`` names: masks (b, t, I, h, w) uint8, one instance a channel through the clip;
                global tokens (b, t, global_dim); instance tokens (b, N, token_dim). No instances, I = 0 or N = 0, is a
                clip of background.

        Returns:
            HR frames (b, t, 3, upscale * h, upscale * w).

        Raises:
            ValueError: Wrong shapes, or no priors where they are needed.
        """
        check_clip(lq, type(self).__name__)
        guide = self._guide(lq, priors or SemanticPriors())
        embed = None if self.space is None else partial(self._embed, guide)
        return self.enhance(lq, partial(self._align, guide), embed)

    def _guide(self, lq: torch.Tensor, priors: SemanticPriors) -> _Guide:
        """Check the priors, fill in neutral ones where that is allowed, and compress the tokens."""
        given = {name: getattr(priors, name) for name in self.prior_fields}
        missing = [name for name, value in given.items() if value is None]
        if missing and self.missing_priors != 'neutral':
            raise MissingError(
                f'{type(self).__name__} needs {", ".join(missing)} with the frames. Give them, or build the network '
                "with missing_priors='neutral' to go on without any.",
                'tokens',
            )
        b, t, _, h, w = lq.shape
        neutral = {
            'masks': lambda: torch.zeros(b, t, 0, h, w, dtype=torch.uint8, device=lq.device),
            'global_tokens': lambda: lq.new_zeros(b, t, self.token_dims['global_tokens']),
            'instance_tokens': lambda: lq.new_zeros(b, 1, self.token_dims['instance_tokens']),
        }
        used = {name: neutral[name]() if value is None else value for name, value in given.items()}
        self._check(used, (b, t, h, w))
        labels = instances = scenes = None
        if 'masks' in used:
            labels = instance_labels(used['masks'].flatten(0, 1)).unflatten(0, (b, t))
        if self.compress_global is not None:
            scenes = self.compress_global(used['global_tokens'].to(lq.dtype))
        if self.compress_instance is not None:
            tokens = used['instance_tokens']
            instances = self.compress_instance(
                (tokens if tokens.size(1) else neutral['instance_tokens']()).to(lq.dtype)
            )
        return _Guide(scenes, instances, labels)

    def _check(self, used: dict[str, torch.Tensor], sizes: tuple[int, int, int, int]) -> None:
        b, t, h, w = sizes
        for name, value in used.items():
            wanted = {
                'masks': (b, t, 'I', h, w),
                'global_tokens': (b, t, self.token_dims['global_tokens']),
                'instance_tokens': (b, 'N', self.token_dims['instance_tokens']),
            }[name]
            fits = value.dim() == len(wanted) and all(
                isinstance(want, str) or size == want for size, want in zip(value.shape, wanted, strict=True)
            )
            if not fits:
                raise ValueError(
                    f'The {name} for {type(self).__name__} have shape {tuple(value.shape)}; for these frames and this '
                    f'network it is ({", ".join(map(str, wanted))}).'
                )

    def _align(
        self, guide: _Guide, step: Step, current: torch.Tensor, first: torch.Tensor, second: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Align both propagated features to the current frame."""
        if self.image is None:
            return first, second
        labels, image = guide.labels, self.image[step.branch]
        assert labels is not None and step.first is not None
        aligned = image(current, first, labels[:, step.frame], labels[:, step.first])
        if second is None or step.second is None:
            return aligned, None
        return aligned, image(current, second, labels[:, step.frame], labels[:, step.second])

    def _embed(self, guide: _Guide, step: Step, k: int, x: torch.Tensor) -> torch.Tensor:
        """Embed the tokens in the three slots; each gets the global token of the frame it came from."""
        assert self.space is not None
        block = self.space[step.branch][k]  # pyright: ignore[reportIndexIssue]
        tokens = None if guide.global_tokens is None else guide.global_tokens[:, list(step.sources)]
        return run(block, x, tokens, guide.instance_tokens, checkpointing=self.checkpointing)
