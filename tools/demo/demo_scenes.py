"""What the demo clips show: which photographs, which cut-outs, and how everything moves.

Plain data, no drawing: `demo_clips.py` renders it. All photographs are files inside the scikit-image wheel (those of
`skimage.data` that need no download), so the clips can be made without a network. Coordinates of outlines are pixels of
the photograph; positions of objects are fractions of the frame (0.5 is the middle); scales are frame pixels per
photograph pixel; rotations are degrees, anticlockwise positive.
"""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, float]
Tint = tuple[float, float, float]


@dataclass(frozen=True)
class Ellipse:
    """An upright ellipse in photograph pixels."""

    x: float
    y: float
    radius_x: float
    radius_y: float


@dataclass(frozen=True)
class Outline:
    """A closed outline in photograph pixels.

    `path` lists its points as "x,y x,y ...". `corners` False draws a smooth closed curve through them, True joins them
    with straight lines.
    """

    path: str
    corners: bool = False

    @property
    def points(self) -> tuple[Point, ...]:
        """The points of `path` as numbers."""
        pairs = (point.split(',') for point in self.path.split())
        return tuple((float(x), float(y)) for x, y in pairs)


@dataclass(frozen=True)
class Silhouette:
    """A shape taken from a black-and-white picture (dark is inside), moved to `(x, y)` of the photograph."""

    file: str
    x: float
    y: float
    scale: float


@dataclass(frozen=True)
class Cutout:
    """One object: a piece of a photograph, and the category it has in `instances.json`.

    `tint` multiplies red, green and blue; it gives the grey photographs a colour.
    """

    photo: str
    category: str
    shape: Ellipse | Outline | Silhouette
    tint: Tint = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Track:
    """How one object moves: first and last position, scale and rotation; between them it glides and sways a little."""

    cutout: str
    start: Point
    end: Point
    scale: tuple[float, float]
    rotation: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Camera:
    """The background: the photograph's pixel in the middle of the first and last frame, scale and rotation."""

    photo: str
    start: Point
    end: Point
    scale: tuple[float, float]
    rotation: tuple[float, float] = (0.0, 0.0)
    tint: Tint = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Scene:
    """One clip. Objects are listed from the back to the front."""

    name: str
    split: str
    camera: Camera
    objects: tuple[Track, ...]

    def photographs(self, cutouts: dict[str, Cutout]) -> set[str]:
        """Names of the photograph files that this clip uses."""
        return {self.camera.photo} | {cutouts[track.cutout].photo for track in self.objects}


GREEN: Tint = (0.86, 1.06, 0.62)
SAND: Tint = (1.1, 0.98, 0.82)
CLAY: Tint = (1.22, 0.84, 0.7)
BRONZE: Tint = (1.12, 0.96, 0.66)

CUTOUTS: dict[str, Cutout] = {
    'astronaut': Cutout(
        'astronaut.png',
        'person',
        Outline(
            '232,15 262,22 288,44 299,78 294,112 272,132 262,150 262,176 284,200 301,232 330,256 347,290 '
            '358,330 352,352 290,368 200,374 100,366 34,352 30,326 44,286 76,246 114,214 112,188 128,162 '
            '158,150 178,146 170,126 156,100 154,72 168,44 198,22'
        ),
    ),
    'helmet': Cutout(
        'astronaut.png',
        'helmet',
        Outline(
            '278,478 278,440 292,404 318,370 356,350 400,344 442,354 474,384 492,424 498,462 496,498 460,509 '
            '390,509 320,509 286,503'
        ),
    ),
    'shuttle': Cutout(
        'astronaut.png',
        'shuttle',
        Outline(
            '403,4 414,1 426,4 434,20 438,44 444,40 452,58 453,110 452,160 456,214 456,230 448,240 450,262 '
            '434,266 416,272 398,274 384,268 370,268 368,252 372,230 356,228 355,216 370,188 378,160 380,110 '
            '382,56 388,42 396,40 397,20'
        ),
    ),
    'cameraman': Cutout(
        'camera.png',
        'person',
        Outline(
            '206,62 236,72 260,94 270,118 264,138 290,140 322,138 324,152 318,164 330,176 332,196 314,212 '
            '308,244 296,256 304,276 272,300 246,312 210,300 194,330 160,366 110,380 40,366 24,330 24,280 '
            '30,232 46,190 76,146 110,128 140,108 160,104 164,84 182,66'
        ),
        (1.06, 1.0, 0.93),
    ),
    'motorcycle': Cutout(
        'motorcycle_left.png',
        'motorcycle',
        Outline(
            '98,208 138,200 142,150 166,152 196,164 246,164 290,188 352,188 392,160 340,134 342,124 372,112 '
            '398,122 440,136 474,118 494,122 498,84 514,76 532,102 546,128 576,120 580,140 560,150 558,182 '
            '550,196 560,212 574,262 614,272 644,306 664,330 684,384 676,430 640,452 596,442 552,410 522,366 '
            '508,326 474,300 474,330 452,364 410,380 352,376 348,410 336,436 324,432 322,380 276,366 244,396 '
            '204,402 158,384 126,340 122,300 136,262 124,240 108,240'
        ),
    ),
    'wheel': Cutout('motorcycle_left.png', 'wheel', Ellipse(200, 319, 77, 82)),
    'horse': Cutout('gravel.png', 'horse', Silhouette('horse.png', 56, 90, 1.0), SAND),
    'gland': Cutout(
        'ihc.png',
        'gland',
        Outline('272,330 300,312 336,318 366,330 378,360 378,400 366,440 334,462 308,450 282,424 258,400 254,364'),
    ),
    'coin_owl': Cutout('coins.png', 'coin', Ellipse(334.5, 43, 28.5, 28), BRONZE),
    'coin_head': Cutout('coins.png', 'coin', Ellipse(347, 187, 31.5, 31.5), BRONZE),
    'coin_lion': Cutout('coins.png', 'coin', Ellipse(212.5, 193, 24, 24), (1.1, 1.02, 0.9)),
    'page': Cutout('page.png', 'page', Outline('4,10 380,4 381,150 5,160', corners=True), (1.1, 1.1, 1.04)),
    'cat': Cutout(
        'chelsea.png',
        'cat',
        Outline(
            '44,66 78,34 126,14 178,5 230,5 280,16 318,36 342,66 354,104 348,142 330,178 314,208 304,238 '
            '284,264 252,281 210,285 164,280 120,264 86,236 60,196 42,152 36,108'
        ),
    ),
    'cup': Cutout(
        'coffee.png',
        'cup',
        Outline(
            '176,68 190,48 216,30 250,19 290,17 330,24 366,40 390,62 403,70 418,66 423,78 420,100 440,120 '
            '460,154 474,196 479,226 474,268 452,316 412,352 360,378 300,388 236,384 178,366 128,334 96,288 '
            '80,236 79,204 90,158 114,116 144,86'
        ),
    ),
    'rocket': Cutout(
        'rocket.jpg',
        'rocket',
        Outline(
            '323,126 329,132 334,142 334,165 335,200 335,260 334,320 334,350 356,364 356,402 372,410 372,424 '
            '268,424 268,410 289,402 289,364 307,350 308,320 309,260 309,200 310,165 311,142 317,132'
        ),
        (1.15, 1.12, 1.08),
    ),
    'tower': Cutout(
        'rocket.jpg',
        'tower',
        Outline('50,2 87,2 83,200 80,412 2,412 4,330 30,150', corners=True),
        (1.5, 1.5, 1.5),
    ),
    'bricks': Cutout('brick.png', 'ball', Ellipse(256, 300, 150, 150), CLAY),
}

SCENES: tuple[Scene, ...] = (
    Scene(
        'orbit',
        'train',
        Camera('hubble_deep_field.jpg', (440, 420), (500, 450), (0.62, 0.7), (0, 3)),
        (
            Track('shuttle', (0.74, 0.40), (0.64, 0.44), (0.62, 0.72), (-24, -16)),
            Track('astronaut', (0.34, 0.62), (0.44, 0.58), (0.5, 0.56), (4, -4)),
            Track('helmet', (0.80, 0.80), (0.66, 0.74), (0.42, 0.5), (-6, 8)),
        ),
    ),
    Scene(
        'garage',
        'train',
        Camera('motorcycle_left.png', (330, 240), (374, 262), (0.62, 0.68), (0, -1.5)),
        (
            Track('coin_head', (0.20, 0.24), (0.36, 0.34), (1.05, 1.3), (0, 16)),
            Track('cameraman', (0.74, 0.66), (0.6, 0.64), (0.52, 0.56), (2, -2)),
            Track('horse', (0.26, 0.78), (0.38, 0.74), (0.34, 0.4), (0, 5)),
            Track('coin_owl', (0.82, 0.2), (0.7, 0.3), (1.25, 1.1), (0, -14)),
        ),
    ),
    Scene(
        'campus',
        'train',
        Camera('camera.png', (270, 250), (232, 262), (0.68, 0.74), (0, 1), (1.03, 1.0, 0.95)),
        (
            Track('coin_lion', (0.60, 0.22), (0.76, 0.40), (1.0, 1.15), (0, 12)),
            Track('page', (0.62, 0.2), (0.50, 0.22), (0.5, 0.52), (6, -3)),
            Track('motorcycle', (0.60, 0.74), (0.46, 0.72), (0.28, 0.32), (0, 3)),
            Track('gland', (0.18, 0.44), (0.32, 0.5), (0.66, 0.58), (-8, 6)),
        ),
    ),
    Scene(
        'lawn',
        'train',
        Camera('grass.png', (240, 262), (272, 240), (0.66, 0.62), (0, 4), GREEN),
        (
            Track('astronaut', (0.64, 0.42), (0.52, 0.46), (0.48, 0.53), (-3, 3)),
            Track('wheel', (0.22, 0.7), (0.38, 0.74), (0.62, 0.68), (0, -18)),
            Track('coin_lion', (0.78, 0.82), (0.62, 0.76), (1.3, 1.5), (0, 12)),
        ),
    ),
    Scene(
        'pebbles',
        'train',
        Camera('gravel.png', (262, 240), (246, 276), (0.7, 0.76), (2, -2), (1.04, 1.0, 0.94)),
        (
            Track('motorcycle', (0.44, 0.38), (0.55, 0.42), (0.3, 0.34), (-3, 2)),
            Track('helmet', (0.24, 0.76), (0.34, 0.68), (0.46, 0.5), (5, -7)),
            Track('shuttle', (0.82, 0.62), (0.7, 0.58), (0.6, 0.55), (10, 20)),
            Track('coin_head', (0.62, 0.84), (0.5, 0.78), (1.1, 1.25), (0, 15)),
        ),
    ),
    Scene(
        'tissue',
        'train',
        Camera('ihc.png', (270, 250), (240, 256), (0.66, 0.72), (-2, 2)),
        (
            Track('page', (0.38, 0.26), (0.48, 0.3), (0.55, 0.5), (-5, 4)),
            Track('horse', (0.62, 0.72), (0.52, 0.68), (0.42, 0.46), (0, 4)),
            Track('coin_owl', (0.2, 0.56), (0.34, 0.6), (1.25, 1.4), (0, 12)),
            Track('wheel', (0.82, 0.36), (0.7, 0.4), (0.48, 0.54), (0, 20)),
        ),
    ),
    Scene(
        'wall',
        'val',
        Camera('brick.png', (236, 262), (266, 250), (0.64, 0.7), (-1, 2), CLAY),
        (
            Track('rocket', (0.84, 0.40), (0.76, 0.42), (0.66, 0.74), (-12, -8)),
            Track('cat', (0.28, 0.34), (0.40, 0.38), (0.46, 0.5), (-4, 4)),
            Track('cup', (0.66, 0.78), (0.56, 0.74), (0.36, 0.4), (3, -5)),
        ),
    ),
    Scene(
        'launch',
        'val',
        Camera('rocket.jpg', (326, 252), (300, 268), (0.66, 0.72), (0, 1.5), (1.3, 1.3, 1.3)),
        (
            Track('bricks', (0.2, 0.34), (0.3, 0.4), (0.26, 0.29), (0, 14)),
            Track('cup', (0.34, 0.74), (0.46, 0.7), (0.4, 0.37), (-4, 3)),
            Track('cat', (0.78, 0.64), (0.66, 0.6), (0.38, 0.44), (4, -3)),
        ),
    ),
)
