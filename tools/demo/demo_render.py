"""Renders the demo clips that `demo_scenes.py` describes: frames and exact instance masks.

Every layer (background, then objects from back to front) is drawn by one affine warp on a canvas `SUPERSAMPLING` times
finer than the frame, composed there, and averaged down. So motion is a real sub-pixel motion of the light that reaches
a pixel: neighbouring frames carry different samples of the same texture, which is what multi-frame super-resolution
uses. The share of a pixel that an object really covers, after occlusion, comes out of the same composition; the
instance mask is where that share is at least one half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from demo_scenes import CUTOUTS, SCENES, Camera, Cutout, Ellipse, Outline, Scene, Silhouette, Tint

from basicsr_semantic.utils.errors import UserError

SEED = 2024
FRAMES = 16
SIZE = 256
"""Height and width of the frames (the GT of the demo)."""
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Motion:
    """Where a layer is in every frame, with the seed's share already in it.

    Attributes:
        x, y: (frames,) position of the layer's anchor in frame pixels.
        scale: (frames,) frame pixels per photograph pixel.
        rotation: (frames,) degrees, anticlockwise positive.
    """

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    rotation: np.ndarray


@dataclass(frozen=True)
class Frame:
    """One rendered frame.

    Attributes:
        image: (size, size, 3) uint8, RGB.
        coverage: (objects, size, size) float32 in [0, 1], the visible share of every pixel, back to front. The rest of
            a pixel's 1 is background.
        masks: (objects, size, size) bool, coverage of at least one half; no two of them share a pixel.
    """

    image: np.ndarray
    coverage: np.ndarray
    masks: np.ndarray


def photograph_path(name: str) -> Path:
    """The file of a photograph inside the installed scikit-image.

    Raises:
        UserError: if scikit-image is not installed, or its wheel lacks the file.
    """
    try:
        import skimage
    except ImportError as error:
        raise UserError('The demo clips need scikit-image; install it with: pip install scikit-image') from error
    path = Path(skimage.__file__).parent / 'data' / name
    if not path.is_file():
        raise UserError(
            f'scikit-image {skimage.__version__} at {path.parent} has no file "{name}"; '
            'its wheel on the package index does: pip install --force-reinstall scikit-image'
        )
    return path


def _read(name: str) -> np.ndarray:
    path = photograph_path(name)
    from skimage import io

    try:
        return io.imread(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f'{path} cannot be read as a picture ({error}); pip install --force-reinstall scikit-image'
        ) from error


@lru_cache(maxsize=32)
def _photograph(name: str, tint: Tint) -> np.ndarray:
    """The photograph as (h, w, 3) float32 RGB in [0, 1], grey ones repeated to three channels, tinted."""
    image = _read(name)
    rgb = np.repeat(image[:, :, None], 3, 2) if image.ndim == 2 else image[:, :, :3]
    return np.clip(rgb.astype(np.float32) / 255 * np.float32(tint), 0, 1)


def closed_curve(points: tuple[tuple[float, float], ...], samples: int = 12) -> np.ndarray:
    """A smooth closed curve through the points: a periodic Catmull-Rom spline, (samples * len(points), 2)."""
    at = np.asarray(points, np.float64)
    before, after, beyond = np.roll(at, 1, 0), np.roll(at, -1, 0), np.roll(at, -2, 0)
    t = np.linspace(0, 1, samples, endpoint=False)[:, None, None]
    curve = 0.5 * (
        2 * at
        + (after - before) * t
        + (2 * before - 5 * at + 4 * after - beyond) * t**2
        + (3 * at - before - 3 * after + beyond) * t**3
    )
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def shape_alpha(shape: Ellipse | Outline | Silhouette, height: int, width: int) -> np.ndarray:
    """The opacity of a cut-out on its photograph's grid, (height, width) float32 in [0, 1] with soft edges."""
    if isinstance(shape, Silhouette):
        grey = _read(shape.file)[:, :, :3].mean(2)
        inside = cv2.GaussianBlur((grey < 128).astype(np.float32), (0, 0), 1.2)
        matrix = np.float64([[shape.scale, 0, shape.x], [0, shape.scale, shape.y]])
        return np.clip(cv2.warpAffine(inside, matrix, (width, height), flags=cv2.INTER_LINEAR), 0, 1)
    if isinstance(shape, Ellipse):
        angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        curve = np.stack((shape.x + shape.radius_x * np.cos(angle), shape.y + shape.radius_y * np.sin(angle)), 1)
    else:
        curve = np.float64(shape.points) if shape.corners else closed_curve(shape.points)
    fine = 4
    canvas = np.zeros((height * fine, width * fine), np.uint8)
    # fillPoly counts from pixel centres: photograph coordinate c is the fine coordinate fine * (c + 0.5) - 0.5.
    cv2.fillPoly(canvas, [np.round((curve + 0.5) * fine - 0.5).astype(np.int32)], 255)
    return cv2.resize(canvas.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Layer:
    """A texture with opacity, ready to be warped.

    Attributes:
        texture: (h, w, 4) float32, red, green, blue and opacity.
        density: texture pixels per photograph pixel (below 1 where the photograph is shown smaller than it is).
        anchor: (x, y) in texture pixels, the point that the motion moves.
        motion: where it goes.
    """

    texture: np.ndarray
    density: float
    anchor: np.ndarray
    motion: Motion

    def draw(self, frame: int, size: int) -> np.ndarray:
        """The layer in one frame on the fine canvas: (size * k, size * k, 4) float32."""
        k = SUPERSAMPLING
        zoom = self.motion.scale[frame] * k / self.density
        angle = np.deg2rad(self.motion.rotation[frame])
        turn = zoom * np.float64([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        # Frame coordinate c (centre of the first pixel is 0) is the fine coordinate k * (c + 0.5) - 0.5.
        target = (np.float64([self.motion.x[frame], self.motion.y[frame]]) + 0.5) * k - 0.5
        matrix = np.concatenate((turn, (target - turn @ self.anchor)[:, None]), 1)
        drawn = cv2.warpAffine(
            self.texture, matrix, (size * k, size * k), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT
        )
        return np.clip(drawn, 0, 1)


def _fit(texture: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
    """Shrinks a texture (by area, against aliasing) where the fine canvas shows it smaller than it is."""
    density = min(1.0, scale * SUPERSAMPLING)
    if density == 1.0:
        return texture, 1.0
    height, width = texture.shape[:2]
    # Whole pixels: each side's true factor differs from `density` by less than half a pixel over the photograph.
    return cv2.resize(texture, (round(width * density), round(height * density)), interpolation=cv2.INTER_AREA), density


def _object_layer(cutout: Cutout, motion: Motion) -> Layer:
    photo = _photograph(cutout.photo, cutout.tint)
    alpha = shape_alpha(cutout.shape, *photo.shape[:2])
    rows, columns = np.flatnonzero(alpha.max(1)), np.flatnonzero(alpha.max(0))
    top, bottom = max(rows[0] - 4, 0), rows[-1] + 5
    left, right = max(columns[0] - 4, 0), columns[-1] + 5
    rgba = np.dstack((photo, alpha))[top:bottom, left:right]
    # Where the outline touches the photograph's border the opacity must still fall to 0 inside the texture.
    rgba = cv2.copyMakeBorder(rgba, 4, 4, 4, 4, cv2.BORDER_REPLICATE)
    rgba[:4, :, 3] = rgba[-4:, :, 3] = rgba[:, :4, 3] = rgba[:, -4:, 3] = 0
    texture, density = _fit(rgba, float(motion.scale.max()))
    anchor = (np.float64([texture.shape[1], texture.shape[0]]) - 1) / 2
    return Layer(texture, density, anchor, motion)


def _background_layer(camera: Camera, motion: Motion, centre: np.ndarray) -> Layer:
    photo = _photograph(camera.photo, camera.tint)
    texture, density = _fit(np.dstack((photo, np.ones(photo.shape[:2], np.float32))), float(motion.scale.max()))
    return Layer(texture, density, (centre + 0.5) * density - 0.5, motion)


def _glide(first: float, last: float, frames: int) -> np.ndarray:
    return np.linspace(first, last, frames)


def _sway(rng: np.random.Generator, amplitude: float, frames: int) -> np.ndarray:
    phase, turns = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
    return amplitude * np.sin(phase + 2 * np.pi * turns * np.arange(frames) / frames)


def build_layers(scene: Scene, seed: int = SEED, size: int = SIZE, frames: int = FRAMES) -> list[Layer]:
    """The layers of a clip, background first. The seed moves every path, scale and angle a little."""
    rng = np.random.default_rng([seed, [item.name for item in SCENES].index(scene.name)])
    unit = size / SIZE
    camera = scene.camera
    photo = np.float64(_photograph(camera.photo, camera.tint).shape[1::-1])
    scale = _glide(*camera.scale, frames) * unit * rng.uniform(0.98, 1.02)
    # The path is that of the photograph's point in the middle; the anchor stays, the picture moves the other way.
    path = np.stack([_glide(a, b, frames) for a, b in zip(camera.start, camera.end, strict=True)], 1)
    path += np.stack([_sway(rng, 2.0, frames) for _ in range(2)], 1)
    rotation = _glide(*camera.rotation, frames)
    # The visible square must stay inside the photograph, whatever the seed drew: no border is ever seen.
    reach = (size / 2 + 1) / scale * (np.abs(np.cos(np.deg2rad(rotation))) + np.abs(np.sin(np.deg2rad(rotation))))
    path = np.clip(path, reach[:, None], photo - 1 - reach[:, None])
    centre = path.mean(0)
    angle = np.deg2rad(rotation)
    offset = (centre - path) * scale[:, None]
    middle = (size - 1) / 2
    motion = Motion(
        middle + np.cos(angle) * offset[:, 0] + np.sin(angle) * offset[:, 1],
        middle - np.sin(angle) * offset[:, 0] + np.cos(angle) * offset[:, 1],
        scale,
        rotation,
    )
    layers = [_background_layer(camera, motion, centre)]
    for track in scene.objects:
        shift = rng.uniform(-0.02, 0.02, 2) * size
        positions = [
            _glide(a * size, b * size, frames) + shift[axis] + _sway(rng, 1.5 * unit, frames)
            for axis, (a, b) in enumerate(zip(track.start, track.end, strict=True))
        ]
        sizes = _glide(*track.scale, frames) * unit * rng.uniform(0.97, 1.03)
        turn = _glide(*track.rotation, frames) + rng.uniform(-2, 2)
        layers.append(_object_layer(CUTOUTS[track.cutout], Motion(*positions, sizes, turn)))
    return layers


def _average(fine: np.ndarray) -> np.ndarray:
    """Mean over SUPERSAMPLING x SUPERSAMPLING blocks of the last two of (..., h, w) or the first two of (h, w, c)."""
    k = SUPERSAMPLING
    height, width = fine.shape[0] // k, fine.shape[1] // k
    return fine.reshape(height, k, width, k, -1).mean((1, 3), dtype=np.float32).reshape(height, width, *fine.shape[2:])


def render_frame(layers: list[Layer], frame: int, size: int = SIZE) -> Frame:
    """Composes one frame (painter's order) and measures what is visible of every object."""
    k = SUPERSAMPLING
    light = np.zeros((size * k, size * k, 3), np.float32)
    covered: list[np.ndarray] = []
    for index, layer in enumerate(layers):
        drawn = layer.draw(frame, size)
        alpha = drawn[:, :, 3:]
        light = light * (1 - alpha) + drawn[:, :, :3] * alpha if index else drawn[:, :, :3]
        if index:
            covered = [share * (1 - alpha[:, :, 0]) for share in covered]
            covered.append(alpha[:, :, 0])
    image = np.clip(np.round(_average(light) * 255), 0, 255).astype(np.uint8)
    coverage = np.stack([_average(share) for share in covered])
    masks = np.zeros(coverage.shape, bool)
    free = np.ones(coverage.shape[1:], bool)
    # Two shares can both be exactly one half; the object in front then has the pixel.
    for index in reversed(range(len(covered))):
        masks[index] = (coverage[index] >= 0.5) & free
        free &= ~masks[index]
    return Frame(image, coverage, masks)


def render_clip(scene: Scene, seed: int = SEED, size: int = SIZE, frames: int = FRAMES) -> Iterator[Frame]:
    """The frames of one clip, one at a time."""
    layers = build_layers(scene, seed, size, frames)
    for frame in range(frames):
        yield render_frame(layers, frame, size)
