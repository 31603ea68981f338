#!/usr/bin/env python3
"""Makes the demo clips: `make demo-data` fills datasets/demo (about 16 MB, 10 seconds, no network).

Six clips to train on and two held-out ones, 16 frames of 256x256 each, several objects a clip, with exact instance
masks in YouTube-VIS form. The photographs come from the installed scikit-image. Run again, it does nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo_clips import make_demo_clips
from demo_render import FRAMES, SEED, SIZE

from basicsr_semantic.utils.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line, makes the clips and says where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='datasets/demo', help='folder to make (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=SEED, help='same seed, same pixels (default: %(default)s)')
    parser.add_argument('--size', type=int, default=SIZE, help='height and width of a frame (default: %(default)s)')
    parser.add_argument('--frames', type=int, default=FRAMES, help='frames in a clip (default: %(default)s)')
    parser.add_argument('--fresh', action='store_true', help='make them again even if they are there')
    options = parser.parse_args(arguments)
    try:
        result = make_demo_clips(options.out, options.seed, options.size, options.frames, options.fresh)
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{Path(options.out)}: {"made" if result else "already there, nothing to do"}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
