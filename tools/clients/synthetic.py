"""Small data and random weights in the forms that other people's option files ask for.

Pictures are smooth random texture. Frame numbers, key names and file names are those that BasicSR's data sets and the
clients' read; REDS is as long as BasicSR assumes (100 frames a clip), all else is as small as the losses allow.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

FOLDER = 'made'
VGG = Path('experiments/pretrained_models/vgg19-dcbb9e9d.pth')


def make_all(root: Path) -> None:
    """Make all pictures, clips and lists below ``root``.

    ``train_gt``, ``train_x2``, ``train_x4`` with ``meta_gt.txt`` and ``meta_pairs.txt``; ``val_gt``, ``val_x2``,
    ``val_x4`` (large enough for NIQE); ``reds/gt``, ``reds/lq`` with ``meta_reds.txt`` and ``meta_reds_val.txt``;
    ``clips/gt``, ``clips/lq`` (short ones, for validation); ``anime``; ``lbo_gt``, ``lbo_lq``; ``faces_gt`` with
    ``landmarks.pth``, ``faces_val_gt``, ``faces_val_lq``, and ``faces_small`` with ``faces_small.lmdb``.
    """
    generator = np.random.default_rng(0)
    sizes = {'train': (12, 160, 240), 'val': (1, 112, 208), 'faces': (12, 512, 512)}
    for name, (count, height, width) in sizes.items():
        for i in range(count):
            picture = _texture(generator, height, width)
            _write(root / f'{name}_gt' / f'{i:04d}.png', picture)
            for scale in (2, 4) if name != 'faces' else ():
                _write(root / f'{name}_x{scale}' / f'{i:04d}.png', _smaller(picture, scale))
    names = [f'{i:04d}.png' for i in range(sizes['train'][0])]
    (root / 'meta_gt.txt').write_text(''.join(f'{name} (160,240,3)\n' for name in names))
    (root / 'meta_pairs.txt').write_text(''.join(f'train_gt/{name}, train_x4/{name}\n' for name in names))

    _clip(root / 'reds', '001', _texture(generator, 280, 280), 100, 256)
    (root / 'meta_reds.txt').write_text('001 100 (256,256,3)\n')
    _clip(root / 'clips', '000', _texture(generator, 256, 256), 5, 256)
    (root / 'meta_reds_val.txt').write_text('000 5 (256,256,3)\n')
    _clip(root / 'anime', 'scene', _texture(generator, 190, 190), 20, 160, kinds=('.',))
    for i in range(8):
        picture = _texture(generator, 128, 128)
        _write(root / 'lbo_gt' / 'clip' / f'{i:08d}.png', picture)
        _write(root / 'lbo_lq' / 'clip' / f'{i:08d}.png', _smaller(picture, 2))
    _faces(root)
    _landmarks(root / 'landmarks.pth', sizes['faces'][0], generator)
    _lmdb(root / 'faces_small.lmdb', sorted((root / 'faces_small_gt').iterdir()))


def _faces(root: Path) -> None:
    """Small faces too, and one of each size to validate with."""
    for path in sorted((root / 'faces_gt').iterdir()):
        _write(root / 'faces_small_gt' / path.name, _smaller(cv2.imread(str(path)), 4))
    for size in ('faces', 'faces_small'):
        first = min((root / f'{size}_gt').iterdir())
        for kind in ('val_gt', 'val_lq'):
            _write(root / f'{size}_{kind}' / first.name, cv2.imread(str(first)))


def _texture(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    picture = cv2.GaussianBlur(generator.random((height, width, 3)).astype(np.float32), (0, 0), 1.5)
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    return (picture * 255).round().astype(np.uint8)


def _smaller(picture: np.ndarray, scale: int) -> np.ndarray:
    return cv2.resize(picture, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture):
        raise OSError(f'{path} cannot be written.')


def _clip(
    root: Path, name: str, texture: np.ndarray, frames: int, size: int, kinds: tuple[str, ...] = ('gt', 'lq')
) -> None:
    """A window that moves by a pixel a frame and turns back where the texture ends."""
    room = len(texture) - size
    for i in range(frames):
        at = abs((i + room) % (2 * room) - room) if room else 0
        frame = texture[at : at + size, at : at + size]
        for kind in kinds:
            _write(root / kind / name / f'{i:08d}.png', _smaller(frame, 4) if kind == 'lq' else frame)


def _landmarks(path: Path, faces: int, generator: np.random.Generator) -> None:
    """Numbers of numpy in lists, as GFPGAN's script of facial landmarks saves them."""
    centres = {'left_eye': (190, 240, 28), 'right_eye': (320, 240, 24), 'mouth': (256, 360, 42)}
    content = {
        f'{i:08d}': {
            part: [np.float64(value + generator.uniform(-4, 4)) for value in centre] for part, centre in centres.items()
        }
        for i in range(faces)
    }
    torch.save(content, path)


def _lmdb(path: Path, pictures: list[Path]) -> None:
    """A database of pictures with BasicSR's list of keys next to it."""
    import lmdb

    with lmdb.open(str(path), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for picture in pictures:
            transaction.put(picture.stem.encode(), picture.read_bytes())
    (path / 'meta_info.txt').write_text(''.join(f'{picture.stem}.png (128,128,3) 1\n' for picture in pictures))


def make_vgg(path: Path) -> None:
    """Random weights of VGG19 where BasicSR looks for them before it downloads any.

    The losses use the convolutions alone, so the large linear layers are saved as one number each.
    """
    from torchvision.models import vgg19

    torch.manual_seed(0)
    with torch.device('meta'):
        shapes = {name: value.shape for name, value in vgg19().state_dict().items()}
    weights = {}
    for name, shape in shapes.items():
        if name.startswith('classifier'):
            weights[name] = torch.zeros(1).expand(shape)
        elif name.endswith('weight'):
            weights[name] = torch.nn.init.kaiming_normal_(torch.empty(shape))
        else:
            weights[name] = torch.zeros(shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
