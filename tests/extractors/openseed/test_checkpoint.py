"""OpenSeeD's weights from a file: sizes are read off, what is not needed is reported, other files are refused."""

from __future__ import annotations

import pytest
import torch
from helpers.openseed import (
    NETWORK,
    PIXELS,
    PREDICTOR,
    SWIN_T,
    TINY,
    needed_shapes,
    random_state,
    released_file,
    released_shapes,
)
from torch.nn import functional as F

from basicsr_semantic.extractors.openseed import COCO_PANOPTIC, OpenSeeD, load_openseed, load_vocabulary
from basicsr_semantic.extractors.openseed.checkpoint import OFFICIAL_FILES, RELEASED, openseed_config
from basicsr_semantic.extractors.pretrained import split_state
from basicsr_semantic.extractors.xdecoder.text import load_text_encoder
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import file_sha256


def test_full_sizes_are_read_off_the_released_names():
    shapes = released_shapes({**SWIN_T, 'dec_layers': 9})
    state = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    needed, unused = split_state(RELEASED, state, 'file')
    wanted = {k: list(v) if isinstance(v, tuple) else v for k, v in SWIN_T.items()}
    assert openseed_config(needed) == {k: v for k, v in wanted.items() if k not in NETWORK}
    assert {name: tuple(value.shape) for name, value in needed.items()} == needed_shapes(SWIN_T)
    assert unused['second names of tensors'] == 2 + 2 * 9 * 6 and unused['denoising in training'] == 1
    assert unused['relative positions, which follow from the window size'] == 12 and unused['loss'] == 1


def test_a_released_file_loads_frozen_and_the_rest_is_reported(tmp_path):
    path = released_file(tmp_path / 'model_state_dict_swint_51.2ap.pt')
    net = load_openseed(path)
    assert not net.training and not any(each.requires_grad for each in net.parameters())
    assert net.config == OpenSeeD(**TINY).config
    state = random_state(released_shapes(TINY))
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert net.report.sha256 == file_sha256(path) and net.report.unused['second names of tensors'] == 2 + 2 * 3 * 6
    assert str(net.report).startswith('OpenSeeD was read from model_state_dict_swint_51.2ap.pt')
    found = net(torch.rand(1, 3, 40, 50), F.normalize(torch.rand(3, 20), dim=-1))
    assert not found.tokens.requires_grad and not found.mask_features.requires_grad


def test_losses_of_other_vocabularies_are_not_needed(tmp_path):
    path = released_file(tmp_path / 'a.pt', **{'criterion_o365.empty_weight': torch.ones(366)})
    assert load_openseed(path).report.unused['loss'] == 2


def test_our_own_files_come_back_with_all_arguments(tmp_path):
    net = OpenSeeD(**TINY).eval()
    torch.save({'params': net.state_dict(), 'network': net.config}, tmp_path / 'a.pth')
    again = load_openseed(tmp_path / 'a.pth')
    assert again.config == net.config and not again.report.unused
    inputs = torch.rand(1, 3, 33, 40), F.normalize(torch.rand(3, 20), dim=-1)
    with torch.no_grad():
        assert torch.equal(again(*inputs).tokens, net(*inputs).tokens)


def test_checksums(tmp_path, monkeypatch):
    path = released_file(tmp_path / 'model_state_dict_swint_51.2ap.pt')
    assert load_openseed(path, checksum=file_sha256(path).upper()).report.sha256 == file_sha256(path)
    with pytest.raises(UserError, match='but the checksum that was asked for is 00'):
        load_openseed(path, checksum='00')
    monkeypatch.setitem(OFFICIAL_FILES, path.name, '11')
    with pytest.raises(UserError, match='that of the official file of this name is 11'):
        load_openseed(path)


def sentence(path, **arguments) -> str:
    """The one sentence that refuses a file."""
    with pytest.raises(UserError) as error:
        load_openseed(path, **arguments)
    text = str(error.value)
    assert str(path) in text and '\n' not in text
    return text


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['image_encoder.patch_embed.proj.weight'], 'Segment Anything'),
        ([f'{PREDICTOR}transformer_cross_attention_layers.0.norm.weight'], 'is that of X-Decoder'),
        (['backbone.layers.0.blocks.0.modulation.f.weight'], 'an OpenSeeD with a focal backbone'),
        ([f'{PREDICTOR}lang_encoder.lang_proj'], 'a text encoder alone'),
        (['conv_first.weight'], 'not that of OpenSeeD: it has no backbone'),
    ],
)
def test_files_of_other_networks(tmp_path, names, message):
    torch.save({name: torch.ones(2) for name in names}, tmp_path / 'other.pt')
    assert message in sentence(tmp_path / 'other.pt')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({f'{PREDICTOR}decoder_norm.bias': None}, 'decoder.norm.bias is another tensor than'),
        ({f'{PREDICTOR}bbox_embed.1.layers.2.bias': torch.ones(4)}, 'bbox_embed.1.layers.2.bias is another tensor'),
        ({f'{PREDICTOR}enc_output.bias': None}, 'enc_output.bias missing'),
        ({f'{PREDICTOR}query_feat.weight': torch.ones(6, 16)}, 'query_feat.weight unknown to it'),
        ({f'{PIXELS}transformer.level_embed': torch.ones(5, 16)}, 'level_embed is (5, 16), but its other'),
        ({'head.weight': torch.ones(1)}, 'tensors that no OpenSeeD has: head.weight'),
        ({f'{PREDICTOR}class_embed': None}, 'class_embed is missing or has another form'),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, changes, message):
    assert message in sentence(released_file(tmp_path / 'odd.pt', **changes))


def test_sizes_beside_the_weights_and_files_that_cannot_be_read(tmp_path):
    state, path = random_state(needed_shapes(TINY)), tmp_path / 'a.pt'
    for network, message in [
        ({**NETWORK, 'hidden_dim': 32}, 'it says hidden_dim: 32, its weights say 16'),
        ({**NETWORK, 'colour': 'red'}, 'make no OpenSeeD'),
        ({**NETWORK, 'nheads': 3}, 'make no OpenSeeD'),
        (None, 'norm_groups (32)'),
    ]:
        torch.save({'params': state, 'network': network}, path)
        assert message in sentence(path)
    path.write_text('no weights')
    assert 'could not be read as a PyTorch checkpoint' in sentence(path)
    assert 'does not exist' in sentence(tmp_path / 'absent.pt')
    with pytest.raises(UserError, match="OpenSeeD cannot run on the device 'abacus'"):
        load_openseed(released_file(tmp_path / 'b.pt'), device='abacus')


def test_the_text_encoder_in_the_file_is_that_of_x_decoder(tmp_path):
    encoder = load_text_encoder(released_file(tmp_path / 'a.pt'), heads=4)
    assert encoder.context == 5 and tuple(encoder(torch.tensor([[1, 2, 39]])).shape) == (1, 20)


def test_the_vocabulary_and_the_file_of_its_embeddings(tmp_path):
    assert len(set(COCO_PANOPTIC)) == len(COCO_PANOPTIC) == 133
    assert COCO_PANOPTIC[0] == 'person' and COCO_PANOPTIC[79:81] == ('toothbrush', 'banner')
    assert {'parking meter', 'tennis racket', 'cell phone'} < set(COCO_PANOPTIC) and COCO_PANOPTIC[-1] == 'rug-merged'
    path = tmp_path / 'words.pt'
    torch.save({'names': ['a', 'b'], 'embeddings': 2 * torch.eye(2, 20), 'background': torch.ones(20)}, path)
    words = load_vocabulary(path)
    assert words.names == ('a', 'b') and torch.equal(words.embeddings, torch.eye(2, 20))
    assert (words.sha256, words.checkpoint) == (file_sha256(path), None)
    words.check_width(20)
    with pytest.raises(UserError, match=r'are \(2, 20\); \(names, 512\) is needed'):
        words.check_width(512)
    wrong = [torch.full((1, 20), value) for value in (float('nan'), float('inf'), 1)]  # 1 is no floating point
    for names, rows in (
        (['a'], torch.eye(2, 20)),
        ([], torch.zeros(0, 20)),
        (['a'], [[1.0]]),
        *((['a'], w) for w in wrong),
    ):
        torch.save({'names': names, 'embeddings': rows}, path)
        with pytest.raises(UserError, match='holds no names with their text embeddings'):
            load_vocabulary(path)
    path.write_text('nothing')
    with pytest.raises(UserError, match='could not be read'):
        load_vocabulary(path)
    with pytest.raises(UserError, match='do not exist'):
        load_vocabulary(tmp_path / 'absent.pt')
