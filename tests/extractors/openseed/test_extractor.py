"""OpenSeeD as an extractor: the best tokens in their order, features of cells, and what it refuses."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.openseed import NETWORK, TINY, openseed_files, random_state, released_shapes, text_file
from torch.nn import functional as F

from basicsr_semantic.extractors import build_extractor
from basicsr_semantic.extractors.openseed import load_openseed, load_vocabulary
from basicsr_semantic.extractors.openseed.extractor import OpenSeeDExtractor
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import file_sha256


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, str]:
    return openseed_files(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def frames() -> torch.Tensor:
    """Three frames of 22x30 (height x width), 6x8 cells, whose values are those of uint8."""
    return torch.randint(0, 256, (3, 3, 22, 30), generator=torch.Generator().manual_seed(0)).float() / 255


def make(files, **changes) -> OpenSeeDExtractor:
    extractor = build_extractor('openseed', **{**files, 'num_tokens': 4, 'short_side': 48, **changes})
    assert isinstance(extractor, OpenSeeDExtractor)
    return extractor


def half(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float16).float()


def test_what_a_clip_is_told(files, frames):
    found = make(files).describe(frames)
    assert found.frame_tokens.shape == (3, 4, TINY['hidden_dim'])
    assert found.pixel_features.shape == (3, TINY['mask_dim'], 6, 8)


@torch.no_grad()
def test_it_is_what_the_network_says_of_the_extended_and_enlarged_frame(files, frames):
    extended = F.pad(frames[1:2], (0, 2, 0, 2), mode='replicate')  # 24 x 32 pixels
    seen = F.interpolate(extended, (48, 64), mode='bicubic', align_corners=False).clamp(0, 1)
    network, words = load_openseed(files['checkpoint']), load_vocabulary(files['text_embeddings'])
    semantics = network(seen, words.embeddings)
    found = make(files).describe(frames)
    best = semantics.scores[0].argsort(descending=True)[:4]
    assert torch.equal(found.frame_tokens[1], half(semantics.tokens[0, best]))
    whole = semantics.mask_features[..., :12, :16]  # without the network's padding to 64 x 64 pixels
    expected = F.avg_pool2d(whole, 2)[0]
    torch.testing.assert_close(found.pixel_features[1], expected, atol=2e-3, rtol=1e-3)


def test_sides_are_enlarged_to_multiples_of_four_and_never_made_smaller(files, monkeypatch):
    seen = []
    extractor = make(files)
    forward = extractor.network.forward
    monkeypatch.setattr(extractor.network, 'forward', lambda x, words: seen.append(x.shape[-2:]) or forward(x, words))
    for size, expected in (((20, 31), (48, 76)), ((50, 61), (52, 64)), ((48, 48), (48, 48)), ((1, 2), (48, 48))):
        found = extractor.describe(torch.rand(1, 3, *size))
        assert seen.pop() == expected
        assert found.pixel_features.shape[-2:] == (-(-size[0] // 4), -(-size[1] // 4))
    make_as_is = make(files, short_side=0)
    assert make_as_is.describe(torch.rand(1, 3, 9, 6)).pixel_features.shape[-2:] == (3, 2)
    assert make_as_is.parameters['short_side'] is None


@pytest.mark.parametrize('size', [(20, 28), (1, 1), (1, 2), (2, 1), (3, 3), (1, 40), (40, 1)])
@pytest.mark.parametrize('short_side', [0, 48])
def test_frames_of_one_colour_and_of_few_pixels(files, size, short_side):
    found = make(files, short_side=short_side).describe_frame(np.zeros((*size, 3), np.uint8))
    assert found.masks.shape == (0, *size)
    assert found.pixel_features.shape[1:] == (-(-size[0] // 4), -(-size[1] // 4))
    assert np.isfinite(found.frame_tokens).all() and np.isfinite(found.pixel_features).all()


@pytest.mark.parametrize('size', [(1, 50_000), (50_000, 1)])
def test_a_frame_so_thin_that_it_would_fill_the_memory(files, size):
    with pytest.raises(UserError, match=r'frame of (50000x4|4x50000) pixels would be enlarged to .* short_side'):
        make(files, short_side=512).describe_frame(np.zeros((*size, 3), np.uint8))


def test_a_frame_does_not_see_its_neighbours(files, frames):
    extractor = make(files)
    together, alone = extractor.describe(frames), extractor.describe(frames[2:])
    assert torch.equal(together.frame_tokens[2:], alone.frame_tokens)
    assert torch.equal(together.pixel_features[2:], alone.pixel_features)


def test_a_store_is_told_the_same(files, frames):
    extractor = make(files)
    found = extractor.describe(frames)
    image = (frames[1].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    one = extractor.describe_frame(image)
    assert np.array_equal(one.frame_tokens, found.frame_tokens[1].numpy())
    assert np.array_equal(one.pixel_features, found.pixel_features[1].numpy())
    assert np.array_equal(one.frame_tokens.astype(np.float16), one.frame_tokens)  # nothing is lost in half precision
    assert np.array_equal(one.pixel_features.astype(np.float16), one.pixel_features)
    assert one.global_token.shape == (0,) and one.masks.shape == (0, 22, 30)
    assert extractor.tokens == {'num': 4, 'dim': TINY['hidden_dim'], 'global_dim': 0}
    assert extractor.features == {'dim': TINY['mask_dim'], 'cell': 4}
    with pytest.raises(ValueError, match='uint8 RGB'):
        extractor.describe_frame(image.astype(np.float32))


def test_the_words_are_part_of_what_a_store_remembers(files, frames, tmp_path):
    other = make(files, text_embeddings=str(text_file(tmp_path / 'other.pt', seed=7)))
    one = make(files)
    assert one.parameters.keys() == {'short_side', 'text_sha256'}
    assert one.parameters['text_sha256'] != other.parameters['text_sha256']
    assert one.checkpoint == {'file': 'openseed.pt', 'sha256': file_sha256(Path(files['checkpoint']))}
    assert not torch.equal(one.describe(frames).frame_tokens, other.describe(frames).frame_tokens)
    assert torch.equal(one.describe(frames).pixel_features, other.describe(frames).pixel_features)


def test_words_of_another_checkpoint_are_a_warning(files, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        sha256 = file_sha256(Path(files['checkpoint']))
        make(files, text_embeddings=str(text_file(tmp_path / 'a.pt', checkpoint=sha256)))
        assert not caplog.records
        make(files, text_embeddings=str(text_file(tmp_path / 'b.pt', checkpoint='0' * 64)))
    assert 'b.pt were made with another checkpoint' in caplog.text


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'num_tokens': 7}, r'num_tokens is 7, but the OpenSeeD of .* gives 6 a frame'),
        ({'num_tokens': 0}, 'num_tokens must be at least 1'),
        ({'short_side': 20}, 'short_side 0 or at least 32 pixels'),
        ({'short_side': -1}, 'short_side 0 or at least 32 pixels'),
        ({'checkpoint': 'absent.pt'}, 'The checkpoint absent.pt does not exist'),
        ({'text_embeddings': 'absent.pt'}, 'The text embeddings absent.pt do not exist'),
        ({'checksum': '0' * 64}, 'the checksum that was asked for'),
        ({'max_masks': 3}, "takes no argument 'max_masks'"),
    ],
)
def test_what_is_refused(files, changes, message):
    with pytest.raises(UserError, match=message):
        make(files, **changes)


def test_words_of_another_width(files, tmp_path):
    torch.save({'names': ['a'], 'embeddings': torch.ones(1, 21)}, tmp_path / 'wide.pt')
    with pytest.raises(UserError, match=r'are \(1, 21\); \(names, 20\) is needed'):
        make(files, text_embeddings=str(tmp_path / 'wide.pt'))


def test_weights_without_their_sizes_are_refused_in_a_sentence(files, tmp_path):
    torch.save(random_state(released_shapes(TINY)), tmp_path / 'bare.pt')
    assert NETWORK, 'the tiny file has sizes with its weights'
    with pytest.raises(UserError, match='norm_groups'):
        make(files, checkpoint=str(tmp_path / 'bare.pt'))
