"""Reads what the demo's commands left, and writes its table and its picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import demo_picture
import demo_table
import lmdb
import numpy as np
from demo_table import Result

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import write_whole

CROP = 64
"""Side of the enlarged crop, in pixels of the frame."""
STORES = (
    ('regions', 'regions', 'what SEEM reads'),
    ('xdecoder', 'instances', 'what Semantic Lens reads'),
)
"""Stores whose masks are shown: name of the store, and the two lines above the panel."""


def read_frame(path: Path) -> np.ndarray:
    """A picture file as (h, w, 3) uint8 RGB.

    Raises:
        UserError: the file is missing or no picture.
    """
    data = np.frombuffer(path.read_bytes() if path.is_file() else b'', np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise UserError(f'{path} is missing or no picture; run the demo again with --fresh.')
    return np.ascontiguousarray(image[:, :, ::-1])


def write_frame(path: Path, image: np.ndarray) -> None:
    """Writes an RGB picture, whole or not at all.

    Raises:
        UserError: it could not be written.
    """
    done, data = cv2.imencode(path.suffix, image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise UserError(f'{path} could not be written as a picture.')
    write_whole(path, data.tobytes())


class HeldOut:
    """The held-out clips as the commands left them: ground truth, low-resolution frames, masks.

    Args:
        folder: `datasets/demo/val`, with what `basicsr prepare` and `basicsr extract` made in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: dict[str, list[str]] = {}
        for key in self._keys():
            clip, frame = key.rsplit('/', 1)
            self.clips.setdefault(clip, []).append(frame)

    def _keys(self) -> list[str]:
        """'CLIP/FRAME' of all frames, in order."""
        lines = (self.folder / 'lq.lmdb' / 'meta_info.txt').read_text(encoding='utf-8').splitlines()
        return sorted(line.split(' ')[0].rsplit('.', 1)[0] for line in lines)

    def _frame(self, kind: str, clip: str, frame: str) -> np.ndarray:
        """One frame out of gt.lmdb or lq.lmdb."""
        path = self.folder / f'{kind}.lmdb'
        with lmdb.open(str(path), readonly=True, lock=False) as store, store.begin() as transaction:
            data = transaction.get(f'{clip}/{frame}'.encode())
        if data is None:
            raise UserError(f'{path} has no frame "{clip}/{frame}"; run the demo again with --fresh.')
        return np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1])

    def gt(self, clip: str, frame: str) -> np.ndarray:
        """One ground-truth frame, (H, W, 3) uint8 RGB."""
        return self._frame('gt', clip, frame)

    def lq(self, clip: str, frame: str) -> np.ndarray:
        """One low-resolution frame, (h, w, 3) uint8 RGB."""
        return self._frame('lq', clip, frame)

    def masks(self, kind: str, clip: str, frame: str) -> np.ndarray:
        """The masks of one kind for a frame, (n, h, w) uint8 at low resolution."""
        from basicsr_semantic.priors.store import PriorStore

        reader = PriorStore(str(self.folder / f'{kind}.lmdb'))
        try:
            return reader.masks(f'{clip}/{frame}')
        finally:
            reader.close()

    def bicubic(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(clip, bicubic frame, ground truth) of all frames."""
        for clip, frames in self.clips.items():
            for frame in frames:
                yield clip, demo_table.bicubic(self.lq(clip, frame)), self.gt(clip, frame)


def restored_path(root: Path, test: str, clip: str, frame: str) -> Path:
    """Where `basicsr test` keeps a restored frame."""
    return root / 'results' / test / 'visualization' / 'demo' / clip / f'{frame}_{test}.png'


def draw(root: Path, held_out: HeldOut, tests: dict[str, str], panel: int = 256) -> np.ndarray:
    """The picture: the middle frame of the first held-out clip, with the crop in which bicubic errs most.

    Args:
        root: the working folder.
        held_out: the clips.
        tests: name of the panel -> name of the test, for every network shown.
        panel: side of a panel in pixels.
    """
    clip, frames = next(iter(held_out.clips.items()))
    frame = frames[len(frames) // 2]
    gt = held_out.gt(clip, frame)
    height, width = gt.shape[:2]
    low = held_out.lq(clip, frame)
    bicubic = demo_table.bicubic(low)
    pictures = {'LR': demo_picture.resize(low, height, width), 'bicubic': bicubic}
    pictures |= {name: read_frame(restored_path(root, test, clip, frame)) for name, test in tests.items()}
    pictures |= {'GT': gt}
    panels = [
        (name, '' if name in ('LR', 'GT') else f'{demo_table.measure(picture, gt)["psnr_y"]:.2f} dB on Y', picture)
        for name, picture in pictures.items()
    ]
    for kind, title, text in STORES:
        masks = [demo_picture.resize(mask, height, width) for mask in held_out.masks(kind, clip, frame)]
        panels.append((title, text, demo_picture.overlay(gt, np.stack(masks))))
    top, left = demo_picture.hardest_crop(bicubic, gt, min(CROP, height, width))
    return demo_picture.compose(panels, top, left, min(CROP, height, width), panel)


def report(
    root: Path, out: Path, tests: dict[str, tuple[str, str]], shown: list[str], readme: Path | None = None
) -> None:
    """Writes `table.md`, `table.json` and `comparison.png`, prints the table, and says where they are.

    Args:
        root: the working folder, with `datasets/demo/val` and `results/TEST`.
        out: folder to write to.
        tests: line of the table -> (name of the test, what was trained for it).
        shown: lines whose frames are in the picture.
        readme: where to write a smaller picture as well; None for not at all.
    """
    held_out = HeldOut(root / 'datasets' / 'demo' / 'val')
    results: list[Result] = [demo_table.result_of_frames('bicubic', held_out.bicubic(), 'nothing')]
    for name, (test, note) in tests.items():
        file = root / 'results' / test / 'validation' / f'demo_{test}.json'
        results.append(demo_table.result_of_test(name, file, note))
    text = demo_table.markdown(results)
    for name, content in (('table.md', text), ('table.json', demo_table.as_json(results))):
        write_whole(out / name, content.encode())
    pictured = {name: tests[name][0] for name in shown}
    picture = out / 'comparison.png'
    write_frame(picture, draw(root, held_out, pictured))
    print(f'\n{text}')
    print(
        'Gains in brackets are over bicubic (MATLAB-style imresize). Means over the frames of a clip, then over clips.'
    )
    print(f'Picture: {picture}\nTable:   {out / "table.md"}')
    if readme is not None:
        write_frame(readme, draw(root, held_out, pictured, panel=176))
        print(f'README:  {readme}')
