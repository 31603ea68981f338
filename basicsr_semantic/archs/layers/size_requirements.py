"""What frame sizes a network accepts, as data."""

from __future__ import annotations

from dataclasses import dataclass


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
