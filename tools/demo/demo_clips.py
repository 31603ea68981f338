"""Writes the demo clips: frames as PNG, instance masks and boxes in YouTube-VIS form, and a manifest of both."""

from __future__ import annotations

import json
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from demo_render import FRAMES, SEED, SIZE, photograph_path, render_clip
from demo_scenes import CUTOUTS, SCENES
from tqdm import tqdm

from basicsr_semantic.utils.errors import UserError

VERSION = 1
"""Raised whenever the same seed gives other pixels, so that older clips are made again."""
MANIFEST = 'manifest.json'


def categories() -> list[dict]:
    """The categories of all cut-outs, numbered from 1 in alphabetical order."""
    names = sorted({cutout.category for cutout in CUTOUTS.values()})
    return [{'id': index, 'name': name, 'supercategory': 'object'} for index, name in enumerate(names, 1)]


def annotate(masks: list[np.ndarray]) -> dict:
    """One object's masks, one (h, w) bool a frame, as the YouTube-VIS fields segmentations, bboxes and areas.

    Segmentations are compressed COCO run lengths; a frame in which nothing of the object is visible has None in all of
    them.
    """
    from pycocotools import mask as coco

    segmentations, boxes, areas = [], [], []
    for mask in masks:
        if not mask.any():
            segmentations.append(None)
            boxes.append(None)
            areas.append(None)
            continue
        code = coco.encode(np.asfortranarray(mask, np.uint8))
        segmentations.append({'size': [int(side) for side in code['size']], 'counts': code['counts'].decode('ascii')})
        boxes.append([float(value) for value in coco.toBbox(code)])
        areas.append(int(coco.area(code)))
    return {'segmentations': segmentations, 'bboxes': boxes, 'areas': areas}


def _write_split(folder: Path, split: str, seed: int, size: int, frames: int, progress: tqdm) -> dict[str, str]:
    """Frames and instances.json of one split; returns the SHA-256 of every file, by its path in the demo folder."""
    ids = {entry['name']: entry['id'] for entry in categories()}
    videos, annotations, digests = [], [], {}
    for scene in (item for item in SCENES if item.split == split):
        video = len(videos) + 1
        (folder / split / 'frames' / scene.name).mkdir(parents=True)
        masks: list[np.ndarray] = []
        names = [f'{scene.name}/{index:05d}.png' for index in range(frames)]
        for name, frame in zip(names, render_clip(scene, seed, size, frames), strict=True):
            done, png = cv2.imencode('.png', frame.image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])
            if not done:
                raise UserError(f'OpenCV could not write {name} as PNG; reinstall opencv-python.')
            (folder / split / 'frames' / name).write_bytes(png.tobytes())
            digests[f'{split}/frames/{name}'] = sha256(frame.image.tobytes()).hexdigest()
            masks.append(frame.masks)
            progress.update()
        shape = {'height': size, 'width': size, 'length': frames}
        videos.append({'id': video, **shape, 'file_names': names})
        for index, track in enumerate(scene.objects):
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'video_id': video,
                    'category_id': ids[CUTOUTS[track.cutout].category],
                    'iscrowd': 0,
                    **shape,
                    **annotate([frame[index] for frame in masks]),
                }
            )
    text = json.dumps(
        {
            'info': {'description': 'Demo clips of basicsr_semantic, made from the photographs of scikit-image'},
            'categories': categories(),
            'videos': videos,
            'annotations': annotations,
        }
    )
    (folder / split / 'instances.json').write_text(text, encoding='utf-8')
    digests[f'{split}/instances.json'] = sha256(text.encode()).hexdigest()
    return digests


def read_manifest(root: Path) -> dict | None:
    """The manifest of clips made earlier, or None where there is none that can be read."""
    try:
        return json.loads((root / MANIFEST).read_text(encoding='utf-8'))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def make_demo_clips(
    root: str | Path, seed: int = SEED, size: int = SIZE, frames: int = FRAMES, fresh: bool = False
) -> bool:
    """Makes the demo clips in `root`, unless they are there already.

    Gives `root/{train,val}/frames/CLIP/00000.png`, `root/{train,val}/instances.json` and `root/manifest.json`. The
    folder is filled under another name and renamed at the end, so it is never half there.

    Args:
        root: the folder to make. One that holds clips of another seed, size or version is replaced, with all it holds.
        seed: where all small random choices come from; same seed, same pixels.
        size: height and width of a frame, a multiple of 4, at least 64.
        frames: frames in a clip.
        fresh: make them again even if they are there.

    Returns:
        True if the clips were made, False if the right ones were there.

    Raises:
        UserError: `size` or `frames` do not fit, scikit-image is missing, or `root` holds something else.
    """
    root = Path(root)
    if size < 64 or size % 4:
        raise UserError(f'The size of demo clips is {size}; it must be a multiple of 4 and at least 64.')
    if frames < 2:
        raise UserError(f'Demo clips of {frames} frame(s) cannot show motion; ask for 2 or more.')
    wanted = {'version': VERSION, 'seed': seed, 'size': size, 'frames': frames}
    present = read_manifest(root)
    if present is not None and not fresh and present.get('made_with') == wanted:
        return False
    if present is None and root.exists() and any(root.iterdir()):
        raise UserError(
            f'{root} exists but has no {MANIFEST}, so it was not made by this tool and is left alone; '
            'move it away or give another folder.'
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f'.{root.name}-', dir=root.parent))
    try:
        digests: dict[str, str] = {}
        with tqdm(total=len(SCENES) * frames, desc='demo clips', unit='frame') as progress:
            for split in ('train', 'val'):
                digests |= _write_split(draft, split, seed, size, frames, progress)
        photographs = {
            name: {
                'sha256': sha256(photograph_path(name).read_bytes()).hexdigest(),
                'clips': [scene.name for scene in SCENES if name in scene.photographs(CUTOUTS)],
            }
            for name in sorted({name for scene in SCENES for name in scene.photographs(CUTOUTS)})
        }
        manifest = {
            'format': 'basicsr_semantic.demo_clips/1',
            'made_with': wanted,
            'splits': {split: [scene.name for scene in SCENES if scene.split == split] for split in ('train', 'val')},
            'photographs': photographs,
            'sha256': digests,
        }
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1) + '\n', encoding='utf-8')
        draft.chmod(0o755)
        old = None
        if root.exists():
            old = Path(tempfile.mkdtemp(prefix=f'.{root.name}-old-', dir=root.parent))
            root.replace(old)
        draft.replace(root)
        if old is not None:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True
