"""Segment Anything: our masks are those of its own generator in our order, and wrong weights are refused.

The architecture is the package's own, made tiny; once, and slowly, it has its real size.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import segment_anything
import torch
from helpers.sam import KEEP_ALL, tiny_checkpoint, tiny_sam

from basicsr_semantic.extractors import build_extractor, sam
from basicsr_semantic.extractors.runner import extract
from basicsr_semantic.priors import PriorStore, store_metadata
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def tiny(monkeypatch, tmp_path) -> str:
    """A checkpoint of the tiny network, known as model type ``tiny``."""
    return tiny_checkpoint(tmp_path, monkeypatch)


@pytest.fixture
def frame() -> np.ndarray:
    rows, columns = np.mgrid[:20, :34]
    return np.stack([rows * 12, columns * 7, (rows * columns) % 255], -1).astype(np.uint8)


def reference(checkpoint: str, frame: np.ndarray, build, **arguments) -> list[dict]:
    model = build()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return segment_anything.SamAutomaticMaskGenerator(model.eval(), **arguments).generate(frame)


def as_set(masks, scores) -> set[tuple[bytes, float]]:
    return {(np.asarray(mask, bool).tobytes(), float(score)) for mask, score in zip(masks, scores, strict=True)}


def test_masks_are_those_of_the_package_in_our_order(tiny, frame):
    theirs = reference(tiny, frame, tiny_sam, points_per_side=3, **KEEP_ALL)
    theirs = [item for item in theirs if item['area']]
    extractor = build_extractor('sam', checkpoint=tiny, model_type='tiny', points_per_side=3, **KEEP_ALL)
    masks, scores = extractor(frame, 'a')
    assert len(masks) == len(theirs) > 10
    assert as_set(masks, scores) == as_set(
        *zip(*((i['segmentation'], i['predicted_iou']) for i in theirs), strict=True)
    )
    assert (np.diff(masks.sum((1, 2))) <= 0).all()
    # their order is by predicted IoU; another order of the same masks would be no test of ours
    assert [i['area'] for i in theirs] != sorted((i['area'] for i in theirs), reverse=True)


def test_orders_and_truncation_on_real_masks(tiny, frame):
    def extract(**arguments):
        return build_extractor('sam', checkpoint=tiny, model_type='tiny', points_per_side=3, **KEEP_ALL, **arguments)(
            frame, 'a'
        )

    _, scores = extract(order='iou')
    assert (np.diff(scores) <= 0).all()
    every, all_scores = extract()
    masks, _ = extract(max_masks=4)
    assert np.array_equal(masks, every[:4])
    masks, scores = extract(max_masks=4, keep='iou')
    assert sorted(scores) == sorted(all_scores)[-4:]
    assert (np.diff(masks.sum((1, 2))) <= 0).all()


def test_at_most_64_of_192_candidates_are_kept(tiny, frame):
    """8x8 points with three masks each, as in the paper."""
    theirs = reference(tiny, frame, tiny_sam, points_per_side=8, **KEEP_ALL)
    assert len(theirs) > 64
    masks, scores = build_extractor('sam', checkpoint=tiny, model_type='tiny', **KEEP_ALL)(frame, 'a')
    assert masks.shape == (64, 20, 34)
    assert scores.shape == (64,)
    assert masks.sum((1, 2)).tolist() == sorted((item['area'] for item in theirs), reverse=True)[:64]


def test_no_mask_survives_the_default_thresholds_with_random_weights(tiny, frame):
    masks, scores = build_extractor('sam', checkpoint=tiny, model_type='tiny')(frame, 'a')
    assert masks.shape == (0, 20, 34)
    assert scores.shape == (0,)


@pytest.mark.parametrize('layers', [0, 1, 2])
@pytest.mark.parametrize('area', [0, 4])
@pytest.mark.parametrize('size', [(20, 34), (3, 3), (1, 1), (1, 2), (2, 1), (40, 1), (1, 5000)])
def test_a_frame_on_which_nothing_is_found_has_no_masks(tiny, size, layers, area):
    """With crops, too; of a frame of few pixels some have none, and of a thin one the network sees nothing at all."""
    extractor = build_extractor(
        'sam', checkpoint=tiny, model_type='tiny', points_per_side=1, crop_n_layers=layers, min_mask_region_area=area
    )
    masks, scores = extractor(np.zeros((*size, 3), np.uint8), 'a')
    assert masks.shape == (0, *size) and masks.dtype == bool
    assert scores.shape == (0,)


def test_a_run_goes_on_after_a_frame_without_masks(tiny, frame, tmp_path):
    """Of the first frame nothing is found, of the second something."""
    extractor = build_extractor('sam', checkpoint=tiny, model_type='tiny', points_per_side=1, crop_n_layers=1)
    keys = ['a/00000000', 'a/00000001']

    def read(key: str) -> np.ndarray:
        for name, value in KEEP_ALL.items():
            setattr(extractor._generator, name, value if key == keys[1] else 2.0)
        return frame

    assert extract(extractor, keys, read, tmp_path / 'store', progress=False).made == 2
    masks = PriorStore(tmp_path / 'store').clip_masks(keys, frame_size=frame.shape[:2])
    assert not masks[0].any() and masks[1].any()


@pytest.mark.parametrize('where', [[0], [2], [4], [0, 4], [1, 2], []])
def test_masks_of_the_whole_frame_or_of_some_crops_alone(tiny, frame, monkeypatch, where):
    """Crops without masks, the first and the last one included, take nothing away from the others."""
    extractor = build_extractor(
        'sam', checkpoint=tiny, model_type='tiny', points_per_side=1, crop_n_layers=1, crop_nms_thresh=1.0, **KEEP_ALL
    )
    generator = extractor._generator
    number, process = iter(range(5)), generator._process_batch

    def only_there(*arguments):
        generator.pred_iou_thresh = 0.0 if next(number) in where else 2.0
        return process(*arguments)

    monkeypatch.setattr(generator, '_process_batch', only_there)
    masks, scores = extractor(frame, 'a')
    assert next(number, None) is None, 'not all crops were looked at'
    assert masks.shape == (len(scores), *frame.shape[:2])
    if not where or 0 in where:  # of those of crops, the ones that touch an edge are left out
        assert bool(len(masks)) == bool(where)


@pytest.mark.parametrize('size', [(1, 1), (1, 2), (3, 3)])
def test_masks_of_tiny_frames(tiny, size):
    extractor = build_extractor(
        'sam', checkpoint=tiny, model_type='tiny', points_per_side=1, crop_n_layers=2, **KEEP_ALL
    )
    masks, scores = extractor(np.full((*size, 3), 90, np.uint8), 'a')
    assert 0 < len(masks) == len(scores) and masks.shape[1:] == size


class FakeGenerator:
    """Four masks in the order of predicted IoU, as the package returns them."""

    def generate(self, frame: np.ndarray) -> list[dict]:
        found = []
        for score, area, point in ((0.99, 2, (9, 1)), (0.95, 6, (1, 1)), (0.93, 6, (5, 1)), (0.9, 4, (1, 9))):
            mask = np.zeros(frame.shape[:2], bool)
            left = 0 if score == 0.93 else 1
            mask[1, left : left + area] = True
            box = [left, 1, area, 1]  # x, y, width, height
            found.append(
                {'segmentation': mask, 'area': area, 'bbox': box, 'predicted_iou': score, 'point_coords': [list(point)]}
            )
        return found


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ({}, [0.93, 0.95, 0.9, 0.99]),  # equal areas: the one further left first
        ({'order': 'iou'}, [0.99, 0.95, 0.93, 0.9]),
        ({'order': 'grid'}, [0.95, 0.93, 0.99, 0.9]),  # point_coords are (x, y): rows of the grid first
        ({'max_masks': 2}, [0.93, 0.95]),
        ({'max_masks': 2, 'keep': 'iou'}, [0.95, 0.99]),
        ({'max_masks': 3, 'keep': 'iou', 'order': 'grid'}, [0.95, 0.93, 0.99]),
    ],
)
def test_order_with_known_masks(tiny, frame, arguments, expected):
    extractor = build_extractor('sam', checkpoint=tiny, model_type='tiny', **arguments)
    extractor._generator = FakeGenerator()
    masks, scores = extractor(frame, 'a')
    assert scores.tolist() == expected
    assert masks.any((1, 2)).all()


def test_metadata_name_everything_that_decides_the_masks(tiny):
    extractor = build_extractor('sam', checkpoint=tiny, model_type='tiny', points_per_batch=7, order='grid')
    sha256 = hashlib.sha256(Path(tiny).read_bytes()).hexdigest()
    meta = store_metadata('sam', extractor.parameters, extractor.checkpoint, extractor.order, extractor.max_masks)
    assert meta['checkpoint'] == {'file': 'tiny.pth', 'sha256': sha256}
    assert meta['order'] == 'grid'
    assert meta['parameters'] == {
        'model_type': 'tiny',
        'points_per_side': 8,
        'pred_iou_thresh': 0.88,
        'stability_score_thresh': 0.95,
        'stability_score_offset': 1.0,
        'box_nms_thresh': 0.7,
        'crop_n_layers': 0,
        'crop_nms_thresh': 0.7,
        'crop_overlap_ratio': 512 / 1500,
        'crop_n_points_downscale_factor': 1,
        'min_mask_region_area': 0,
        'keep': 'area',
    }


def test_defaults_are_those_of_the_package_but_for_the_grid():
    import inspect

    ours = inspect.signature(sam.SAMExtractor).parameters
    theirs = inspect.signature(segment_anything.SamAutomaticMaskGenerator).parameters
    shared = {name for name in ours if name in theirs} - {'points_per_side'}
    assert len(shared) == 10
    assert {name: ours[name].default for name in shared} == {name: theirs[name].default for name in shared}
    assert ours['points_per_side'].default == 8


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_a_missing_checkpoint_says_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r'none.pth does not exist\. The official ones are at https://github.com/'):
        build_extractor('sam', checkpoint=str(tmp_path / 'none.pth'))


def test_an_official_name_needs_the_official_content(tmp_path):
    for name, sha256 in sam.OFFICIAL_SHA256.items():
        (tmp_path / name).write_bytes(b'half a download')
        with pytest.raises(UserError, match=f'that of the official file of this name is {sha256}'):
            build_extractor('sam', checkpoint=str(tmp_path / name))


def test_a_checksum_is_checked(tiny):
    sha256 = hashlib.sha256(Path(tiny).read_bytes()).hexdigest()
    build_extractor('sam', checkpoint=tiny, model_type='tiny', checksum=sha256)
    with pytest.raises(UserError, match=f'{sha256}, but the checksum that was asked for is abc'):
        build_extractor('sam', checkpoint=tiny, model_type='tiny', checksum='ABC')


def test_another_model_type_is_named(tiny):
    with pytest.raises(UserError, match=r'is tiny, but vit_h was asked for. Use: --model-type tiny'):
        build_extractor('sam', checkpoint=tiny)


@pytest.mark.parametrize('name', ['vit_h', 'vit_l', 'vit_b'])
def test_model_types_are_recognised_by_the_shapes_of_their_weights(name):
    with torch.device('meta'):
        state = segment_anything.sam_model_registry[name]().state_dict()
    assert sam._model_type_of(state) == name


def test_weights_of_something_else(tmp_path, tiny):
    path = str(tmp_path / 'other.pth')
    torch.save({'conv.weight': torch.ones(1)}, path)
    with pytest.raises(UserError, match='is not one of Segment Anything'):
        build_extractor('sam', checkpoint=path)
    state = torch.load(tiny, weights_only=True)
    torch.save({key: value for key, value in state.items() if 'iou_token' not in key}, path)
    with pytest.raises(UserError, match=r'does not fit tiny of Segment Anything: .*iou_token'):
        build_extractor('sam', checkpoint=path, model_type='tiny')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'model_type': 'vit_x'}, "must be one of vit_h, vit_l, vit_b, tiny, not 'vit_x'"),
        ({'order': 'id'}, 'order of masks must be one of area, iou, grid'),
        ({'keep': 'grid'}, 'keep must be one of area, iou'),
        ({'points_per_side': 0}, 'points_per_side must be at least 1 and at most 1,024'),
        ({'points_per_side': 10**9}, 'points_per_side must be at least 1'),
        ({'points_per_batch': 0}, 'points_per_batch must be at least 1'),
        ({'pred_iou_thresh': float('nan')}, r'pred_iou_thresh must be at least 0 and at most 1 \(a number\), not nan'),
        ({'box_nms_thresh': -1.0}, 'box_nms_thresh must be at least 0'),
        ({'stability_score_offset': float('inf')}, 'stability_score_offset must be at least 0'),
        ({'min_mask_region_area': -1}, 'min_mask_region_area must be at least 0'),
        ({'crop_n_layers': -1}, 'crop_n_layers must be at least 0 and at most 6'),
        ({'crop_n_layers': True}, 'crop_n_layers must be at least 0'),
        ({'crop_n_layers': 1, 'crop_overlap_ratio': float('nan')}, 'crop_overlap_ratio must be at least 0'),
        ({'crop_n_points_downscale_factor': 0}, 'crop_n_points_downscale_factor must be at least 1'),
        (
            {'crop_n_layers': 2, 'crop_n_points_downscale_factor': 3},
            'points_per_side is 8, .* leaves no point in crop layer 2. It must be at least 9',
        ),
        ({'max_masks': 0}, 'max_masks must be at least 1'),
        ({'device': 'gpu'}, "cannot run on the device 'gpu'"),
    ],
)
def test_values_that_do_not_exist(tiny, arguments, message):
    with pytest.raises(UserError, match=message):
        build_extractor('sam', **{'checkpoint': tiny, 'model_type': 'tiny', **arguments})


@pytest.mark.slow
def test_the_real_architecture_loads_and_runs(tmp_path, frame):
    """ViT-B with its real size and names of weights, random ones, one point."""
    torch.manual_seed(0)
    path = str(tmp_path / 'vit_b.pth')
    weights = segment_anything.sam_model_registry['vit_b']().state_dict()
    torch.save(weights, path)
    extractor = build_extractor('sam', checkpoint=path, model_type='vit_b', points_per_side=1, **KEEP_ALL)
    loaded = extractor._generator.predictor.model.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)
    masks, scores = extractor(frame, 'a')
    assert masks.shape == (3, *frame.shape[:2])
    assert scores.shape == (3,)
