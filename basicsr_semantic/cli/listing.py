"""Names with what they are, in columns, for the end of a help text."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping


def width() -> int:
    """Columns of text, as argparse counts them."""
    return max(shutil.get_terminal_size().columns - 2, 40)


def listing(summaries: Mapping[str, str]) -> str:
    """Extractors, one after the other.

    Args:
        summaries: Name -> what it is, in a line.
    """
    column = max(map(len, summaries)) + 4
    lines = ['extractors, each with flags of its own (basicsr extract --extractor NAME --help):']
    for name, summary in summaries.items():
        lines.append(textwrap.fill(f'  {name:<{column - 2}}{summary}', width(), subsequent_indent=' ' * column))
    return '\n'.join(lines)
