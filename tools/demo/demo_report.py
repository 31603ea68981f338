"""Reads what the demo's commands left, and writes its table and its pictures, the first one and the whole one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import demo_picture
import demo_table
import lmdb
import numpy as np
from demo_table import Result

from basicsr_semantic.data.degradations import degrade
from basicsr_semantic.priors.drawing import overlay
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import write_whole

CROP = 64
"""Side of the enlarged crop, in pixels of the frame."""
PICTURE = 'comparison.png'
"""Name of the picture in the folder of the results."""
STORES = {'regions': ('regions', 'what SEEM reads'), 'xdecoder': ('instances', 'what Semantic Lens reads')}
"""Stores whose masks can be shown: name of the store -> the two lines above the panel."""
Panel = tuple[str, str, np.ndarray]
"""Caption, figure and frame, as `demo_picture.compose` takes them."""


def read_frame(path: Path) -> np.ndarray:
    """A picture file as (h, w, 3) uint8 RGB.

    Raises:
        UserError: the file is missing or not a picture.
    """
    data = np.frombuffer(path.read_bytes() if path.is_file() else b'', np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise UserError(f'{path} is missing or not a picture; run the demo again with --fresh.')
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


def middle(clips: dict[str, list[str]]) -> tuple[str, str]:
    """(clip, frame) that both pictures show: the middle frame of the first held-out clip."""
    clip, frames = next(iter(clips.items()))
    return clip, frames[len(frames) // 2]


def columns(gt: np.ndarray, low: np.ndarray, restored: dict[str, np.ndarray]) -> list[Panel]:
    """The panels of frames: ground truth, what was restored from better to worse, the low-resolution frame.

    Better is a higher PSNR on Y of the frame that is shown; the figure is written above the panel. Equal ones keep
    the order in which they are given.

    Args:
        gt: (H, W, 3) uint8 RGB.
        low: the low-resolution frame, (h, w, 3) uint8 RGB.
        restored: caption -> (H, W, 3) uint8 RGB.
    """
    height, width = gt.shape[:2]
    quality = {name: demo_table.measure(frame, gt)['psnr_y'] for name, frame in restored.items()}
    ranked = sorted(restored, key=lambda name: quality[name], reverse=True)
    return [
        ('GT', '', gt),
        *((name, f'{quality[name]:.2f} dB on Y', restored[name]) for name in ranked),
        ('LR', '', demo_picture.resize(low, height, width)),
    ]


def compose(panels: list[Panel], bicubic: np.ndarray, gt: np.ndarray, panel: int) -> np.ndarray:
    """The panels in a row, with the crop in which bicubic errs most."""
    size = min(CROP, *gt.shape[:2])
    top, left = demo_picture.hardest_crop(bicubic, gt, size)
    return demo_picture.compose(panels, top, left, size, panel)


def draw_first(folder: Path, panel: int = 256) -> np.ndarray:
    """A picture of what is known as soon as there are clips: ground truth, bicubic, LR, the annotated instances.

    The low-resolution frame is made as `basicsr prepare` makes it, so the figure of bicubic is that of the whole
    picture.

    Args:
        folder: `datasets/demo/val`, with `frames` and `instances.json`.
        panel: side of a panel in pixels.
    """
    from pycocotools import mask as coco

    content = json.loads((folder / 'instances.json').read_text(encoding='utf-8'))
    videos = sorted(content['videos'], key=lambda video: video['file_names'][0])
    clip, frame = middle({video['file_names'][0].split('/')[0]: video['file_names'] for video in videos})
    video = next(video for video in videos if frame in video['file_names'])
    index = video['file_names'].index(frame)
    gt = read_frame(folder / 'frames' / frame)
    low = degrade(gt, 'BI')
    bicubic = demo_table.bicubic(low)
    codes = [item['segmentations'][index] for item in content['annotations'] if item['video_id'] == video['id']]
    masks = [coco.decode(code) for code in codes if code is not None]
    instances = overlay(gt, np.stack(masks)) if masks else gt
    panels = [*columns(gt, low, {'bicubic': bicubic}), ('instances', f'annotated in the clip {clip}', instances)]
    return compose(panels, bicubic, gt, panel)


def first_picture(root: Path, out: Path) -> None:
    """Writes the first picture to `out/comparison.png` and says so; `report` writes the whole one over it."""
    write_frame(out / PICTURE, draw_first(root / 'datasets' / 'demo' / 'val'))
    print(f'      First picture, before any training: {out / PICTURE}', flush=True)


def draw(root: Path, held_out: HeldOut, tests: dict[str, str], stores: list[str], panel: int = 256) -> np.ndarray:
    """The whole picture: `columns` of the middle frame of the first held-out clip, then the masks that are read.

    Args:
        root: the working folder.
        held_out: the clips.
        tests: name of the panel -> name of the test, for every network.
        stores: names of the stores whose masks are shown, out of `STORES`.
        panel: side of a panel in pixels.
    """
    clip, frame = middle(held_out.clips)
    gt, low = held_out.gt(clip, frame), held_out.lq(clip, frame)
    height, width = gt.shape[:2]
    bicubic = demo_table.bicubic(low)
    restored = {name: read_frame(restored_path(root, test, clip, frame)) for name, test in tests.items()}
    panels = columns(gt, low, {'bicubic': bicubic, **restored})
    for kind in stores:
        masks = [demo_picture.resize(mask, height, width) for mask in held_out.masks(kind, clip, frame)]
        panels.append((*STORES[kind], overlay(gt, np.stack(masks))))
    return compose(panels, bicubic, gt, panel)


def report(
    root: Path, out: Path, tests: dict[str, tuple[str, str]], stores: list[str], readme: Path | None = None
) -> None:
    """Writes `table.md`, `table.json` and `comparison.png`, prints the table, and says where they are.

    Args:
        root: the working folder, with `datasets/demo/val` and `results/TEST`.
        out: folder to write to.
        tests: line of the table -> (name of the test, what was trained for it).
        stores: names of the stores whose masks are in the picture, out of `STORES`.
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
    pictured = {name: test for name, (test, _) in tests.items()}
    picture = out / PICTURE
    write_frame(picture, draw(root, held_out, pictured, stores))
    print(f'\n{text}')
    print(
        'Gains in brackets are over bicubic (MATLAB-style imresize). Means over the frames of a clip, then over clips.'
    )
    print('Columns of the picture: GT, then better to worse by the PSNR on Y of the frame shown, then LR and masks.')
    print(f'Picture: {picture}\nTable:   {out / "table.md"}')
    if readme is not None:
        write_frame(readme, draw(root, held_out, pictured, stores, panel=176))
        print(f'README:  {readme}')
