"""The table that benchmark.py prints: its rows, made of what was measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

from cases import SIDES, Case

Seconds = dict[str, list[float]]


@dataclass
class Row:
    """One line of the table."""

    case: str
    input: str
    quantity: str
    reference: float
    measured: float
    unit: str
    ratio: float
    target: float | None

    @property
    def verdict(self) -> str:
        """Whether the target was reached."""
        return '-' if self.target is None else 'reached' if self.ratio <= self.target else 'MISSED'


def time_row(title: str, shape: str, seconds: Seconds, target: float | None) -> Row:
    """Compare alternated runs: medians of both sides, and the median of the ratios within the pairs."""
    reference, measured = (seconds[side] for side in SIDES)
    ratios = [b / a for a, b in zip(reference, measured, strict=True)]
    medians = statistics.median(reference), statistics.median(measured)
    return Row(title, shape, 'time', *medians, 's', statistics.median(ratios), target)


def memory_row(title: str, shape: str, reference: float, measured: float, target: float | None) -> Row:
    """Compare two peaks in MiB."""
    return Row(title, shape, 'memory', reference, measured, 'MiB', measured / reference, target)


def frame_seconds(case: Case, seconds: dict[str, Seconds], steps: int, frames: int) -> Seconds:
    """Time a frame, from what was sampled or from its parts.

    Args:
        case: 'sampling' or 'unet'.
        seconds: Of that case for a clip on both sides; or of its parts, there the reference's for a frame.
        steps: Steps of the diffusion.
        frames: Frames of a clip.
    """
    if case.name in seconds:
        return {side: [value / frames for value in values] for side, values in seconds[case.name].items()}
    once, step = (seconds[part] for part in case.parts)
    pairs = {side: list(zip(once[side], step[side], strict=True)) for side in SIDES}
    around = case.name == 'sampling'  # the autoencoder
    return {
        'reference': [around * one + steps * other for one, other in pairs['reference']],
        'measured': [(one + steps * other) / frames for one, other in pairs['measured']],
    }


def rows_of(cases: list[Case], record: dict, inputs: dict[str, str], steps: int, on_gpu: bool) -> list[Row]:
    """The lines of the table.

    Args:
        cases: What was measured.
        record: ``seconds`` and ``mebibytes`` of each.
        inputs: Size of the input of each.
        steps: Steps of a diffusion.
        on_gpu: Where it ran.
    """
    rows = []
    seconds = record['seconds']
    for case in cases:
        if case.gpu_only and not on_gpu:
            case = replace(case, time_target=None, memory_target=None)
        computed = bool(case.parts) and case.name not in seconds
        shape = inputs[case.parts[-1] if computed else case.name]
        if case.timed:
            title = f'{case.title} (computed)' if computed else case.title
            of_case = (
                frame_seconds(case, seconds, steps, int(shape.split('x')[0])) if case.parts else seconds[case.name]
            )
            rows.append(time_row(title, shape, of_case, case.time_target))
        if not case.weighed:
            continue
        peaks = record['mebibytes'][case.name]
        if case.weighed == SIDES:
            target = None if case.budget else case.memory_target
            rows.append(memory_row(case.title, shape, peaks['reference'], peaks['measured'], target))
        if case.budget:
            title = case.budget_title or case.title
            rows.append(memory_row(title, shape, case.budget, peaks['measured'], case.memory_target))
    return rows


def table(rows: list[Row]) -> str:
    """Lay the rows out for a terminal."""
    lines = [('comparison', 'input', '', 'reference', 'measured', 'ratio', 'target', 'result')]
    for row in rows:
        values = (f'{row.reference:.2f} {row.unit}', f'{row.measured:.2f} {row.unit}', f'{row.ratio:.3f}')
        target = '-' if row.target is None else f'<= {row.target:.2f}'
        lines.append((row.case, row.input, row.quantity, *values, target, row.verdict))
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ['-' * width for width in widths])
    return '\n'.join('  '.join(line).rstrip() for line in padded)
