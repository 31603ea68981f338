"""The validation loop of all video models, ours and BasicSR's: any device, any number of processes, GT optional."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils import get_root_logger, tensor2img
from tqdm import tqdm

from ..utils.errors import UserError
from ..utils.files import write_whole
from ..utils.names import inside
from ..utils.printing import printable
from .distributed import gather_lists, together
from .evaluator import Evaluator


@dataclass
class Frame:
    """One restored frame and what it is compared with."""

    clip: str
    """Name of the clip."""
    index: int
    """Position of the frame in its clip."""
    name: str
    """File name of the frame without extension."""
    restored: torch.Tensor
    """(3, H, W) in [0, 1]."""
    gt: torch.Tensor | None
    """(3, H, W) in [0, 1], or None."""


@dataclass
class Report:
    """Results of one data set: rows a frame, averages a clip, average over clips."""

    dataset: str
    metrics: list[str]
    frames: list[dict[str, Any]] = field(default_factory=list)

    def clips(self) -> dict[str, dict[str, float]]:
        """Mean over the frames of each clip that have a value; metrics and clips without any are left out."""
        found: dict[str, dict[str, list[float]]] = {}
        for row in self.frames:
            for metric in self.metrics:
                if metric in row:
                    found.setdefault(row['clip'], {}).setdefault(metric, []).append(row[metric])
        return {
            clip: {m: float(np.mean(values[m])) for m in self.metrics if m in values}
            for clip, values in sorted(found.items())
        }

    def average(self) -> dict[str, float]:
        """Mean over the clips' means (as BasicSR's VideoBaseModel, and every paper of the field)."""
        clips = self.clips().values()
        return {m: float(np.mean([c[m] for c in clips if m in c])) for m in self.metrics if any(m in c for c in clips)}

    def write(self, stem: Path) -> None:
        """Write ``stem.json`` and ``stem.csv``, whole or not at all.

        Raises:
            UserError: The folder cannot be written.
        """
        table = io.StringIO()
        writer = csv.DictWriter(table, ['clip', 'index', 'frame', *self.metrics], restval='', lineterminator='\n')
        writer.writeheader()
        writer.writerows(self.frames)
        content = {'dataset': self.dataset, 'average': self.average(), 'clips': self.clips(), 'frames': self.frames}
        write_whole(f'{stem}.json', json.dumps(content, indent=1, allow_nan=False).encode())
        write_whole(f'{stem}.csv', table.getvalue().encode('utf-8', 'backslashreplace'))


def validate(model, dataloader, current_iter: int | str, tb_logger, save_img: bool) -> dict[str, float]:
    """Restore every frame of a data set, measure it, save and log the results.

    Processes share the items. Frames are measured as uint8, as in every paper of the field. Metrics that need GT have
    no value without; those that compare a frame with the one before (see `basicsr_semantic.metrics`) have none for the
    first frame of an item, a clip or a segment. Where items are windows around one frame they have none at all. The
    results are in ``<log>/validation/<dataset>_<iter>.json`` and ``.csv``.

    Args:
        model: A BasicSR video model: ``feed_data``, ``test`` (leaves ``output``), ``opt``, ``is_train``.
        dataloader: Its ``dataset`` gives clips, segments of clips, or windows around one frame.
        current_iter: Iteration, or the experiment's name in a test.
        tb_logger: TensorBoard writer or None.
        save_img: Save the restored frames below ``path:visualization``.

    Returns:
        Average of each metric that could be measured.

    Raises:
        UserError: Only the centre frame is kept, of segments that share frames; a name that would lead out of the
            folder of the results.
    """
    opt = model.opt
    dataset = dataloader.dataset
    name = dataset.opt['name']
    if (opt.get('val') or {}).get('center_frame_only') and dataset.opt.get('shift_last'):
        raise UserError(
            f"Data set '{name}': shift_last makes segments share frames, and val:center_frame_only keeps one of each. "
            'Remove one of the two options.'
        )
    metrics: dict[str, dict] = (opt.get('val') or {}).get('metrics') or {}
    rank, world = opt.get('rank', 0), opt.get('world_size', 1)
    stem = inside(Path(opt['path']['log']) / 'validation', f'{name}_{current_iter}')
    for clip in getattr(dataset, 'clip_lengths', ()) if save_img else ():
        inside(opt['path']['visualization'], name, clip)  # now, not after hours
    rows: list[dict[str, Any]] = []
    evaluator = Evaluator(metrics, name)
    with tqdm(total=len(dataset), unit='item', desc=f'Test {printable(name)}', disable=rank != 0) as bar, together():
        for item_index in range(rank, len(dataset), world):
            evaluator.begin_item()
            for frame in _restore(model, dataset, item_index):
                rows.append(judge(frame, evaluator, _image_path(opt, name, frame, current_iter) if save_img else None))
            evaluator.end_item()
            bar.update(min(world, len(dataset) - bar.n))
    report = Report(name, list(metrics), sorted(gather_lists(rows), key=lambda r: (r['clip'], r['index'])))
    for sentence in evaluator.remarks(set(report.average())):
        get_root_logger().warning(sentence)
    if rank == 0:
        report.write(stem)
    if report.average():
        _log(model, report, current_iter, tb_logger if rank == 0 else None)
    return report.average()


def _restore(model, dataset, item_index: int) -> Iterator[Frame]:
    """Run the model on one item and give its frames, one at a time; GT is read when its frame's turn comes."""
    item = dataset[item_index]
    batch = {k: v.unsqueeze(0) if torch.is_tensor(v) else v for k, v in item.items()}
    model.feed_data(batch)
    model.test()
    output = model.output.detach()
    for held in ('lq', 'gt', 'output', 'priors'):
        if hasattr(model, held):
            delattr(model, held)
    frames = output[0] if output.dim() == 5 else output  # (n, 3, H, W)
    read = (lambda k: dataset.read_gt(item_index, k)) if hasattr(dataset, 'read_gt') else (lambda k: None)
    yield from frames_of(item, frames, read)


def frames_of(
    item: dict[str, Any], frames: torch.Tensor, read_gt: Callable[[int], torch.Tensor | None]
) -> Iterator[Frame]:
    """The frames to judge of an item, one at a time.

    Args:
        item: Of a data set, ours or BasicSR's.
        frames: What was restored of it (n, 3, H, W).
        read_gt: Reads the GT of a frame by its place among those to judge, where the item has none.
    """
    clip, indices, names = _places(item, len(frames))
    frames = frames[len(frames) - len(indices) :]  # a segment may begin with frames that the one before has shown
    gt = item.get('gt')
    for k, index in enumerate(indices):
        if gt is not None:
            truth = gt[gt.size(0) // 2 if len(indices) == 1 else k] if gt.dim() == 4 else gt
        else:
            truth = read_gt(k)
        yield Frame(clip, index, names[k], frames[k], truth)


def _places(item: dict[str, Any], count: int) -> tuple[str, list[int], list[str]]:
    """(clip, indices, names) of the ``count`` frames restored from an item of our data sets or BasicSR's."""
    if 'clip' in item:
        indices, names = list(item['frame_indices']), list(item['frame_names'])
        if count == 1 and len(indices) > 1:  # only the centre frame is kept (Vimeo-90K)
            middle = len(indices) // 2
            indices, names = [indices[middle]], [names[middle]]
        return item['clip'], indices, names
    clip, path = str(item['folder']), item.get('lq_path') or ''
    if 'idx' in item and count == 1:  # one window of VideoTestDataset or VideoTestVimeo90KDataset: '3/100'
        parts = Path(path).parts if isinstance(path, str) else ()
        if 'vimeo' in clip.lower() and len(parts) > 2:
            return '/'.join(parts[-3:-1]), [int(str(item['idx']).split('/')[0])], [Path(path).stem]
        return clip, [int(str(item['idx']).split('/')[0])], [Path(path).stem if path else str(item['idx'])]
    return clip, list(range(count)), [f'{i:08d}' for i in range(count)]


def judge(frame: Frame, evaluator: Evaluator, image_path: Path | None) -> dict[str, Any]:
    """Quantise a frame, save it where asked, and measure it: a row of a :class:`Report`.

    Raises:
        UserError: Its GT is of another size, or a metric refuses it.
    """
    row: dict[str, Any] = {'clip': frame.clip, 'index': frame.index, 'frame': frame.name}
    restored = _quantised(frame.restored)
    if image_path is not None:
        write_whole(image_path, cv2.imencode('.png', restored)[1].tobytes(), durable=False)
    gt = _quantised(frame.gt) if frame.gt is not None else None
    if gt is not None and gt.shape != restored.shape:
        raise UserError(
            f'Frame {frame.name} of clip {frame.clip} was restored to {restored.shape[:2]}, but its GT is '
            f'{gt.shape[:2]}. Do the LQ frames belong to this GT, at this scale?'
        )
    try:
        return row | evaluator.measure(frame.index, restored, gt)
    except UserError as error:
        raise UserError(f'Frame {frame.name} of clip {frame.clip}: {error}') from error


def _quantised(frame: torch.Tensor) -> np.ndarray:
    """(3, H, W) RGB in [0, 1] to (H, W, 3) uint8 BGR, rounded."""
    return np.asarray(tensor2img([frame]))


def _image_path(opt: dict, dataset: str, frame: Frame, current_iter: int | str) -> Path:
    """visualization/<dataset>/<clip>/<frame>_<suffix, experiment or iteration>.png"""
    tail = current_iter if opt['is_train'] else (opt['val'].get('suffix') or opt['name'])
    return inside(opt['path']['visualization'], dataset, frame.clip, f'{frame.name}_{tail}.png')


def _log(model, report: Report, current_iter: int | str, tb_logger) -> None:
    """Write averages and clips to the log and TensorBoard, and keep the best."""
    model._initialize_best_metric_results(report.dataset)
    clips, lines = report.clips(), [f'Validation {printable(report.dataset)}']
    for metric, value in report.average().items():
        model._update_best_metric_result(report.dataset, metric, value, current_iter)
        best = model.best_metric_results[report.dataset][metric]
        with_value = {clip: values[metric] for clip, values in clips.items() if metric in values}
        shown = '\t '.join(f'# {printable(clip)}: {_digits(one)}' for clip, one in list(with_value.items())[:12])
        more = f'\t # and {len(with_value) - 12} clips' if len(with_value) > 12 else ''
        lines.append(f'\t # {metric}: {_digits(value)}\t {shown}{more}')
        lines.append(f'\t    Best: {_digits(best["val"])} @ {best["iter"]} iter')
        if tb_logger:
            tb_logger.add_scalar(f'metrics/{report.dataset}/{metric}', value, current_iter)
            for clip, one in with_value.items():
                tb_logger.add_scalar(f'metrics/{report.dataset}/{metric}/{clip}', one, current_iter)
    get_root_logger().info('\n'.join(lines))


def _digits(value: float) -> str:
    """Four decimals as in BasicSR's log, more where these would leave little of a small value."""
    return f'{value:.4f}' if abs(value) >= 0.1 or value == 0 else f'{value:.4g}'
