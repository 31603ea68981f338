"""The extractor of Semantic Lens: two passes over a clip, three sources of instances, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.semantics import TOKENS, WIDTH, checkpoints, save_network, tiny_instances, tiny_xdecoder
from torch.nn import functional as F

from basicsr_semantic.extractors import build_extractor
from basicsr_semantic.extractors.xdecoder.clip_maps import ClipMaps, masks_at_frame_size, resize_short_side
from basicsr_semantic.extractors.xdecoder.extractor import XDecoderExtractor
from basicsr_semantic.extractors.xdecoder.instance_tokens import InstanceTokens
from basicsr_semantic.utils.errors import UserError


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, str]:
    return checkpoints(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def frames() -> torch.Tensor:
    """A clip of 7 frames of 20x28 (height x width) whose values are those of uint8."""
    return torch.randint(0, 256, (7, 3, 20, 28), generator=torch.Generator().manual_seed(0)).float() / 255


def make(files, **changes) -> XDecoderExtractor:
    return XDecoderExtractor(**{**files, 'short_side': 40, 'score_threshold': 0.0, **changes})


def reading(frames: torch.Tensor):
    images = [(frame.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy() for frame in frames]
    return lambda number: images[number]


def half(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float16).float()


def test_what_a_clip_is_told(files, frames):
    found = make(files).describe(frames)
    assert found.frame_tokens.shape == (7, TOKENS, WIDTH)
    assert found.global_tokens.shape == (7, WIDTH)
    assert found.instance_tokens.shape == (5, WIDTH)
    assert found.masks.shape == (7, 10, 20, 28)
    assert found.masks.dtype == torch.uint8
    assert found.masks[:, :5].any() and not found.masks[:, 5:].any()


@pytest.mark.parametrize('size', [(20, 28), (1, 1), (1, 2), (2, 1), (3, 3), (1, 40), (40, 1)])
@pytest.mark.parametrize(
    'changes', [{}, {'short_side': 0}, {'pixel_features': True}, {'score_threshold': 0.999}], ids=str
)
def test_frames_of_one_colour_and_of_few_pixels(files, size, changes):
    """A clip in which nothing is sure enough has no instances."""
    found = make(files, **changes).describe_clip(2, lambda _: np.zeros((*size, 3), np.uint8))
    masks = list(found.masks)
    assert len(masks) == 2 and all(one.shape == (len(found.scores), *size) for one in masks)
    assert bool(len(found.scores)) == ('score_threshold' not in changes)
    assert np.isfinite(found.frame_tokens).all()
    if changes.get('pixel_features'):
        assert all(one.shape[1:] == (-(-size[0] // 4), -(-size[1] // 4)) for one in found.pixel_features)


@pytest.mark.parametrize('size', [(1, 200_000), (200_000, 1)])
def test_a_frame_so_thin_that_it_would_fill_the_memory(files, size):
    with pytest.raises(UserError, match=rf'frame of {size[1]}x{size[0]} pixels would be enlarged to .* short_side'):
        make(files, short_side=360).describe_clip(1, lambda _: np.zeros((*size, 3), np.uint8))


def test_tokens_are_those_of_the_network_on_enlarged_frames_in_half_precision(files, frames):
    extractor = make(files)
    with torch.no_grad():
        seen = F.interpolate(frames, (40, 56), mode='bicubic', align_corners=False).clamp(0, 1)
        expected = tiny_xdecoder()(seen)
    found = extractor.frame_pass(frames)
    assert found.seen == (40, 56)
    torch.testing.assert_close(found.tokens, half(expected.tokens), atol=2e-3, rtol=0)
    torch.testing.assert_close(found.global_tokens, half(expected.global_token), atol=2e-3, rtol=0)
    assert torch.equal(found.tokens, half(found.tokens))
    torch.testing.assert_close(found.mask_features, expected.mask_features)


def test_instances_are_those_of_the_instance_network_over_the_whole_clip(files, frames):
    extractor = make(files)
    found = extractor.describe(frames)
    network = tiny_instances()
    with torch.no_grad():
        expected = network(found.frame_tokens[None])
        scores = expected.class_logits[-1, 0].softmax(-1)[:, :-1].amax(-1)
        order = scores.argsort(descending=True)
        features = half(extractor.frame_pass(frames).mask_features)
        embeds = expected.mask_embeds[-1, 0, order]
        logits = torch.einsum('ic,tchw->tihw', embeds, network.project_features(features))
        # 40x56 was padded to 64x64
        logits = F.interpolate(logits, (64, 64), mode='bilinear', align_corners=False)[..., :40, :56]
        masks = F.interpolate(logits, (20, 28), mode='bilinear', align_corners=False) > 0
    torch.testing.assert_close(found.instance_tokens, expected.tokens[0])
    assert (found.masks[:, :5].bool() == masks).float().mean() > 0.999
    stored = extractor.describe_clip(7, reading(frames))
    assert stored.scores is not None
    assert np.allclose(stored.scores, scores[order].numpy(), atol=1e-5)
    assert np.array_equal(np.stack(list(stored.masks)), found.masks[:, :5].bool().numpy())


def test_the_best_are_kept_and_the_weak_dropped(files, frames):
    read = reading(frames)
    every = make(files).describe_clip(7, read)
    scores, masks = every.scores, np.stack(list(every.masks))
    assert scores is not None
    assert sorted(scores, reverse=True) == scores.tolist()
    two = make(files, max_instances=2).describe_clip(7, read)
    assert two.scores is not None and np.array_equal(two.scores, scores[:2])
    assert np.array_equal(np.stack(list(two.masks)), masks[:, :2])
    above = make(files, score_threshold=float(scores[2])).describe_clip(7, read)
    assert above.scores is not None and np.array_equal(above.scores, scores[:2])


def test_no_instances_at_all(files, frames):
    extractor = make(files, score_threshold=0.9999)
    assert not extractor.describe(frames).masks.any()
    stored = extractor.describe_clip(7, reading(frames))
    assert [masks.shape for masks in stored.masks] == [(0, 20, 28)] * 7
    assert stored.frame_tokens.shape == (7, TOKENS, WIDTH)


def test_no_memory_and_much_memory_give_the_same_and_reading_twice_is_counted(files, frames):
    read = reading(frames)
    asked: list[int] = []

    def counting(number: int) -> np.ndarray:
        asked.append(number)
        return read(number)

    plenty = make(files).describe_clip(7, counting)
    masks = np.stack(list(plenty.masks))
    assert asked == list(range(7))
    asked.clear()
    one_map = WIDTH * 16 * 16 * 2  # 64x64 padded pixels at a quarter, in half precision
    for budget, twice in ((0.0, 7), (3.5 * one_map / 2**30, 4)):
        little = make(files, feature_memory=budget, frames_at_once=1).describe_clip(7, counting)
        again = np.stack(list(little.masks))
        assert len(asked) == 7 + twice
        assert (again == masks).mean() > 0.999  # batches of one and of four frames differ in the last bits
        asked.clear()


def test_clip_maps_give_the_same_from_memory_and_computed_again():
    maps = [torch.randn(2, 3, 3) for _ in range(3)]
    store = ClipMaps(2 * 18 * 2, lambda number: maps[number])
    for number, one in enumerate(maps):
        store.put(number, one)
    assert sorted(store._kept) == [0, 1]
    assert all(torch.equal(store.get(number), half(one)) for number, one in enumerate(maps))


def test_a_long_clip_goes_through_the_windows_of_the_instance_network(files):
    clip = torch.rand(14, 3, 20, 28)
    assert make(files).describe(clip).masks.shape == (14, 10, 20, 28)


def test_frames_of_one_pixel_side_ratio_and_frames_as_they_are(files):
    assert resize_short_side(torch.rand(1, 3, 18, 32), 36).shape == (1, 3, 36, 64)
    assert resize_short_side(torch.rand(1, 3, 45, 30), 60).shape == (1, 3, 90, 60)
    assert resize_short_side(torch.rand(1, 3, 90, 120), 45).shape == (1, 3, 45, 60)
    frames = torch.rand(1, 3, 18, 32)
    assert resize_short_side(frames, None) is frames
    values = resize_short_side((frames > 0.5).float(), 36)
    assert values.min() >= 0 and values.max() <= 1
    assert make(files, short_side=0).parameters['short_side'] is None
    assert make(files, short_side=None).frame_pass(torch.rand(1, 3, 33, 50)).seen == (33, 50)


def test_masks_are_cut_from_the_padding_and_aligned_with_the_frame():
    """A mask of the left half of what the network saw is the left half of the frame."""
    logits = torch.full((1, 16, 24), -1.0)
    logits[:, :, :10] = 1.0  # 40 of the 80 columns seen; columns 80 to 96 are padding
    masks = masks_at_frame_size(logits, (64, 80), (32, 40))
    assert masks[0, :, :20].all() and not masks[0, :, 20:].any()
    assert masks_at_frame_size(torch.zeros(0, 16, 24), (64, 80), (32, 40)).shape == (0, 32, 40)


def test_a_mean_over_time_keeps_the_place_of_a_query(files, frames):
    extractor = make({'checkpoint': files['checkpoint']}, instance_source='mean_over_time')
    found = extractor.describe(frames)
    torch.testing.assert_close(found.instance_tokens, found.frame_tokens.mean(0))
    own = extractor.frame_pass(frames).mask_logits
    inside = own[..., :10, :14].sigmoid() * (own[..., :10, :14] > 0)
    order = inside.sum((0, 2, 3)).argsort(descending=True)
    expected = torch.stack([masks_at_frame_size(half(one[order]), (40, 56), (20, 28)) for one in own])
    assert (found.masks[:, :TOKENS].bool() == expected).float().mean() > 0.999
    scores = extractor.describe_clip(7, reading(frames)).scores
    mean = inside.sum((0, 2, 3)) / (own[..., :10, :14] > 0).sum((0, 2, 3))
    assert scores is not None and np.allclose(scores, mean[order].numpy(), atol=1e-2)
    assert extractor.parameters['instance_sha256'] is None


def test_tokens_of_all_frames_stand_side_by_side(files, frames):
    found = make({'checkpoint': files['checkpoint']}, instance_source='xdecoder_frame').describe(frames)
    assert torch.equal(found.instance_tokens, found.frame_tokens.flatten(0, 1))


def test_instance_tokens_of_a_batch(files):
    tokens = torch.randn(2, 4, TOKENS, WIDTH)
    instances = InstanceTokens('vita', files['instance_checkpoint'])
    found = instances(tokens)
    assert found.shape == (2, 5, WIDTH)
    torch.testing.assert_close(found[1:], instances(tokens[1:]))
    assert not found.requires_grad and instances.network is not None
    assert not any(p.requires_grad for p in instances.network.parameters()) and not instances.network.training
    with pytest.raises(UserError, match='takes 6 tokens of width 16 a frame, but the store gives 6 of width 8'):
        instances(tokens[..., :8])


def test_nothing_has_a_gradient(files, frames):
    extractor = make(files)
    found = extractor.describe(frames.clone().requires_grad_())
    assert not any(p.requires_grad for p in extractor.network.parameters()) and not extractor.network.training
    assert not any(x.requires_grad for x in (found.frame_tokens, found.global_tokens, found.instance_tokens))


def test_metadata_name_what_decides_the_result(files):
    extractor = make(files)
    assert (extractor.kind, extractor.order, extractor.max_masks) == ('xdecoder', 'id', 10)
    assert extractor.tokens == {'num': TOKENS, 'dim': WIDTH, 'global_dim': WIDTH}
    assert extractor.checkpoint is not None and extractor.checkpoint['file'] == 'net_f.pth'
    parameters = extractor.parameters
    assert len(parameters.pop('instance_sha256')) == 64
    assert parameters == {'short_side': 40, 'score_threshold': 0.0, 'instance_source': 'vita'}


def test_frames_of_several_sizes_in_a_clip(files):
    images = [np.zeros((20, 28, 3), np.uint8), np.zeros((20, 30, 3), np.uint8)]
    with pytest.raises(UserError, match='Frame 1 of the clip has 30x20 pixels, but the first one 28x20'):
        make(files).describe_clip(2, lambda number: images[number])


def test_built_by_name(files):
    assert isinstance(build_extractor('xdecoder', **files), XDecoderExtractor)
    with pytest.raises(UserError, match=r"takes no argument 'max_instance'\. Did you mean 'max_instances'"):
        build_extractor('xdecoder', **files, max_instance=3)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'instance_checkpoint': None}, 'vita needs instance_checkpoint.*mean_over_time or xdecoder_frame'),
        ({'instance_source': 'mean_over_time'}, 'uses no instance_checkpoint; remove'),
        ({'instance_source': 'mean'}, 'must be one of vita, mean_over_time, xdecoder_frame'),
        ({'short_side': 8}, 'short_side must be 0 or at least 32'),
        ({'score_threshold': 1.0}, 'below 1'),
        ({'frames_at_once': 0}, 'frames_at_once at least 1'),
        ({'feature_memory': -1.0}, 'feature_memory at least 0'),
        ({'max_instances': 0}, 'at least 1'),
        ({'checkpoint': 'nowhere.pth'}, 'nowhere.pth does not exist'),
        ({'instance_checkpoint': 'nowhere.pth'}, 'nowhere.pth does not exist'),
        ({'checksum': '00'}, 'SHA-256'),
        ({'device': 'cuda:77'}, 'cuda:77'),
        ({'device': 'gpu'}, 'cannot run on the device'),
    ],
)
def test_what_is_refused(files, changes, message):
    with pytest.raises(UserError, match=message):
        make(files, **changes)


def test_checkpoints_that_do_not_belong_together(files, tmp_path):
    wide = save_network(tiny_instances(width=24), tmp_path / 'wide.pth')
    with pytest.raises(
        UserError, match=r'takes 6 tokens of width 24 a frame, but the X-Decoder of .* gives 6 of .* 16'
    ):
        make(files, instance_checkpoint=wide)
    more = save_network(tiny_xdecoder(tokens=7), tmp_path / 'more.pth')
    with pytest.raises(UserError, match=r'takes 6 tokens .*more.pth gives 7 of width 16'):
        make(files, checkpoint=more)
    deep = tiny_instances()
    deep.config['feature_dim'] = 8
    deep.vita_mask_features = torch.nn.Conv2d(8, WIDTH, 1)
    with pytest.raises(UserError, match=r'takes pixel features of width 8, but the X-Decoder of .* gives 16'):
        make(files, instance_checkpoint=save_network(deep, tmp_path / 'deep.pth'))


def test_checkpoints_of_other_networks(files, tmp_path):
    torch.save({'image_encoder.pos_embed': torch.zeros(1, 64, 64, 1280)}, tmp_path / 'sam.pth')
    for argument, wanted in (('checkpoint', 'Segment Anything'), ('instance_checkpoint', 'instance transformer')):
        with pytest.raises(UserError, match=rf'sam.pth .*{wanted}') as caught:
            make(files, **{argument: str(tmp_path / 'sam.pth')})
        assert '\n' not in str(caught.value)
    swapped = {'checkpoint': files['instance_checkpoint'], 'instance_checkpoint': files['checkpoint']}
    for argument, path in swapped.items():
        with pytest.raises(UserError, match=path):
            make(files, **{argument: path})


def test_pixel_features_are_the_mask_features_of_the_cells(files, frames):
    plain, extractor = make(files).describe(frames), make(files, pixel_features=True, feature_memory=0.0)
    found = extractor.describe(frames)
    assert plain.pixel_features is None and found.pixel_features is not None
    assert found.pixel_features.shape == (7, WIDTH, 5, 7)
    maps = extractor.frame_pass(frames).mask_features[..., :10, :14]  # the network saw 40x56
    torch.testing.assert_close(found.pixel_features, F.avg_pool2d(maps, 2), atol=2e-3, rtol=1e-3)
    for name in ('frame_tokens', 'global_tokens', 'instance_tokens', 'masks'):
        assert torch.equal(getattr(found, name), getattr(plain, name))
    assert extractor.features == {'dim': WIDTH, 'cell': 4} and make(files).features is None
    assert extractor.parameters == make(files).parameters  # stores differ by their features


@pytest.mark.parametrize('source', ['vita', 'mean_over_time'])
def test_a_store_is_told_the_same_features_of_frames_with_any_sides(files, frames, source):
    files = files if source == 'vita' else {'checkpoint': files['checkpoint']}
    cut = frames[:3, :, :18, :27]
    extractor = make(files, pixel_features=True, instance_source=source)
    found, told = extractor.describe(cut), extractor.describe_clip(3, reading(cut))
    assert told.pixel_features is not None and found.pixel_features is not None
    features, masks = np.stack(list(told.pixel_features)), np.stack(list(told.masks))
    assert features.shape == (3, WIDTH, 5, 7) and masks.shape[2:] == (18, 27)
    assert np.array_equal(features, found.pixel_features.numpy())
    assert np.array_equal(masks, found.masks[:, : masks.shape[1]].bool().numpy())
