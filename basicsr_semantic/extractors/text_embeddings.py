"""Text embeddings of class names, made with the text encoder of a released X-Decoder or OpenSeeD.

What `basicsr prepare text` writes is a dictionary: `names`, `embeddings` (V, 512) of unit length in their order,
`background` (512,), which stands for "no object", and `checkpoint`, the SHA-256 of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from .checkpoints import verified_sha256
from .openseed.vocabulary import COCO_PANOPTIC
from .xdecoder.clip_tokenizer import clip_tokenizer
from .xdecoder.text import embed_background, embed_classes, load_text_encoder

#: The classes of YouTube-VIS in the order of their ids (Yang et al., "Video Instance Segmentation", ICCV 2019).
YTVIS_2019 = (
    'person giant_panda lizard parrot skateboard sedan ape dog snake monkey hand rabbit duck cat cow fish train horse '
    'turtle bear motorbike giraffe leopard fox deer owl surfboard airplane truck zebra tiger elephant snowboard boat '
    'shark mouse frog eagle earless_seal tennis_racket'
)
YTVIS_2021 = (
    'airplane bear bird boat car cat cow deer dog duck earless_seal elephant fish flying_disc fox frog giant_panda '
    'giraffe horse leopard lizard monkey motorbike mouse parrot person rabbit shark skateboard snake snowboard '
    'squirrel surfboard tennis_racket tiger train truck turtle whale zebra'
)
CLASSES: dict[str, Sequence[str]] = {
    'ytvis2019': YTVIS_2019.split(),
    'ytvis2021': YTVIS_2021.split(),
    'coco_panoptic': list(COCO_PANOPTIC),
}


def embed(
    checkpoint: str | Path, tokenizer: str | Path, names: Sequence[str], checksum: str | None = None, heads: int = 8
) -> dict[str, Any]:
    """Make the content of the file.

    Args:
        checkpoint: A released file of X-Decoder or OpenSeeD.
        tokenizer: Folder with CLIP's vocabulary.
        names: Class names.
        checksum: SHA-256 that the checkpoint must have; None: any.
        heads: Attention heads of the text encoder.

    Raises:
        UserError: A file is missing, damaged or of another kind, or a package is missing.
    """
    digest = verified_sha256(Path(checkpoint), checksum, 'the checksum that was asked for')
    encoder = load_text_encoder(checkpoint, heads)
    tokenize = clip_tokenizer(tokenizer, encoder.context)
    return {
        'names': list(names),
        'embeddings': embed_classes(encoder, tokenize, names),
        'background': embed_background(encoder, tokenize),
        'checkpoint': digest,
    }


def read_names(path: Path) -> list[str]:
    """Class names from a text file, one a line; empty lines do not count.

    Raises:
        UserError: The file is missing, is not text, has no name, or a name twice.
    """
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'The class names in {path} cannot be read: {error}.') from error
    names = [line.strip() for line in lines if line.strip()]
    if not names or len(set(names)) < len(names):
        raise UserError(f'{path} must have at least one class name, and none of them twice.')
    return names
