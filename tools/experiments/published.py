#!/usr/bin/env python3
"""Published rows made again with the released weights: BasicVSR on Vid4 (BI, BD) and on REDS4, from folders of clips.

    python tools/experiments/published.py vid4 --clips Vid4/GT
    python tools/experiments/published.py reds4 --clips REDS/train_sharp --json row.json

`basicsr prepare clips` degrades the clips, and `basicsr test` restores and measures them by an option file of
`options/basicvsr`. The weights are found by name ("basicsr models"). What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ROOT / 'options' / 'basicvsr'


@dataclass(frozen=True)
class PublishedRow:
    """A row of a paper's table, and what makes it again.

    Attributes:
        title: Data and degradation.
        degradation: As ``basicsr prepare clips`` takes it.
        data: Folder below ``datasets`` for its LMDBs, which the option file names.
        option: Option file in `OPTIONS`, without its ending.
        dataset: Name of the data set in it.
        psnr: Published, in dB.
        ssim: Published.
        source: Where.
        clips: Names of the clips that count; empty for all.
    """

    title: str
    degradation: str
    data: str
    option: str
    dataset: str
    psnr: float
    ssim: float
    source: str
    clips: tuple[str, ...] = ()


_TABLE = 'BasicVSR (Chan et al., CVPR 2021), Table 1'
ROWS = {
    'vid4': (
        PublishedRow('Vid4, BI, Y', 'BI', 'Vid4', 'test_BasicVSR_Vid4', 'Vid4', 27.24, 0.8251, _TABLE),
        PublishedRow('Vid4, BD, Y', 'BD', 'Vid4_BD', 'test_BasicVSR_Vid4_BD', 'Vid4', 27.96, 0.8553, _TABLE),
    ),
    'reds4': (
        PublishedRow(
            'REDS4, BI, RGB', 'BI', 'REDS', 'test_BasicVSR_REDS4', 'REDS4', 31.42, 0.8909, _TABLE,
            ('000', '011', '015', '020'),
        ),
    ),
}  # fmt: skip
VID4 = ('calendar', 'city', 'foliage', 'walk')


def run(*arguments: str, cwd: Path) -> None:
    """Run ``basicsr`` and show what it prints."""
    print('$ basicsr', *arguments, flush=True)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
    done = subprocess.run(
        [sys.executable, '-m', 'basicsr_semantic', *arguments], cwd=cwd, env={**os.environ, 'PYTHONPATH': path}
    )
    if done.returncode:
        raise SystemExit(done.returncode)


def measure(row: PublishedRow, clips: Path, root: Path) -> dict:
    """Make one row again.

    Args:
        row: Which.
        clips: Folder of the clips' ground truth.
        root: Working folder.

    Returns:
        Title, published and measured figures, those of each clip, and whether all clips of the table were there.
    """
    wanted = row.clips or VID4
    data = root / 'datasets' / row.data
    if not (data / 'manifest.json').is_file():
        source = root / 'datasets' / f'{row.data}_source'  # of the clips of the table alone
        source.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            if (clips / name).is_dir() and not (source / name).exists():
                (source / name).symlink_to((clips / name).resolve())
        run('prepare', 'clips', str(source), str(data), '--degradation', row.degradation, cwd=root)
    report = root / 'results' / row.option / 'validation' / f'{row.dataset}_{row.option}.json'
    if not report.is_file():
        run('test', '-opt', str(OPTIONS / f'{row.option}.yml'), '--force_yml', 'val:save_img=false', cwd=root)
    found = json.loads(report.read_text())
    return {
        'row': row.title,
        'source': row.source,
        'published': {'psnr': row.psnr, 'ssim': row.ssim},
        'measured': found['average'],
        'clips': found['clips'],
        'whole': set(found['clips']) == set(wanted),
    }


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table; a row of which clips are missing says so."""
    lines = ['| row | published | measured | clips |', '| --- | --- | --- | --- |']
    for row in rows:
        published, measured = (f'{one["psnr"]:.3f} / {one["ssim"]:.4f}' for one in (row['published'], row['measured']))
        clips = ', '.join(f'{name} {one["psnr"]:.3f} / {one["ssim"]:.4f}' for name, one in row['clips'].items())
        note = '' if row['whole'] else ' (not all clips of the table: the means cannot be compared)'
        lines.append(f'| {row["row"]} | {published} | {measured} | {clips}{note} |')
    return '\n'.join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Make the rows, print the table, and write the figures if a file was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', choices=ROWS, help='which rows')
    parser.add_argument('--clips', required=True, type=Path, metavar='FOLDER', help='a folder of frames for each clip')
    parser.add_argument('--root', type=Path, default=Path(), help='working folder for data and results (default: here)')
    parser.add_argument('--only', choices=('BI', 'BD'), help='only rows of this degradation')
    parser.add_argument('--json', metavar='OUT', type=Path, help='file for the figures')
    options = parser.parse_args(arguments)
    if not options.clips.is_dir():
        parser.error(f'{options.clips} is no folder.')
    options.root.mkdir(parents=True, exist_ok=True)
    chosen = [row for row in ROWS[options.rows] if options.only in (None, row.degradation)]
    found = [measure(row, options.clips.resolve(), options.root.resolve()) for row in chosen]
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + '\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
