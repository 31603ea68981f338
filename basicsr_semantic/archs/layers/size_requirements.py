"""What frame sizes a network accepts, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SizeRequirements:
    """LR frame sizes, in pixels, that a network accepts; callers pad to them and crop the result back.

    Attributes:
        minimum: Smallest height and width.
        multiple_of: Height and width must be multiples of this.
    """

    minimum: int = 1
    multiple_of: int = 1

    def check(self, height: int, width: int, network: str) -> None:
        """Accept a frame size or say what is wrong with it.

        Args:
            height: LR height in pixels.
            width: LR width in pixels.
            network: Name of the network, for the message.

        Raises:
            ValueError: The size is too small or not a multiple.
        """
        if min(height, width) < self.minimum:
            raise ValueError(
                f'{network} needs frames of at least {self.minimum}x{self.minimum} LR pixels; these are '
                f'{height}x{width}. Pad them and crop the result.'
            )
        if height % self.multiple_of or width % self.multiple_of:
            raise ValueError(
                f'{network} needs a height and a width that are multiples of {self.multiple_of}; these frames are '
                f'{height}x{width}. Pad them and crop the result.'
            )


_OF_BASICSR = {
    'BasicVSR': SizeRequirements(minimum=33),  # SPyNet's coarsest level vanishes at 32 pixels
    'IconVSR': SizeRequirements(minimum=33),
    'BasicVSRPlusPlus': SizeRequirements(minimum=64),  # it asserts so
    'EDVR': SizeRequirements(minimum=4, multiple_of=4),
}
"""What networks of BasicSR's accept, which cannot say it themselves."""


def size_requirements_of(net: object) -> SizeRequirements:
    """What a network accepts: its own ``size_requirements``, those of BasicSR's class that it is, or no demand."""
    own = getattr(net, 'size_requirements', None)
    if isinstance(own, SizeRequirements):
        return own
    names = [cls.__name__ for cls in type(net).__mro__ if cls.__module__.startswith('basicsr.')]
    found = next((_OF_BASICSR[name] for name in names if name in _OF_BASICSR), SizeRequirements())
    # its frames are as large as GT, whatever the scale
    return SizeRequirements(16, 16) if getattr(net, 'hr_in', False) else found


def wrong_scale(net: Any, scale: Any) -> str | None:
    """A sentence, if a network enlarges by another factor than that of the data; either may say nothing."""
    own = getattr(net, 'scale', None)
    if isinstance(own, int) and isinstance(scale, int) and own != scale:
        return f'{type(net).__name__} enlarges {own} times, but scale is {scale}.'
    return None
