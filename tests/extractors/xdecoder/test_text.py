"""The text branch: CLIP's encoder written out again with PyTorch's modules, and the prompts of a class."""

from __future__ import annotations

import pytest
import torch
from helpers.xdecoder_files import FOCAL_T, PREDICTOR, TINY, released_file, released_shapes
from torch import nn

from basicsr_semantic.extractors.xdecoder.text import (
    PREFIX,
    TextEncoder,
    embed_background,
    embed_classes,
    load_text_encoder,
    prompts,
)
from basicsr_semantic.utils.errors import UserError

END = TINY['vocabulary'] - 1


def tokenize(texts) -> torch.Tensor:
    """Lengths of words as tokens; at most five words count."""
    rows = [[END - 1, *(len(word) % 30 for word in text.split()[:5])] for text in texts]
    return torch.tensor([[*row, *[END] * (7 - len(row))] for row in rows])


@pytest.fixture
def encoder(tmp_path) -> TextEncoder:
    return load_text_encoder(released_file(tmp_path / 'a.pt'), heads=4)


def test_names_and_shapes_are_the_released_ones():
    with torch.device('meta'):
        own = {PREFIX + name: tuple(value.shape) for name, value in TextEncoder().state_dict().items()}
    released = {name: shape for name, shape in released_shapes(FOCAL_T).items() if name.startswith(PREFIX)}
    assert own == {name: shape for name, shape in released.items() if not name.endswith('logit_scale')}
    assert sum(torch.Size(shape).numel() for shape in own.values()) / 1e6 == pytest.approx(63.4, abs=0.05)


@torch.no_grad()
def test_the_encoder_is_that_of_clip(encoder):
    ids = tokenize(['a photo of one cat', 'x'])
    state = encoder.state_dict()
    x = state['lang_encoder.token_embedding.weight'][ids] + state['lang_encoder.positional_embedding']
    for block in encoder.lang_encoder.resblocks:
        attention = nn.MultiheadAttention(16, 4, batch_first=True)
        attention.load_state_dict(block.attn.state_dict())
        y = block.ln_1(x)
        later = torch.ones(7, 7, dtype=torch.bool).triu(1)
        x = x + attention(y, y, y, attn_mask=later, need_weights=False)[0]
        y = block.mlp['c_fc'](block.ln_2(x))
        x = x + block.mlp['c_proj'](y * (1.702 * y).sigmoid())
    x = encoder.lang_encoder.ln_final(x)
    ends = torch.stack([x[0, 6], x[1, 2]]) @ encoder.lang_proj
    assert torch.allclose(encoder(ids), nn.functional.normalize(ends, dim=-1), atol=1e-5)


@torch.no_grad()
def test_what_fills_a_row_up_does_not_matter(encoder):
    ids = tokenize(['two words'])
    assert torch.allclose(encoder(ids), encoder(ids[:, :4]), atol=1e-6)
    with pytest.raises(UserError, match='A text has 8 tokens; the text encoder reads 7 at most'):
        encoder(torch.zeros(1, 8, dtype=torch.int64))


def test_a_class_is_the_mean_direction_of_its_prompts(encoder):
    embeddings = embed_classes(encoder, tokenize, ['dog', 'earless_seal'])
    assert tuple(embeddings.shape) == (2, 20) and not embeddings.requires_grad
    assert torch.allclose(embeddings.norm(dim=-1), torch.ones(2))
    with torch.no_grad():
        singles = torch.cat([encoder(tokenize([text])) for text in prompts('earless seal')])
        assert torch.allclose(embeddings[1], nn.functional.normalize(singles.mean(0), dim=0), atol=1e-5)
        background = encoder(tokenize(['A background in coco.']))[0]
    assert torch.allclose(embed_background(encoder, tokenize), background, atol=1e-6)


def test_prompts():
    texts = list(prompts('giant_panda'))
    assert len(texts) == len(set(texts)) == 81
    assert all('giant panda' in text and text.endswith('.') for text in texts)
    for text in (
        'giant panda.',
        'a photo of a giant panda.',
        'a photo of many giant panda.',
        'a jpeg corrupted photo of the giant panda.',
        'itap of my giant panda.',
        'the origami giant panda.',
        'graffiti of a giant panda.',
        'a giant panda in a video game.',
    ):
        assert text in texts
    assert list(prompts('wall-other-merged')) == list(prompts('wall'))


def test_files_without_a_text_encoder_are_refused(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        load_text_encoder(tmp_path / 'absent.pt')
    without = {name: None for name in released_shapes(TINY) if name.startswith(PREDICTOR)}
    with pytest.raises(UserError, match='has no text encoder of X-Decoder'):
        load_text_encoder(released_file(tmp_path / 'a.pt', **without))
    cut = {f'{PREFIX}lang_encoder.ln_final.bias': None}
    with pytest.raises(UserError, match=r'does not fit: lang_encoder\.ln_final\.bias missing'):
        load_text_encoder(released_file(tmp_path / 'b.pt', **cut), heads=4)
    with pytest.raises(UserError, match='does not have 3 heads'):
        load_text_encoder(released_file(tmp_path / 'c.pt'), heads=3)
