#!/usr/bin/env python3
"""Figures of docs/seeclear.md: what the printed equations give, parameter counts, two pictures. No weights, no data.

    python tools/figures/figures_seeclear.py [--samples 200000] [--out docs]

    results/seeclear_equations.json   every figure, with its settings
    images/seeclear_forward.png       the forward process and those that it is made of
    images/seeclear_spectra.png       their power spectra

The photograph is one that comes with scikit-image. Needs the extra "dev", which has matplotlib; about a minute.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import seeclear_equations as equations
import seeclear_network_figures as network
import seeclear_pictures as pictures

ROOT = Path(__file__).resolve().parents[2]
#: Where in the photograph the patch of the experiments is: across the edge of an eye.
PATCH = (132, 188)


def figures(samples: int) -> dict[str, Any]:
    """All figures, in the order of the table."""
    top, left = PATCH
    image, base = (part[0, 1, 64:68, 64:68] for part in pictures.photograph(top - 64, left - 64, 128))
    found: dict[str, Any] = {'settings': {'samples': samples, 'steps': equations.STEPS, 'kappa': equations.KAPPA}}
    found.update(equations.diffusion_figures(image, base, samples))
    found['blur_and_noise'] = pictures.blur_and_noise()
    starts = ('printed', 'semantics_zero', 'near_zero', 'unit')
    found['memory'] = {start: network.memory_learns(start) for start in starts}
    found['kept_by_attention'] = network.kept_by_attention()
    found['parameters'] = network.parameters()
    found['distiller_parameters'] = network.distiller_parameters()
    found['reported_parameters'] = network.REPORTED
    return found


def rounded(value: Any, digits: int = 4) -> Any:
    """The same with floats of so many significant digits."""
    if isinstance(value, dict):
        return {key: rounded(part, digits) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part, digits) for part in value]
    return float(f'{value:.{digits}g}') if isinstance(value, float) else value


def table(found: dict[str, Any]) -> str:
    """The figures as lines of text."""
    lines = []

    def say(what: str, words: str) -> None:
        lines.append(f'{what:<34}{words}')

    for name in ('transition', 'transition_without_blur'):
        for form, row in found[name].items():
            exact, drawn = ('{:.3f} to {:.3f}'.format(*row[f'std_ratio_last{kind}']) for kind in ('', '_sampled'))
            say(f'{name.replace("_", " ")}, {form}', f'std / Eq. 29 at T {exact}, sampled {drawn}')
    for row in found['one_step']:
        error, repaired = row['mean_error_sampled'], row['mean_error_sign_repaired_sampled']
        words = (
            f'mean off by {error:.3f} u_l, sign repaired {repaired:.3f}; std / Eq. 35 {row["std_ratio_sampled"]:.3f}'
        )
        say(f'one step, t = {row["t"]}', words)
    for way, rows in found['way_back'].items():
        errors = [max(row[f'mean_error{kind}'] for row in rows) for kind in ('', '_sampled')]
        ratios = [value for row in rows for value in row['std_ratio']]
        drawn = [value for row in rows for value in row['std_ratio_sampled']]
        words = f'mean error up to {errors[0]:.4f}, sampled {errors[1]:.4f}; '
        words += f'std ratio {min(ratios):.3f} to {max(ratios):.3f}, sampled {min(drawn):.3f} to {max(drawn):.3f}'
        say(f'way back, {way}', words)
    for name, row in found['without_blur'].items():
        say(f'step 8 without blur, {name}', ', '.join(f'{key} {value:.4f}' for key, value in row.items()))
    for row in found['division_by_blur']:
        for name in ('printed', 'ours'):
            part = row[name]
            words = f'D_T down to 1e{part["log10_smallest_last"]:.1f}, {part["zero_in_float32"]:.1%} zero in float32, '
            say(f'blur, patch {row["patch"]}, {name}', words + f'Eq. 27 gain up to 1e{part["log10_gain"]:.1f}')
    for row in found['blur_and_noise'][:3]:
        say(f'blur and noise, t = {row["t"]}', f'blur takes {row["taken"]:.4f}, noise has {row["noise"]:.4f}')
    say('line 2', f'noise {found["prior_noise"]:.3f} of that of x_T')
    for start, row in found['memory'].items():
        words = f'gradient of C {row["first_gradient_semantics"]:.1e}, of T {row["first_gradient_textures"]:.1e}; '
        words += f'loss {row["loss"]:.3f}'
        for after in row['trained']:
            words += f', after {after["iterations"]} {after["loss"]:.3f} (items differ by {after["item_spread"]:.1e})'
        say(f'memory, {start}', words)
    say('attention without a residual', f'keeps {found["kept_by_attention"]:.3%} of the variance between pixels')
    for row in found['parameters']:
        words = f'{row["net"]:.2f} M + {row["instances"]:.2f} M = {row["total"]:.2f} M'
        say(f'parameters, dim {row["dim"]}', words)
    distiller = found['distiller_parameters']
    say('OpenSeeD', f'{distiller["vision"]:.2f} M, text encoder {distiller["text"]:.2f} M')
    return '\n'.join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Work the figures out, print them, and write them and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=200_000, help='states to draw (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs', help='folder (default: docs)')
    options = parser.parse_args(arguments)
    if options.samples < 2:
        print(f'error: --samples is {options.samples}; 2 or more are needed for a deviation.', file=sys.stderr)
        return 2
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        print('error: matplotlib is missing. Install it with: pip install -e ".[dev]"', file=sys.stderr)
        return 2
    found = figures(options.samples)
    print(table(found))
    results = options.out / 'results' / 'seeclear_equations.json'
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(rounded(found), indent=1) + '\n', encoding='utf-8')
    pictures.forward_picture(options.out / 'images' / 'seeclear_forward.png')
    pictures.spectra_picture(options.out / 'images' / 'seeclear_spectra.png')
    return 0


if __name__ == '__main__':
    sys.exit(main())
