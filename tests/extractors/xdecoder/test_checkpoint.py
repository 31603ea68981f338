"""X-Decoder's weights from a file: sizes are read off, what is not needed is reported, other files are refused."""

from __future__ import annotations

import logging

import pytest
import torch
from helpers.xdecoder_files import (
    FOCAL_L,
    FOCAL_T,
    NETWORK,
    PIXELS,
    PREDICTOR,
    TINY,
    TINY_XDECODER,
    needed_shapes,
    random_state,
    released_file,
    released_shapes,
)

from basicsr_semantic.extractors.pretrained import split_state
from basicsr_semantic.extractors.xdecoder import XDecoder, build_xdecoder, load_xdecoder
from basicsr_semantic.extractors.xdecoder.checkpoint import OFFICIAL_FILES, RELEASED, xdecoder_config
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import file_sha256


@pytest.mark.parametrize(('preset', 'size'), [('focal_t', FOCAL_T), ('focal_l', FOCAL_L)])
def test_full_sizes_are_read_off_the_released_names(preset, size):
    with torch.device('meta'):
        state = {name: torch.empty(shape) for name, shape in released_shapes(size).items()}
        net = build_xdecoder(preset)
    needed, unused = split_state(RELEASED, state, 'file')
    assert xdecoder_config(needed) == {
        name: value
        for name, value in net.config.items()
        if name not in ('nheads', 'norm_groups', 'layer_scale', 'drop_path')
    }
    assert {name: tuple(value.shape) for name, value in needed.items()} == needed_shapes(size)
    assert unused == {
        'text encoder': 149,
        'captioning': 2,
        'attention mask, which follows from the sizes': 1,
        'retrieval': 1,
        'loss': 1,
    }


def test_a_released_file_loads_and_the_rest_is_reported_in_one_line(tmp_path, caplog):
    path = released_file(tmp_path / 'xdecoder_focalt_last.pt')
    with caplog.at_level(logging.INFO):
        net = load_xdecoder(path)
    assert not net.training and net.config == XDecoder(**TINY_XDECODER).config
    state = random_state(released_shapes(TINY))
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert net.report.sha256 == file_sha256(path) and net.report.unused['captioning'] == 2
    assert len(caplog.records) == 1 and 'not needed: text encoder (29), captioning (2)' in caplog.text


def test_our_own_files_come_back_with_all_arguments(tmp_path):
    net = XDecoder(**{**TINY_XDECODER, 'drop_path': 0.2, 'layer_scale': 0.1, 'depthwise': False}).eval()
    images = torch.rand(1, 3, 33, 40)
    average = {name: value + 0.01 for name, value in net.state_dict().items()}
    for content in (
        {'params': net.state_dict(), 'network': net.config},
        {'params': average, 'params_ema': net.state_dict(), 'network': {'type': 'xdecoder', **net.config}},
    ):
        torch.save(content, tmp_path / 'net_f_8.pth')
        again = load_xdecoder(tmp_path / 'net_f_8.pth')
        assert again.config == net.config and not again.report.unused
        with torch.no_grad():
            assert torch.equal(again(images).tokens, net(images).tokens)


def test_texts_in_the_file_do_not_matter(tmp_path):
    images = torch.rand(1, 3, 32, 32)
    text = {name: shape for name, shape in released_shapes(TINY).items() if 'lang_encoder.' in name}
    one = load_xdecoder(released_file(tmp_path / 'one.pt'))
    two = load_xdecoder(released_file(tmp_path / 'two.pt', **random_state(text, seed=1)))
    assert one.logit_scale != two.logit_scale
    with torch.no_grad():
        assert torch.equal(one(images).tokens, two(images).tokens)


def test_a_file_without_the_scale_of_similarities(tmp_path):
    net = load_xdecoder(released_file(tmp_path / 'a.pt', **{f'{PREDICTOR}lang_encoder.logit_scale': None}))
    assert 'no logit_scale' in str(net.report) and net.logit_scale == XDecoder(**TINY_XDECODER).logit_scale


def test_checksums(tmp_path, monkeypatch):
    path = released_file(tmp_path / 'xdecoder_focalt_last.pt')
    assert load_xdecoder(path, checksum=file_sha256(path).upper()).report.sha256 == file_sha256(path)
    with pytest.raises(UserError, match='but the checksum that was asked for is 00'):
        load_xdecoder(path, checksum='00')
    monkeypatch.setitem(OFFICIAL_FILES, path.name, '11')
    with pytest.raises(UserError, match='that of the official file of this name is 11'):
        load_xdecoder(path)
    assert {'xdecoder_focalt_last.pt', 'xdecoder_focalt_best_openseg.pt', 'xdecoder_focall_last.pt'} < set(
        OFFICIAL_FILES
    )


def sentence(path, **arguments) -> str:
    """The one sentence that refuses a file."""
    with pytest.raises(UserError) as error:
        load_xdecoder(path, **arguments)
    text = str(error.value)
    assert str(path) in text and '\n' not in text
    return text


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['image_encoder.patch_embed.proj.weight'], 'Segment Anything'),
        (['backbone.convs.0.proj.weight', f'{PREDICTOR}query_feat.weight'], 'a DaViT backbone'),
        (['backbone.neck.0.weight', f'{PREDICTOR}query_feat.weight'], 'a ViT backbone'),
        ([f'{PREDICTOR}lang_encoder.lang_proj', f'{PREDICTOR}lang_encoder.logit_scale'], 'a text encoder alone'),
        (['lang_encoder.ln_final.weight'], 'a text encoder alone'),
        (['conv_first.weight'], 'not that of X-Decoder: it has no backbone'),
    ],
)
def test_files_of_other_networks(tmp_path, names, message):
    torch.save({name: torch.ones(2) for name in names}, tmp_path / 'other.pt')
    assert message in sentence(tmp_path / 'other.pt')


@pytest.mark.parametrize(
    ('prefix', 'name'), [('backbone.', 'backbone'), (PIXELS, 'pixel decoder'), (PREDICTOR, 'transformer decoder')]
)
def test_a_missing_part(tmp_path, prefix, name):
    without = {key: None for key in released_shapes(TINY) if key.startswith(prefix)}
    assert f'it has no {name}' in sentence(released_file(tmp_path / 'part.pt', **without))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({f'{PIXELS}input_proj.weight': torch.ones(16, 96, 1, 1)}, 'but its other tensors ask for (16, 64, 1, 1)'),
        ({f'{PREDICTOR}decoder_norm.bias': None}, 'decoder_norm.bias missing'),
        ({f'{PREDICTOR}query_feat_spatial.weight': torch.ones(6, 16)}, 'query_feat_spatial.weight unknown to it'),
        ({'head.weight': torch.ones(1)}, 'tensors that no X-Decoder has: head.weight'),
        ({f'{PREDICTOR}class_embed': None}, 'class_embed is missing or has another form'),
        ({f'{PREDICTOR}query_feat.weight': torch.ones(6, 20)}, 'does not fit'),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, changes, message):
    assert message in sentence(released_file(tmp_path / 'odd.pt', **changes))


def test_sizes_beside_the_weights_that_contradict_them_or_make_no_network(tmp_path):
    state, path = random_state(needed_shapes(TINY)), tmp_path / 'a.pt'
    for network, message in [
        ({**NETWORK, 'hidden_dim': 32}, 'it says hidden_dim: 32, its weights say 16'),
        ({**NETWORK, 'colour': 'red'}, 'make no X-Decoder'),
        ({**NETWORK, 'nheads': 3}, 'make no X-Decoder'),
        (None, 'norm_groups (32)'),
    ]:
        torch.save({'params': state, 'network': network}, path)
        assert message in sentence(path)


def test_files_that_cannot_be_read_and_devices_that_are_not_there(tmp_path):
    assert 'does not exist' in sentence(tmp_path / 'absent.pt')
    (tmp_path / 'text.pt').write_text('no weights')
    assert 'could not be read as a PyTorch checkpoint' in sentence(tmp_path / 'text.pt')
    path = released_file(tmp_path / 'a.pt')
    with pytest.raises(UserError, match="cannot run on the device 'abacus'"):
        load_xdecoder(path, device='abacus')
