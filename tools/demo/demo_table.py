"""The demo's figures: quality of restored frames, averaged as the field does, and printed as one table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

METRICS = {'psnr_y': 'PSNR Y', 'ssim_y': 'SSIM Y', 'psnr_rgb': 'PSNR RGB', 'ssim_rgb': 'SSIM RGB'}
"""Keys of the metrics in the option files, and the headings of their columns."""


@dataclass(frozen=True)
class Result:
    """One line of the table.

    Attributes:
        method: what the line is called.
        clips: clip -> metric key -> mean over the clip's frames.
        note: what was trained for it, in a few words.
    """

    method: str
    clips: dict[str, dict[str, float]]
    note: str = ''

    @property
    def average(self) -> dict[str, float]:
        """Mean over the clips of the clips' means."""
        return {key: float(np.mean([clip[key] for clip in self.clips.values()])) for key in METRICS}


def measure(restored: np.ndarray, gt: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM of one uint8 RGB frame on Y (BT.601, 16 to 235) and on RGB, by BasicSR's functions."""
    from basicsr.metrics import calculate_psnr, calculate_ssim

    first, second = (np.ascontiguousarray(image[:, :, ::-1]) for image in (restored, gt))  # BasicSR takes BGR
    return {
        f'{name}_{channels}': float(function(first, second, crop_border=0, test_y_channel=channels == 'y'))
        for name, function in (('psnr', calculate_psnr), ('ssim', calculate_ssim))
        for channels in ('y', 'rgb')
    }


def bicubic(frame: np.ndarray, scale: int = 4) -> np.ndarray:
    """A uint8 frame enlarged as MATLAB's imresize does it, the field's convention for "bicubic"."""
    from basicsr.utils.matlab_functions import imresize

    enlarged = imresize(frame.astype(np.float32) / 255, scale)
    return np.round(np.clip(enlarged, 0, 1) * 255).astype(np.uint8)


def result_of_frames(method: str, frames: Iterable[tuple[str, np.ndarray, np.ndarray]], note: str = '') -> Result:
    """Measures (clip, restored, gt) frames and averages them clip by clip."""
    rows: dict[str, list[dict[str, float]]] = {}
    for clip, restored, gt in frames:
        rows.setdefault(clip, []).append(measure(restored, gt))
    clips = {clip: {key: float(np.mean([row[key] for row in of])) for key in METRICS} for clip, of in rows.items()}
    return Result(method, clips, note)


def result_of_test(method: str, file: Path, note: str = '') -> Result:
    """Reads the results that `basicsr test` wrote (`results/NAME/validation/DATASET_NAME.json`)."""
    return Result(method, json.loads(file.read_text(encoding='utf-8'))['clips'], note)


def _cells(values: dict[str, float], against: dict[str, float] | None) -> list[str]:
    cells = []
    for key in METRICS:
        digits = 2 if key.startswith('psnr') else 4
        gain = '' if against is None else f' ({values[key] - against[key]:+.{digits}f})'
        cells.append(f'{values[key]:.{digits}f}{gain}')
    return cells


def markdown(results: list[Result]) -> str:
    """The table of all results: averages with the gain over the first line, then one line a clip and method."""
    lines = [['method', *METRICS.values(), 'trained'], ['---', *['---:'] * len(METRICS), '---']]
    for index, result in enumerate(results):
        lines.append([result.method, *_cells(result.average, results[0].average if index else None), result.note])
    per_clip = [['clip', 'method', *METRICS.values()], ['---', '---', *['---:'] * len(METRICS)]]
    for clip in results[0].clips:
        for result in results:
            per_clip.append([clip, result.method, *_cells(result.clips[clip], None)])
    return f'{_aligned(lines)}\n\n{_aligned(per_clip)}\n'


def _aligned(rows: list[list[str]]) -> str:
    """Markdown that also reads well as plain text: columns of equal width, numbers to the right."""
    right = [cell.endswith(':') for cell in rows[1]]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    text = []
    for number, row in enumerate(rows):
        cells = []
        for cell, width, to_right in zip(row, widths, right, strict=True):
            if number == 1:
                cells.append('-' * (width - 1) + ':' if to_right else '-' * width)
            else:
                cells.append(cell.rjust(width) if to_right else cell.ljust(width))
        text.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(text)


def as_json(results: list[Result]) -> str:
    """The same figures for programs."""
    content = [
        {'method': item.method, 'trained': item.note, 'average': item.average, 'clips': item.clips} for item in results
    ]
    return json.dumps({'results': content}, indent=1) + '\n'
