"""A made-up vocabulary of byte pairs in the files of CLIP's tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

MERGES = ('d o', 'do g</w>', 'p h', 'ph o', 't o</w>', 'pho to</w>', 'o f</w>', 'a n', 'd a</w>', 'p an', 'pan da</w>')


def write_vocabulary(folder: Path) -> list[str]:
    """Write vocab.json and merges.txt; the tokens in the order of their ids."""
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(letter + '</w>' for letter in letters), *(merge.replace(' ', '') for merge in MERGES)]
    tokens += ['<|startoftext|>', '<|endoftext|>']
    folder.mkdir(exist_ok=True)
    (folder / 'vocab.json').write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / 'merges.txt').write_text('\n'.join(('#version: 0.2', *MERGES)) + '\n')
    return tokens
