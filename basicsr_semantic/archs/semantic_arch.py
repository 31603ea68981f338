"""The contract of a network: what it takes and what it is, as attributes and one call.

Networks of ours are `SemanticArch`; those of BasicSR and of other projects are described by `arch_of`, so that no other
code has to find out which attributes a network has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..priors import SemanticPriors
from ..utils.signatures import constructor_arguments
from .layers.mask_input import MissingPriors
from .layers.size_requirements import SizeRequirements

NONE: Mapping[str, int] = MappingProxyType({})


class SemanticArch:
    """Mixed into a network's class; the attributes may be set by the class or by its constructor.

    ``forward(lq, priors)`` takes LR frames (b, t, 3, h, w), RGB in [0, 1], and a `SemanticPriors` or None, and gives HR
    frames: (b, t, 3, H, W), or (b, 3, H, W) where it restores the middle of a window.
    """

    prior_fields: tuple[str, ...] = ()
    """Fields of `SemanticPriors` that the network reads; empty for one that takes frames alone."""
    scale: int | None = None
    """How many times it enlarges; None where it does not say."""
    size_requirements: SizeRequirements = SizeRequirements()
    """LR sizes that it accepts; callers pad to them and crop the result."""
    adapter_prefixes: tuple[str, ...] = ()
    """How the names of the modules begin that it adds to a base network; empty where it adds none."""
    missing_priors: MissingPriors = 'error'
    """What missing priors mean: an error, or 'neutral', as if nothing were known."""
    num_frame: int | None = None
    """Frames of the window whose middle it restores; None for one that restores clips of any length."""
    num_masks: int | None = None
    """Masks a frame that it takes; None for any number."""
    token_dims: Mapping[str, int] = NONE
    """Width of the tokens and features that it takes, by field of `SemanticPriors`."""

    if TYPE_CHECKING:

        def forward(self, lq: torch.Tensor, priors: SemanticPriors | None = None) -> torch.Tensor: ...

    def filter_checkpoint(self, state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
        """Leave out what checkpoints hold and the network does not use.

        Args:
            state: A state dict as it was saved.

        Returns:
            The state dict to load, and the keys that were left out, which count as known.
        """
        return dict(state), []

    def without_priors(self, priors: SemanticPriors, clips: torch.Tensor) -> SemanticPriors:
        """The priors of a batch, those of some clips replaced by neutral ones.

        ``forward`` restores such a clip as it would with ``missing_priors='neutral'`` and no priors at all, and the
        others as before; fields that are None stay so. Zeros say nothing here: no masks, no tokens, no features. A
        network to which something else says nothing overrides this method.

        Args:
            priors: Priors of b clips; not changed.
            clips: (b,) bool, on the device of the priors: True for a clip about which nothing is to be known.
        """
        silent = {
            name: value.masked_fill(clips.view(-1, *[1] * (value.dim() - 1)), 0)
            for name, value in priors.present().items()
        }
        return replace(priors, **silent)

    def inputs(self, lq: torch.Tensor, priors: SemanticPriors, divisible: bool = False) -> tuple[Any, ...]:
        """The arguments of the network for a batch.

        Args:
            lq: LR frames (b, t, 3, h, w).
            priors: What is known of them.
            divisible: Give tensors, which DataParallel can divide, not an object. Only for networks that take masks
                alone.
        """
        if not self.prior_fields:
            return (lq,)
        if divisible:
            return (lq,) if priors.masks is None else (lq, priors.masks)
        return lq, priors


class ForeignArch(SemanticArch):
    """The description of a network that is not a `SemanticArch`.

    Args:
        net: The network. Attributes of the contract that it has are taken as they are. With ``prior_fields`` it gets
            each field as an argument of its own after the frames, unless ``takes_priors_object`` is true.
    """

    def __init__(self, net: nn.Module) -> None:
        scale, own = getattr(net, 'scale', None), getattr(net, 'size_requirements', None)
        masks = getattr(net, 'num_masks', None)
        self.prior_fields = tuple(getattr(net, 'prior_fields', ()))
        self.scale = scale if isinstance(scale, int) else None
        self.size_requirements = own if isinstance(own, SizeRequirements) else _sizes_of_basicsr(net)
        self.adapter_prefixes = tuple(getattr(net, 'adapter_prefixes', ()))
        self.missing_priors = 'neutral' if getattr(net, 'missing_priors', 'error') == 'neutral' else 'error'
        self.num_frame = _window_of_basicsr(net)
        self.num_masks = masks if isinstance(masks, int) else None
        self.token_dims = getattr(net, 'token_dims', NONE)
        self._filter = getattr(net, 'filter_checkpoint', None)
        self._without = getattr(net, 'without_priors', None)
        self._takes_object = bool(getattr(net, 'takes_priors_object', False))

    def filter_checkpoint(self, state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
        return super().filter_checkpoint(state) if self._filter is None else self._filter(state)

    def without_priors(self, priors: SemanticPriors, clips: torch.Tensor) -> SemanticPriors:
        return super().without_priors(priors, clips) if self._without is None else self._without(priors, clips)

    def inputs(self, lq: torch.Tensor, priors: SemanticPriors, divisible: bool = False) -> tuple[Any, ...]:
        if self._takes_object:
            return super().inputs(lq, priors, divisible)
        values = [getattr(priors, field) for field in self.prior_fields]
        return (lq, *(value for value in values if value is not None))


def arch_of(net: nn.Module) -> SemanticArch:
    """The contract of a bare network, not wrapped: itself, or a description of it."""
    return net if isinstance(net, SemanticArch) else ForeignArch(net)


def restores_images(net: nn.Module) -> bool:
    """Whether a network is one of BasicSR's for single images (b, 3, h, w), which has no time axis."""
    bases = _bases_of_basicsr(net)
    return bool(bases) and not _VIDEO_OF_BASICSR & set(bases)


def wrong_scale(net: nn.Module, scale: Any, section: str = 'network_g') -> str | None:
    """What is wrong if a network enlarges by another factor than that of the data; either may be unknown.

    Args:
        net: The network.
        scale: That of the data.
        section: Where the arguments of the network are.

    Returns:
        A sentence, and what to set: the argument of the network where its constructor has one; None if all is well.
    """
    own, name = arch_of(net).scale, type(net).__name__
    if own is None or not isinstance(scale, int) or own == scale:
        return None
    message = f'{name} enlarges {own} times, but scale is {scale}.'
    taken, takes_more = constructor_arguments(type(net))
    argument = next((one for one in _SCALE_ARGUMENTS if one in taken), None)
    if argument is not None:
        return f'{message} Set {section}:{argument}: {scale}, or scale: {own}.'
    return message if takes_more else f'{message} {name} has no argument for another factor: set scale: {own}.'


_SCALE_ARGUMENTS = ('upscale', 'scale', 'upscale_factor', 'scale_factor')
"""What constructors call the factor by which they enlarge."""
_OF_BASICSR = {
    'BasicVSR': SizeRequirements(minimum=33),  # SPyNet's coarsest level vanishes at 32 pixels
    'IconVSR': SizeRequirements(minimum=33),
    'BasicVSRPlusPlus': SizeRequirements(minimum=64),  # it asserts so
    'EDVR': SizeRequirements(minimum=4, multiple_of=4),
}
"""What networks of BasicSR's accept, which cannot say it themselves."""
_WINDOWS_OF_BASICSR = {'DUF': 7, 'TOFlow': 7}
_VIDEO_OF_BASICSR = {*_OF_BASICSR, *_WINDOWS_OF_BASICSR}


def _bases_of_basicsr(net: nn.Module) -> list[str]:
    return [cls.__name__ for cls in type(net).__mro__ if cls.__module__.startswith('basicsr.')]


def _window_of_basicsr(net: nn.Module) -> int | None:
    """Frames of its window; EDVR keeps their number in the weights of its fusion alone."""
    bases = _bases_of_basicsr(net)
    fixed = next((_WINDOWS_OF_BASICSR[name] for name in bases if name in _WINDOWS_OF_BASICSR), None)
    if fixed is not None:
        return fixed
    fusion = getattr(net, 'fusion', None) if 'EDVR' in bases else None
    weights = getattr(fusion, 'feat_fusion', fusion)
    return weights.in_channels // weights.out_channels if isinstance(weights, nn.Conv2d) else None


def _sizes_of_basicsr(net: nn.Module) -> SizeRequirements:
    window = getattr(net, 'window_size', None) if 'SwinIR' in _bases_of_basicsr(net) else None
    if isinstance(window, int):
        return SizeRequirements(window, window)
    found = next((_OF_BASICSR[name] for name in _bases_of_basicsr(net) if name in _OF_BASICSR), SizeRequirements())
    # its frames are as large as GT, whatever the scale
    return SizeRequirements(16, 16) if getattr(net, 'hr_in', False) else found
