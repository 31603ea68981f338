"""Frames and masks as SEEM networks receive them: two arguments, or one tensor with the masks as further channels."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from ...priors import SemanticPriors

MissingPriors = Literal['error', 'neutral']


def check_missing_priors(missing_priors: str) -> None:
    """Refuse anything but 'error' and 'neutral'.

    Raises:
        ValueError: Another value.
    """
    if missing_priors not in get_args(MissingPriors):
        raise ValueError(f"missing_priors is 'error' or 'neutral', not {missing_priors!r}.")


def masks_of(priors: SemanticPriors | torch.Tensor | None) -> torch.Tensor | None:
    """The masks, however they were given."""
    return priors.masks if isinstance(priors, SemanticPriors) else priors


def split_channels(
    lq: torch.Tensor, masks: torch.Tensor | None, frame_channels: int, network: str
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Separate masks that ride as further channels of the frames; nothing is copied.

    Args:
        lq: Frames (b, t, c, h, w), or frames and masks (b, t, c + n, h, w).
        masks: Masks given as a separate tensor, or None.
        frame_channels: Channels c of a frame.
        network: Name of the network, for messages.

    Returns:
        Frames (b, t, c, h, w) and masks, None if there are none.

    Raises:
        ValueError: Frames that are not five-dimensional or empty, too few channels, or masks given in both ways.
    """
    if lq.dim() != 5 or 0 in lq.shape:
        raise ValueError(
            f'{network} takes frames of shape (batch, frames, {frame_channels}, height, width); these have '
            f'{tuple(lq.shape)}.'
        )
    channels = lq.size(2)
    if channels < frame_channels:
        raise ValueError(f'{network} takes frames of {frame_channels} channels; these have {channels}.')
    if channels == frame_channels:
        return lq, masks
    if masks is not None:
        raise ValueError(
            f'{network} got {channels} channels a frame and separate masks. Give the masks once: as second '
            f'argument, with frames of {frame_channels} channels, or as channels behind those of the frame.'
        )
    return lq[:, :, :frame_channels], lq[:, :, frame_channels:]


def check_masks(
    masks: torch.Tensor | None, expected: tuple[int, ...], missing_priors: MissingPriors, network: str
) -> None:
    """Accept masks or say what is wrong with them.

    Args:
        masks: Masks as given; None is accepted where ``missing_priors`` is 'neutral'.
        expected: The shape they must have, (b, t, num_masks, h, w) or (b, num_masks, h, w).
        missing_priors: What having no masks means.
        network: Name of the network, for messages.

    Raises:
        ValueError: No masks where they are needed, or another shape.
    """
    if masks is None:
        if missing_priors == 'error':
            raise ValueError(
                f'{network} needs masks with the frames, of shape {expected}, and got none. Give them as second '
                "argument, or build the network with missing_priors='neutral' to go on without any."
            )
    elif tuple(masks.shape) != expected:
        frames = ('frames',) if len(expected) == 5 else ()
        names = ('batch', *frames, 'num_masks', 'height', 'width')
        if masks.dim() == len(expected):
            pairs = zip(names, masks.shape, expected, strict=True)
            wrong = ', '.join(f'{name} is {is_} instead of {wanted}' for name, is_, wanted in pairs if is_ != wanted)
        else:
            wrong = f'they have {masks.dim()} dimensions instead of {len(expected)}'
        raise ValueError(
            f'The masks for {network} have shape {tuple(masks.shape)}; for these frames it is {expected}, '
            f'({", ".join(names)}): {wrong}.'
        )
