"""Names that OpenSeeD looks for, and the file of their text embeddings.

The file is made once, from the text encoder in the released checkpoint and CLIP's tokenizer:

`basicsr prepare text model_state_dict_swint_51.2ap.pt openseed_coco.pt --tokenizer clip-vit-base-patch32 \\
--classes coco_panoptic`
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from ...utils.errors import MissingError, UserError
from ...utils.torch_files import load_plain
from ..checkpoints import verified_sha256

_THINGS = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, parking
meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie,
suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog,
pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell
phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush
"""
_STUFF = """
banner, blanket, bridge, cardboard, counter, curtain, door-stuff, floor-wood, flower, fruit, gravel, house, light,
mirror-stuff, net, pillow, platform, playingfield, railroad, river, road, roof, sand, sea, shelf, snow, stairs, tent,
towel, wall-brick, wall-stone, wall-tile, wall-wood, water-other, window-blind, window-other, tree-merged,
fence-merged, ceiling-merged, sky-other-merged, cabinet-merged, table-merged, floor-other-merged, pavement-merged,
mountain-merged, grass-merged, dirt-merged, paper-merged, food-other-merged, building-other-merged, rock-merged,
wall-other-merged, rug-merged
"""


def _split(names: str) -> tuple[str, ...]:
    return tuple(' '.join(name.split()) for name in names.split(','))


#: The 133 categories of COCO's panoptic task (Lin et al., ECCV 2014; Kirillov et al., CVPR 2019), 80 things before 53
#: kinds of stuff, in the order of their ids.
COCO_PANOPTIC: tuple[str, ...] = _split(_THINGS) + _split(_STUFF)


@dataclass
class Vocabulary:
    """Names and their text embeddings."""

    names: tuple[str, ...]
    """The V names."""
    embeddings: torch.Tensor
    """(V, P) float32 of unit length, in the order of the names."""
    sha256: str
    """SHA-256 of the file, as hex digits."""
    checkpoint: str | None
    """SHA-256 of the weights that made the embeddings; None where the file does not say."""
    path: Path
    """The file."""

    def check_width(self, width: int) -> None:
        """Refuse embeddings of another width than a network takes.

        Raises:
            UserError: They have another one.
        """
        if self.embeddings.size(1) != width:
            raise UserError(
                f'The text embeddings {self.path} are {tuple(self.embeddings.shape)}; (names, {width}) is needed.'
            )


def load_vocabulary(path: str | os.PathLike[str], checksum: str | None = None) -> Vocabulary:
    """Read a file of ``basicsr prepare text``; its embedding of "no object" is left out.

    Args:
        path: The file.
        checksum: SHA-256 that the file must have; None: any.

    Raises:
        UserError: The file is missing, damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f'The text embeddings {path} do not exist.', 'openseed text', file=path)
    digest = verified_sha256(path, checksum, 'the checksum that was asked for')
    content = load_plain(path)
    wanted = ('names', 'embeddings', 'checkpoint')
    names, rows, made_with = (content.get(key) if isinstance(content, dict) else None for key in wanted)
    if (
        not isinstance(rows, torch.Tensor)
        or rows.dim() != 2
        or not rows.numel()
        or not rows.is_floating_point()
        or not rows.isfinite().all()
        or not isinstance(names, list)
        or len(names) != len(rows)
    ):
        raise MissingError(f'{path} holds no names with their text embeddings.', 'openseed text')
    made_with = made_with if isinstance(made_with, str) else None
    return Vocabulary(tuple(map(str, names)), F.normalize(rows.float(), dim=-1), digest, made_with, path)
