"""Validation of instance segmentation: AP where videos are annotated, a results file for the server where not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger
from tqdm import tqdm

from ..engine.distributed import gather_lists, together
from ..metrics.video_instance_ap import VideoMatch, class_precision, compare_video, summarise
from ..utils.files import write_whole
from ..utils.names import inside
from ..utils.printing import printable
from .video_instance_inference import VideoPrediction

Predict = Callable[[torch.Tensor, tuple[int, int], int], list[VideoPrediction]]


def validate_videos(model, dataset, predict: Predict, current_iter: int | str, tb_logger) -> dict[str, float]:
    """Find the instances of every video of a data set and judge them; processes share the videos.

    With annotations the figures go to ``<log>/validation/<dataset>_<iter>.json``, without any the predictions go to
    ``<log>/validation/<dataset>_<iter>/results.json``, as the server of YouTube-VIS takes them.

    Args:
        model: A BasicSR model, for its options and best results.
        dataset: A ``VideoInstanceTestDataset``.
        predict: Gives the instances of frames (T, 3, h, w) at a size (height, width), among the first so many classes.
        current_iter: Iteration, or the experiment's name in a test.
        tb_logger: TensorBoard writer or None.

    Returns:
        ``AP``, ``AP50``, ``AP75``, ``AR1`` and ``AR10`` in [0, 1]; empty without annotations.

    Raises:
        UserError: The data set's name would lead out of the folder of the results.
    """
    opt = model.opt
    rank, world = opt.get('rank', 0), opt.get('world_size', 1)
    name, categories = dataset.opt['name'], dataset.categories
    stem = inside(Path(opt['path']['log']) / 'validation', f'{name}_{current_iter}')
    matches: list[VideoMatch] = []
    results: list[dict[str, Any]] = []
    with tqdm(total=len(dataset), unit='video', desc=f'Test {printable(name)}', disable=rank != 0) as bar, together():
        for index in range(rank, len(dataset), world):
            item = dataset[index]
            found = predict(item['frames'], tuple(item['size']), len(categories))
            if dataset.annotated:
                matches += compare_video(item['video_id'], [vars(one) for one in found], wanted(dataset, index))
            else:
                results += [_result(item, one, categories) for one in found]
            bar.update(min(world, len(dataset) - bar.n))
    if not dataset.annotated:
        results = sorted(gather_lists(results), key=lambda one: one['video_id'])
        if rank == 0:
            write_whole(stem / 'results.json', json.dumps(results).encode())
        get_root_logger().info(f'{name} has no annotations: {len(results)} predictions for the server are in {stem}.')
        return {}
    matches = gather_lists(matches)
    figures = summarise(matches)
    names = _names(categories)
    content = {
        'dataset': name,
        'average': figures,
        'videos': len(dataset),
        'categories': {names[label]: value for label, value in class_precision(matches).items()},
    }
    if rank == 0:
        write_whole(f'{stem}.json', json.dumps(content, indent=1).encode())
    _log(model, name, figures, len(dataset), current_iter, tb_logger if rank == 0 else None)
    return figures


def wanted(dataset, index: int) -> list[dict[str, Any]]:
    """What is annotated in a video, as :func:`compare_video` takes it."""
    annotated = dataset.annotations(index)
    return [
        {'label': int(label), 'masks': masks, 'crowd': bool(crowd)}
        for label, masks, crowd in zip(annotated['labels'], annotated['masks'], annotated['crowd'], strict=True)
    ]


def _names(categories) -> list[str]:
    """What to call each class in the report; the number is added to a name that is missing or not unique."""
    names = [str(category.get('name', 'category')) for category in categories]
    return [
        name if names.count(name) == 1 and 'name' in category else f'{name} {category["id"]}'
        for name, category in zip(names, categories, strict=True)
    ]


def _result(item: dict[str, Any], found: VideoPrediction, categories) -> dict[str, Any]:
    """One row of the server's file; frames that the annotation file lists but that were not there have no mask."""
    segmentations: list[dict[str, Any] | None] = [None] * item['num_listed']
    for position, mask in zip(item['positions'], found.masks, strict=True):
        segmentations[position] = mask
    return {
        'video_id': item['video_id'],
        'score': found.score,
        'category_id': categories[found.label]['id'],
        'segmentations': segmentations,
    }


def _log(model, name: str, figures: dict[str, float], videos: int, current_iter: int | str, tb_logger) -> None:
    """A table in the log, scalars in TensorBoard, and the best so far."""
    best = model.__dict__.setdefault('best_metric_results', {})
    best.setdefault(name, {m: {'better': 'higher', 'val': float('-inf'), 'iter': -1} for m in figures})
    for metric, value in figures.items():
        model._update_best_metric_result(name, metric, value, current_iter)
        if tb_logger:
            tb_logger.add_scalar(f'metrics/{name}/{metric}', value, current_iter)
    rows = [
        [f'{printable(name)}, {videos} videos', *figures],
        ['%', *(f'{100 * value:.2f}' for value in figures.values())],
    ]
    if model.is_train:
        rows.append(['best', *(f'{100 * best[name][m]["val"]:.2f}' for m in figures)])
        rows.append(['at iteration', *(str(best[name][m]['iter']) for m in figures)])
    width = max(len(row[0]) for row in rows)
    lines = [f'\t{row[0]:<{width}}' + ''.join(f'{cell:>9}' for cell in row[1:]) for row in rows]
    get_root_logger().info('\n'.join(['Validation', *lines]))
