"""Average precision of videos: a case computed by hand, and COCO's own code where a video is one frame."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from basicsr_semantic.metrics.video_instance_ap import class_precision, compare_video, summarise, video_iou


def encode(mask: np.ndarray) -> dict:
    code = coco.encode(np.asfortranarray(mask, np.uint8))
    return {'size': list(mask.shape), 'counts': code['counts'].decode()}


def bar(*columns: int | None) -> list[dict | None]:
    """A mask in each frame that fills so many of ten columns; None: the instance is not there."""
    return [None if c is None else encode(np.arange(10)[None].repeat(4, 0) < c) for c in columns]


def prediction(label: int, score: float, masks: list) -> dict:
    return {'label': label, 'score': score, 'masks': masks}


def annotation(label: int, masks: list, crowd: bool = False) -> dict:
    return {'label': label, 'masks': masks, 'crowd': crowd}


def test_overlap_sums_intersections_and_unions_over_frames():
    assert video_iou(bar(10, 5), bar(5, 10)) == 10 / 20
    assert video_iou(bar(10, None), bar(5, 10)) == 5 / 20  # not the mean of 1/2 and 0
    assert video_iou(bar(None, 3), bar(None, 3)) == 1
    assert video_iou(bar(None, 0), bar(None, None)) == 0
    with pytest.raises(ValueError, match='size'):
        video_iou(bar(3), [encode(np.ones((2, 2)))])
    with pytest.raises(ValueError, match='longer'):
        video_iou(bar(3), bar(3, 3))


def test_a_case_by_hand():
    """Two videos, classes 0 and 1, four annotated instances.

    Class 0: instances A (video a), B (video a) and C (video b). By score: .9 overlaps A by 1; .8 overlaps B by .8;
    .7 overlaps nothing; .6 overlaps C by .62.
    Class 1: instance D, overlapped by .7 with score .5; class 2 is predicted, but never annotated: it does not count.

    Class 0, thresholds .5, .55, .6 (right right wrong right): precision 1 up to recall 2/3 (67 of the 101 recalls:
    .00 to .66), then 3/4 (34). Mean (67 + 34 * .75) / 101. Thresholds .65 to .8 (right right wrong wrong): 67 / 101.
    Thresholds .85 to .95 (right wrong wrong wrong): 34 / 101 (.00 to .33).
    Class 1: right up to .7, five thresholds of ten.
    With one prediction a video: class 0 has .9 (A) and .6 (C): recall 2/3 at three thresholds, else 1/3; class 1 as
    before. With ten: 1 at three thresholds, 2/3 at four, 1/3 at three.
    """
    disjoint = [encode(np.arange(10)[None].repeat(4, 0) >= 9)] * 2
    a = compare_video(
        'a',
        [
            prediction(0, 0.7, disjoint),
            prediction(0, 0.9, bar(5, None)),
            prediction(0, 0.8, bar(None, 8)),
            prediction(1, 0.5, bar(7, 7)),
            prediction(2, 0.99, bar(7, 7)),
        ],
        [annotation(0, bar(5, None)), annotation(0, bar(None, 10)), annotation(1, bar(10, 10))],
    )
    c = [encode((np.arange(100) < 62).reshape(10, 10))]
    b = compare_video('b', [prediction(0, 0.6, c)], [annotation(0, [encode(np.ones((10, 10)))])])
    result = summarise(b + a)
    low, middle, high = (67 + 34 * 0.75) / 101, 67 / 101, 34 / 101
    class_0 = (3 * low + 4 * middle + 3 * high) / 10
    # .7 and .8 as thresholds are sums in floating point; 28/40 and 32/40 reach them
    assert result['AP'] == pytest.approx((class_0 + 0.5) / 2, abs=1e-12)
    assert result['AP50'] == pytest.approx((low + 1) / 2, abs=1e-12)
    assert result['AP75'] == pytest.approx(middle / 2, abs=1e-12)
    assert result['AR1'] == pytest.approx(((3 * 2 / 3 + 7 * 1 / 3) / 10 + 0.5) / 2, abs=1e-12)
    assert result['AR10'] == pytest.approx(((3 * 1 + 4 * 2 / 3 + 3 * 1 / 3) / 10 + 0.5) / 2, abs=1e-12)
    assert class_precision(a + b) == pytest.approx({0: class_0, 1: 0.5}, abs=1e-12)


def test_perfect_predictions_score_one_and_none_zero():
    wanted = [annotation(0, bar(3, 4)), annotation(0, bar(9, None)), annotation(4, bar(None, 2))]
    perfect = [prediction(one['label'], 0.5, one['masks']) for one in wanted]
    assert summarise(compare_video(1, perfect, wanted)) == pytest.approx(
        {'AP': 1, 'AP50': 1, 'AP75': 1, 'AR1': 0.75, 'AR10': 1}
    )
    assert set(summarise(compare_video(1, [], wanted)).values()) == {0.0}
    assert set(summarise(compare_video(1, perfect, [])).values()) == {-1.0}
    assert set(summarise([]).values()) == {-1.0}


def test_an_instance_is_found_once():
    twice = [prediction(0, 0.9, bar(5)), prediction(0, 0.8, bar(5))]
    result = summarise(compare_video('a', twice, [annotation(0, bar(5)), annotation(0, bar(None))]))
    # the second instance is empty and cannot be found: precision 1 up to recall 1/2
    assert result['AP50'] == pytest.approx(51 / 101)


def test_what_matches_a_crowd_counts_neither_way():
    wanted = [annotation(0, bar(5)), annotation(0, bar(9), crowd=True)]
    crowd_only = [prediction(0, 0.9, bar(9)), prediction(0, 0.8, bar(8)), prediction(0, 0.7, bar(5))]
    assert summarise(compare_video('a', crowd_only, wanted))['AP75'] == pytest.approx(1)
    no_crowd = compare_video('a', crowd_only, wanted[:1])  # now the first two are wrong: overlaps 5/9 and 5/8
    assert summarise(no_crowd)['AP75'] == pytest.approx(1 / 3)
    assert set(summarise(compare_video('a', crowd_only, wanted[1:])).values()) == {-1.0}


def coco_summary(images: list[tuple[list[dict], list[dict]]], size: tuple[int, int]) -> list[float]:
    """COCO's figures for the same predictions and annotations, each of one frame."""
    gt, results, number = [], [], 0
    for image, (predicted, annotated) in enumerate(images, start=1):
        for one in annotated:
            number += 1
            (mask,) = one['masks']
            gt.append({
                'id': number, 'image_id': image, 'category_id': one['label'], 'segmentation': mask, 'iscrowd': 0,
                'area': float(coco.area(mask)), 'bbox': coco.toBbox(mask).tolist(),
            })  # fmt: skip
        for one in predicted:
            results.append({
                'image_id': image, 'category_id': one['label'], 'score': one['score'], 'segmentation': one['masks'][0],
            })  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO()
        api.dataset = {
            'images': [{'id': i, 'height': size[0], 'width': size[1]} for i in range(1, len(images) + 1)],
            'annotations': gt,
            'categories': [{'id': i} for i in range(4)],
        }
        api.createIndex()
        evaluation = COCOeval(api, api.loadRes(results), 'segm')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = evaluation.stats
    return [stats[0], stats[1], stats[2], stats[6], stats[7]]


@pytest.mark.parametrize('seed', range(8))
def test_one_frame_videos_get_the_figures_of_pycocotools(seed):
    random = np.random.default_rng(seed)

    def box() -> list[dict]:
        mask = np.zeros((24, 24), bool)
        top, left = random.integers(0, 16, 2)
        height, width = random.integers(3, 9, 2)
        mask[top : top + height, left : left + width] = True
        return [encode(mask)]

    images = []
    for _ in range(6):
        annotated = [annotation(int(random.integers(0, 3)), box()) for _ in range(random.integers(0, 5))]
        predicted = [prediction(int(random.integers(0, 4)), round(float(random.random()), 1), box()) for _ in range(4)]
        for one in annotated:  # near misses of every size
            shown = coco.decode(one['masks'][0]).astype(bool)
            if random.random() < 0.8:
                shown &= random.random(shown.shape) < random.uniform(0.4, 1.05)
                predicted.append(prediction(one['label'], round(float(random.random()), 1), [encode(shown)]))
        images.append((predicted, annotated))
    matches = [one for i, (p, a) in enumerate(images, start=1) for one in compare_video(i, p, a)]
    ours = summarise(matches)
    np.testing.assert_allclose(list(ours.values()), coco_summary(images, (24, 24)), rtol=0, atol=1e-12)
    assert 0 < ours['AP'] < 1
