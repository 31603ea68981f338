"""CLIP's tokenizer with a made-up vocabulary, and what is said when a file or the package is missing."""

from __future__ import annotations

import json
import sys

import pytest
from helpers.vocabulary import write_vocabulary

from basicsr_semantic.extractors.xdecoder.clip_tokenizer import clip_tokenizer
from basicsr_semantic.utils.errors import UserError


def test_texts_become_tokens(tmp_path):
    pytest.importorskip('tokenizers')
    tokens = write_vocabulary(tmp_path)
    ids = clip_tokenizer(tmp_path)(["A photo of a  dog's panda, 12.", 'Dog'])
    read = [[tokens[i] for i in row] for row in ids]
    expected = "<|startoftext|> a</w> photo</w> of</w> a</w> dog</w> ' s</w> panda</w> ,</w> 1</w> 2</w> .</w>"
    assert ' '.join(read[0]) == f'{expected} <|endoftext|>'
    assert read[1] == ['<|startoftext|>', 'dog</w>', *['<|endoftext|>'] * 12]
    assert (ids.argmax(-1) == ids.new_tensor([13, 2])).all()


def test_long_texts_lose_their_end(tmp_path):
    pytest.importorskip('tokenizers')
    tokens = write_vocabulary(tmp_path)
    ids = clip_tokenizer(tmp_path, context=5)(['dog ' * 20])
    assert [tokens[i] for i in ids[0]] == ['<|startoftext|>', *['dog</w>'] * 3, '<|endoftext|>']


def test_byte_order_marks_and_line_ends_of_windows(tmp_path):
    pytest.importorskip('tokenizers')
    write_vocabulary(tmp_path)
    expected = clip_tokenizer(tmp_path)(['a photo of a panda'])
    for name in ('vocab.json', 'merges.txt'):
        (tmp_path / name).write_text((tmp_path / name).read_text(), encoding='utf-8-sig', newline='\r\n')
    assert clip_tokenizer(tmp_path)(['a photo of a panda']).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('vocab.json', b'[]'),
        ('vocab.json', b'{"a": -1}'),
        ('vocab.json', b'{"a": 1e30}'),
        ('vocab.json', b'{"a": NaN}'),
        ('vocab.json', b'[' * 100_000),
        ('vocab.json', b'\xff'),
        ('merges.txt', b'a b c'),
        ('merges.txt', b'no such'),
        ('merges.txt', b'\xff'),
    ],
)
def test_vocabularies_of_another_form(tmp_path, name, content):
    pytest.importorskip('tokenizers')
    write_vocabulary(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match='cannot be read as a vocabulary of byte pairs'):
        clip_tokenizer(tmp_path)


def test_files_that_are_no_vocabulary(tmp_path):
    pytest.importorskip('tokenizers')
    tokens = write_vocabulary(tmp_path)
    (tmp_path / 'vocab.json').write_text(json.dumps({token: i for i, token in enumerate(tokens[:-2])}))
    with pytest.raises(UserError, match=r"is not CLIP's vocabulary: <\|startoftext\|> and <\|endoftext\|> must be"):
        clip_tokenizer(tmp_path)
    (tmp_path / 'vocab.json').write_text('{')
    with pytest.raises(UserError, match='cannot be read as a vocabulary of byte pairs'):
        clip_tokenizer(tmp_path)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r'vocab\.json does not exist\. Name the folder'):
        clip_tokenizer(tmp_path)
    write_vocabulary(tmp_path)
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    with pytest.raises(UserError, match=r'needs the package tokenizers\. Install it with: pip install tokenizers'):
        clip_tokenizer(tmp_path)
