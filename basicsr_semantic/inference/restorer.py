"""Any network as one that restores whole clips, whether it takes clips, windows, single frames, or noise as well."""

from __future__ import annotations

from typing import Any

import torch
from basicsr.data.data_util import generate_frame_indices
from torch import nn

from ..archs.seeclear_arch import SeeClear
from ..archs.semantic_arch import SemanticArch, arch_of
from ..diffusion import BlurringResShift
from ..models.base_upsamplers import BicubicUpsampler, NetworkUpsampler
from ..models.padding import run_padded
from ..models.seeclear_sampling import sample_video
from ..models.semantic_source import check_token_widths
from ..priors import SemanticPriors
from ..utils.errors import UserError


class Restorer(nn.Module):
    """A trained network as a function of clips: frames of any size and number in, the same number of frames out.

    The frames are padded to a size that the network accepts, and the result is cropped. A network that restores the
    middle of a window gets a window around every frame. At the ends of the clip it is reflected, as in BasicSR's tests;
    where the clip is too short for that, the first and last frame are repeated.

    Args:
        net: The network; it is put into evaluation mode, and its parameters get no gradients.
        single_frames: Whether it takes frames (b, 3, h, w) one by one, not clips.
        prior_kind: Extractor of the priors that it was trained with, ``sam`` for example; None: unknown, or none.
        description: What its checkpoint says about it, see `basicsr_semantic.engine.network_record`.

    Attributes:
        net: The network.
        prior_fields: Fields of `SemanticPriors` that it reads; empty for one that takes frames alone.
        scale: How many times it enlarges; None where neither network nor checkpoint says so.
        prior_kind: As given.
        description: As given.
    """

    arch: SemanticArch

    def __init__(
        self,
        net: nn.Module,
        *,
        single_frames: bool = False,
        prior_kind: str | None = None,
        description: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.description = dict(description or {})
        vars(self)['arch'] = arch_of(net)  # no module of its own: its weights are those of net
        self.prior_fields = self.arch.prior_fields
        self.scale = self.arch.scale if self.arch.scale is not None else self.description.get('scale')
        self.prior_kind = prior_kind
        self.single_frames = single_frames
        self.requires_grad_(False).eval()

    def forward(self, frames: torch.Tensor, priors: SemanticPriors | None = None) -> torch.Tensor:
        """Restore clips.

        Args:
            frames: LR frames (b, t, 3, h, w), RGB in [0, 1], of any floating-point type.
            priors: What is known of them, on any device; the masks have their size. None for a network that takes
                frames alone, or one that was built with ``missing_priors: neutral``.

        Returns:
            (b, t, 3, H, W) float32, RGB; as the network makes them, so some values may be slightly outside of [0, 1].

        Raises:
            UserError: Frames of another shape, priors that are missing or of another kind or width than those of
                training, or masks with other values than 0 and 1.
        """
        priors = self._check(frames, priors)
        return self._restore(self._as_weights(frames), priors).float()

    def _as_weights(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames in the type of the weights, which may be half or double."""
        return frames.to(next(self.net.parameters(), frames).dtype)

    def _restore(self, frames: torch.Tensor, priors: SemanticPriors) -> torch.Tensor:
        if self.single_frames:
            return run_padded(self.net, (frames.flatten(0, 1),), self.arch.size_requirements).unflatten(
                0, frames.shape[:2]
            )
        if self.arch.num_frame is None:
            return self._run(frames, priors)
        windows = [_window(k, frames.size(1), self.arch.num_frame) for k in range(frames.size(1))]
        return torch.stack([self._run(frames[:, window], priors.frames(window)) for window in windows], dim=1)

    def _run(self, frames: torch.Tensor, priors: SemanticPriors) -> torch.Tensor:
        return run_padded(self.net, self.arch.inputs(frames, priors), self.arch.size_requirements)

    def check_kind(self, kind: str | None) -> None:
        """Whether priors of a kind mean anything to the network.

        Raises:
            UserError: It was trained with those of another.
        """
        if kind is not None and self.prior_kind is not None and kind != self.prior_kind:
            raise UserError(
                f'{type(self.net).__name__} was trained with priors of kind {self.prior_kind!r}; these are {kind!r}. '
                'One kind means nothing to a network that has learnt from the other: give priors of its kind.'
            )

    def _check(self, frames: torch.Tensor, priors: SemanticPriors | None) -> SemanticPriors:
        name = type(self.net).__name__
        if not isinstance(frames, torch.Tensor):
            raise UserError(f'Frames are a tensor (b, t, 3, h, w), not {type(frames).__name__}.')
        if priors is not None and not isinstance(priors, SemanticPriors):
            raise UserError(f'Priors are SemanticPriors(masks=...), for example, not {type(priors).__name__}.')
        if frames.dim() != 5 or frames.size(2) != 3 or not frames.is_floating_point() or not frames.numel():
            raise UserError(
                f'Frames are (b, t, 3, h, w), floating point in [0, 1], not {tuple(frames.shape)} of {frames.dtype}.'
            )
        given = SemanticPriors() if priors is None else priors
        missing = [field for field in self.prior_fields if getattr(given, field) is None]
        if missing and self.arch.missing_priors != 'neutral':
            kind = f', of kind {self.prior_kind!r}' if self.prior_kind else ''
            raise UserError(
                f'{name} was trained with {" and ".join(missing)}{kind}, which are not given. Give '
                f"priors=SemanticPriors({missing[0]}=...), or load it with missing_priors='neutral' to go on without."
            )
        self.check_kind(given.kind)
        if given.masks is not None and given.masks.numel() and int(given.masks.max()) > 1:
            raise UserError(f'Masks are 0 and 1; the largest value of these is {int(given.masks.max())}.')
        check_token_widths(self.net, given.present())
        return given.to(frames.device)


class SeeClearRestorer(Restorer):
    """SeeClear with what its sampling needs: the diffusion, and what makes the frames that it starts from.

    Args:
        net: The network.
        diffusion: The process that it was trained with.
        upsample: Makes the base.
        with_memory: Whether its memory of textures has been trained.
        kwargs: See :class:`Restorer`.
    """

    net: SeeClear

    def __init__(
        self,
        net: SeeClear,
        diffusion: BlurringResShift,
        upsample: BicubicUpsampler | NetworkUpsampler,
        with_memory: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(net, **kwargs)
        self.diffusion, self.upsample, self.with_memory = diffusion, upsample.eval(), with_memory
        self.requires_grad_(False)

    def forward(
        self,
        frames: torch.Tensor,
        priors: SemanticPriors | None = None,
        *,
        names: list[str] | None = None,
        seed: int = 0,
        steps: int | None = None,
    ) -> torch.Tensor:
        """Sample clips; see :meth:`Restorer.forward`.

        Args:
            frames: LR frames (b, t, 3, h, w), RGB in [0, 1].
            priors: Those of the whole frames.
            names: Names of the b clips, from which their noise follows, as in a test; '0', '1', ... by default.
            seed: Seed of the noise.
            steps: Steps of sampling; None: those of training.

        Returns:
            (b, t, 3, H, W) float32, RGB.
        """
        given = self._check(frames, priors).chunk(len(frames))
        frames = self._as_weights(frames)
        process = self.diffusion.with_steps(steps or self.diffusion.steps)
        base = self.upsample(frames)
        names = [str(k) for k in range(len(frames))] if names is None else names
        restored = [
            sample_video(
                self.net,
                process,
                frames[k],
                base[k],
                given[k] if given[k].present() else None,
                name,
                seed,
                with_memory=self.with_memory,
            )
            for k, name in enumerate(names)
        ]
        return torch.stack(restored).float()


def _window(centre: int, length: int, count: int) -> list[int]:
    """Positions of the frames of a window; BasicSR's reflection needs as many frames as a window has."""
    padding = 'reflection_circle' if length >= count else 'replicate'
    return generate_frame_indices(centre, length, count, padding)
