"""CLIP's byte-pair tokenizer from vocabulary files that the user names; nothing is downloaded."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...utils.errors import UserError
from .text import Tokenize

START, END = '<|startoftext|>', '<|endoftext|>'
#: Words, single digits and runs of other signs; an apostrophe's ending is a word of its own.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clip_tokenizer(folder: str | os.PathLike[str], context: int = 77) -> Tokenize:
    """The tokenizer of CLIP's text encoder.

    Args:
        folder: Folder with ``vocab.json`` and ``merges.txt``, as published with CLIP ViT-B/32.
        context: Longest text in tokens; longer ones lose their end.

    Returns:
        A function from texts to token ids (n, length) int64, as :data:`~.text.Tokenize` says.

    Raises:
        UserError: The files are missing or damaged, or the package ``tokenizers`` is not installed.
    """
    tokenizer = _build(Path(folder))
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    if end is None or start is None or end != tokenizer.get_vocab_size() - 1:
        raise UserError(
            f"{Path(folder) / 'vocab.json'} is not CLIP's vocabulary: {START} and {END} must be in it, the latter as "
            'the last of all.'
        )

    def tokenize(texts: Sequence[str]) -> torch.Tensor:
        rows = [encoded.ids[: context - 2] for encoded in tokenizer.encode_batch(list(texts))]
        length = max(map(len, rows), default=0) + 2
        return torch.tensor([[start, *row, *[end] * (length - 1 - len(row))] for row in rows])

    return tokenize


def _build(folder: Path) -> Any:
    vocabulary, merges = folder / 'vocab.json', folder / 'merges.txt'
    for file in (vocabulary, merges):
        if not file.is_file():
            raise UserError(
                f"The tokenizer's file {file} does not exist. Name the folder with vocab.json and merges.txt of CLIP "
                'ViT-B/32.'
            )
    try:
        import tokenizers  # pyright: ignore[reportMissingImports]
        from tokenizers import models, normalizers, pre_tokenizers  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            'Reading class names needs the package tokenizers. Install it with: pip install tokenizers'
        ) from error
    try:
        # read here, because the package takes a byte order mark for a part of the first line
        ids = json.loads(vocabulary.read_text(encoding='utf-8-sig'))
        lines = merges.read_text(encoding='utf-8-sig').split('\n')
        pairs: Any = [tuple(line.split()) for line in lines if line.strip() and not line.startswith('#version')]
        model = models.BPE(ids, pairs, unk_token=END, continuing_subword_prefix='', end_of_word_suffix='</w>')
    except Exception as error:  # the package raises bare Exceptions
        raise UserError(f'{vocabulary} and {merges} cannot be read as a vocabulary of byte pairs: {error}') from error
    tokenizer = tokenizers.Tokenizer(model)
    spaces = normalizers.Replace(tokenizers.Regex(r'\s+'), ' ')
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    words = pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior='removed', invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer
