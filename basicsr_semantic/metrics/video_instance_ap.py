"""Average precision of video instance segmentation as YouTube-VIS defines it (Yang et al., ICCV 2019).

It is COCO's measure with masks of videos: the intersection over union of two instances is the sum of intersections of
all frames over the sum of unions. COCO's classes of size (small, medium, large) are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""AP is the mean over these."""
RECALLS = np.linspace(0, 1, 101)
"""Precision is read at these recalls."""
MAX_DETECTIONS = 100
"""Predictions of one class in one video that AP looks at, by score."""

RunLengths = dict[str, Any]
Masks = Sequence[RunLengths | None]


@dataclass
class VideoMatch:
    """Predictions of one class in one video against what was annotated; small enough to be sent between processes.

    Attributes:
        video: Name or number of the video; results are sorted by it.
        label: The class.
        scores: (p,) float, descending; at most ``MAX_DETECTIONS``.
        ious: (p, n) float.
        ignored: (n,) bool, annotated crowds: what matches them counts neither as right nor as wrong.
    """

    video: str | int
    label: int
    scores: np.ndarray
    ious: np.ndarray
    ignored: np.ndarray


def video_iou(predicted: Masks, annotated: Masks) -> float:
    """Intersection over union in space and time.

    Args:
        predicted: For each frame compressed run lengths ``{'size', 'counts'}`` of the COCO API, or None.
        annotated: The same, of as many frames.

    Returns:
        Between 0 and 1; 0 where both are empty.

    Raises:
        ValueError: Differing numbers of frames, or frames of differing sizes.
    """
    import pycocotools.mask as coco

    both = either = 0
    for one, two in zip(predicted, annotated, strict=True):
        if one is not None and two is not None:
            if list(one['size']) != list(two['size']):
                raise ValueError(f'A predicted mask has the size {one["size"]}, the annotated one {two["size"]}.')
            pair: Any = [one, two]
            both += int(coco.area(coco.merge(pair, intersect=True)))
            either += int(coco.area(coco.merge(pair)))
        elif one is not None or two is not None:
            alone: Any = one if one is not None else two
            either += int(coco.area(alone))
    return both / either if either else 0.0


def compare_video(
    video: str | int, predictions: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]]
) -> list[VideoMatch]:
    """Compare the predictions of one video with its annotations, class by class.

    Args:
        video: Name or number of the video.
        predictions: Dicts of ``label`` int, ``score`` float and ``masks``, see :func:`video_iou`.
        annotations: Dicts of ``label`` int, ``masks``, and ``crowd`` bool where it is one.

    Returns:
        One entry for each class that is predicted or annotated.
    """
    found = []
    for label in sorted({int(one['label']) for one in (*predictions, *annotations)}):
        wanted = [one for one in annotations if int(one['label']) == label]
        given = sorted((one for one in predictions if int(one['label']) == label), key=lambda one: -one['score'])
        given = given[:MAX_DETECTIONS]
        ious = [[video_iou(one['masks'], two['masks']) for two in wanted] for one in given]
        found.append(
            VideoMatch(
                video,
                label,
                np.array([one['score'] for one in given], float),
                np.array(ious, float).reshape(len(given), len(wanted)),
                np.array([bool(one.get('crowd', False)) for one in wanted], bool),
            )
        )
    return found


def summarise(matches: Sequence[VideoMatch]) -> dict[str, float]:
    """Average precision and recall over classes and thresholds.

    Args:
        matches: All classes of all videos, in any order.

    Returns:
        ``AP`` (mean over ten thresholds), ``AP50``, ``AP75``, ``AR1`` and ``AR10`` (recall with at most 1 or 10
        predictions of a class in a video), each in [0, 1], or -1 where nothing was annotated, as COCO has it.
    """
    by_class: dict[int, list[VideoMatch]] = {}
    for one in sorted(matches, key=lambda match: match.video):
        by_class.setdefault(one.label, []).append(one)
    annotated = [rows for rows in by_class.values() if any((~one.ignored).any() for one in rows)]
    if not annotated:
        return dict.fromkeys(('AP', 'AP50', 'AP75', 'AR1', 'AR10'), -1.0)
    precision = np.stack([_precision_and_recall(rows, MAX_DETECTIONS)[0] for rows in annotated])
    recall = {count: np.stack([_precision_and_recall(rows, count)[1] for rows in annotated]) for count in (1, 10)}
    return {
        'AP': float(precision.mean()),
        'AP50': float(precision[:, 0].mean()),
        'AP75': float(precision[:, 5].mean()),
        'AR1': float(recall[1].mean()),
        'AR10': float(recall[10].mean()),
    }


def class_precision(matches: Sequence[VideoMatch]) -> dict[int, float]:
    """``AP`` of each class that was annotated."""
    labels = {one.label for one in matches if (~one.ignored).any()}
    return {label: summarise([one for one in matches if one.label == label])['AP'] for label in sorted(labels)}


def _precision_and_recall(rows: Sequence[VideoMatch], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one class in all videos: precision (thresholds, recalls) and highest recall (thresholds,)."""
    judged = [_judge(one, count) for one in rows]
    scores = np.concatenate([one.scores[:count] for one in rows])
    order = np.argsort(-scores, kind='stable')
    right = np.concatenate([one[0] for one in judged], axis=1)[:, order]
    counted = ~np.concatenate([one[1] for one in judged], axis=1)[:, order]
    wanted = sum(int((~one.ignored).sum()) for one in rows)
    hits = np.cumsum(right & counted, axis=1).astype(float)
    misses = np.cumsum(~right & counted, axis=1).astype(float)
    precision = np.zeros((len(IOU_THRESHOLDS), len(RECALLS)))
    highest = np.zeros(len(IOU_THRESHOLDS))
    if not order.size:
        return precision, highest
    for i, (hit, miss) in enumerate(zip(hits, misses, strict=True)):
        recall = hit / wanted
        highest[i] = recall[-1]
        exact = hit / (hit + miss + np.spacing(1))
        envelope = np.maximum.accumulate(exact[::-1])[::-1]
        at = np.searchsorted(recall, RECALLS, side='left')
        reached = at < recall.size
        precision[i, reached] = envelope[at[reached]]
    return precision, highest


def _judge(match: VideoMatch, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the first predictions are matched, and which are not counted, each (thresholds, predictions).

    By descending score each prediction takes the free instance with the highest overlap, the later one of equals. A
    crowd, which can be matched any number of times, is taken only where no instance matches.
    """
    order = np.argsort(match.ignored, kind='stable')
    ious, ignored = match.ious[:count][:, order], match.ignored[order]
    shape = (len(IOU_THRESHOLDS), len(ious))
    right, uncounted = np.zeros(shape, bool), np.zeros(shape, bool)
    for i, threshold in enumerate(IOU_THRESHOLDS):
        taken = np.zeros(ignored.size, bool)
        for j, row in enumerate(ious):
            best, least = -1, min(threshold, 1 - 1e-10)
            for k, overlap in enumerate(row):
                if taken[k] and not ignored[k]:
                    continue
                if best >= 0 and not ignored[best] and ignored[k]:
                    break
                if overlap >= least:
                    best, least = k, overlap
            if best >= 0:
                taken[best] = right[i, j] = True
                uncounted[i, j] = ignored[best]
    return right, uncounted
