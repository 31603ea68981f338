#!/usr/bin/env python3
"""`basicsr upscale` against BasicSR's way, the whole clip in one tensor: time, memory, and the pipeline's own share.

    python tools/benchmarks/upscale.py                        # lite
    python tools/benchmarks/upscale.py --model basicvsr-vimeo90k-bi --lengths 32 64
    python tools/benchmarks/upscale.py --video in.mp4         # frames a second end to end, of that video at 160x90

Every measurement is a process of its own; a pair runs one after the other, in both orders. Frames are 136x80 noise that
moves. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from basicsr_semantic.utils.memory import peak_memory

HEIGHT, WIDTH = 80, 136


def frames_of(count: int):
    """(h, w, 3) uint8 frames of a texture that moves."""
    import cv2
    import numpy as np

    texture = np.random.default_rng(0).random((HEIGHT + count, WIDTH, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(texture, (0, 0), 2)
    texture = ((texture - texture.min()) / (texture.max() - texture.min()) * 255).astype(np.uint8)
    return (texture[k : k + HEIGHT] for k in range(count))


def whole_tensor(model: str, count: int) -> float:
    """Seconds of BasicSR's way: every frame in one tensor, one call of the network."""
    import numpy as np
    import torch

    from basicsr_semantic import load

    restore = load(model)
    clip = torch.from_numpy(np.stack(list(frames_of(count)))).permute(0, 3, 1, 2)[None].float().div(255)
    restore(clip[:, :4])
    started = time.perf_counter()
    restore(clip)
    return time.perf_counter() - started


def streamed(model: str, count: int) -> float:
    """Seconds of the same frames, streamed."""
    from basicsr_semantic import load, upscale

    restore = load(model)
    sum(1 for _ in upscale(frames_of(4), restore))
    started = time.perf_counter()
    sum(1 for _ in upscale(frames_of(count), restore, scenes='none'))
    return time.perf_counter() - started


def end_to_end(model: str, video: str) -> dict:
    """Frames a second of the command's own pipeline on a video shrunk to 160x90, and its share beside the network."""
    import av

    from basicsr_semantic import load
    from basicsr_semantic.video.sources import open_source
    from basicsr_semantic.video.upscaling import Outputs, Upscaler

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        small = folder / 'small.mp4'
        with av.open(video) as source, av.open(str(small), 'w') as target:
            stream = target.add_stream('libx264', rate=source.streams.video[0].average_rate, options={'crf': '10'})
            stream.width, stream.height, stream.pix_fmt = 160, 90, 'yuv420p'
            for frame in source.decode(video=0):
                frame = frame.reformat(width=160, height=90, format='yuv420p')
                frame.pict_type = 0
                target.mux(stream.encode(frame))
            target.mux(stream.encode(None))
        upscaler = Upscaler(open_source(small), load(model), Outputs(folder / 'out.mp4'))
        upscaler.prepare(False, False)
        report = upscaler.run()
    share = 1 - report.network_seconds / report.seconds
    return {'frames': report.frames, 'frames_a_second': report.frames / report.seconds, 'share_beside_network': share}


def measure(kind: str, model: str, argument: str, threads: int) -> dict:
    """One measurement in a process of its own: its result, and the most memory that it had."""
    call = [sys.executable, __file__, '--one', kind, '--model', model, '--argument', argument]
    done = subprocess.run(
        call, env={**os.environ, 'OMP_NUM_THREADS': str(threads)}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='lite')
    parser.add_argument('--lengths', type=int, nargs='*', default=[32, 128, 512])
    parser.add_argument('--pairs', type=int, default=3)
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--video', help='a video, to measure frames a second end to end')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.add_argument('--one', help=argparse.SUPPRESS)
    parser.add_argument('--argument', help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        runs = {'whole': whole_tensor, 'streamed': streamed}
        if options.one == 'end':
            result = end_to_end(options.model, options.argument)
        else:
            result = {'seconds': runs[options.one](options.model, int(options.argument))}
        print(json.dumps({**result, 'peak_bytes': peak_memory()}))
        return
    found: dict = {'model': options.model, 'threads': options.threads, 'lengths': {}}
    if options.video:
        found['end_to_end'] = measure('end', options.model, options.video, options.threads)
        print(json.dumps(found['end_to_end']))
    for length in options.lengths:
        runs: dict = {'whole': [], 'streamed': []}
        for pair in range(options.pairs):
            for kind in ('whole', 'streamed') if pair % 2 == 0 else ('streamed', 'whole'):
                runs[kind].append(measure(kind, options.model, str(length), options.threads))
        pairs = zip(runs['whole'], runs['streamed'], strict=True)
        row = {
            'speed_ratio': median(a['seconds'] / b['seconds'] for a, b in pairs),
            'whole_bytes': median(one['peak_bytes'] for one in runs['whole']),
            'streamed_bytes': median(one['peak_bytes'] for one in runs['streamed']),
        }
        found['lengths'][length] = row
        print(f'{length:5} frames: {row["speed_ratio"]:.2f} x the speed of the whole tensor; '
              f'{row["streamed_bytes"] / 1e9:.2f} GB, whole tensor {row["whole_bytes"] / 1e9:.2f} GB')  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
