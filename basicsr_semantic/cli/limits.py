"""``--max-megapixels``, of every verb that decodes frames."""

from __future__ import annotations

import argparse

from ..utils.errors import UserError
from ..utils.limits import MAX_MEGAPIXELS


def add_max_megapixels(parser: argparse.ArgumentParser, fate: str) -> None:
    """Add the argument; ``fate`` is what becomes of larger frames."""
    text = f'frames with more megapixels, by their headers, are {fate} (default: %(default)s)'
    parser.add_argument('--max-megapixels', type=float, default=MAX_MEGAPIXELS, metavar='N', help=text)


def check_max_megapixels(args: argparse.Namespace) -> None:
    """Look at what was given.

    Raises:
        UserError: It is 0, negative or no number.
    """
    if not args.max_megapixels > 0:
        raise UserError(f'--max-megapixels is {args.max_megapixels:g}; it must be more than 0.')
