#!/usr/bin/env python3
"""Makes text embeddings of class names with the text encoder of a released X-Decoder or OpenSeeD.

`python tools/make_text_embeddings.py xdecoder_focalt_last.pt --tokenizer clip-vit-base-patch32 --out ytvis19.pt`

`python tools/make_text_embeddings.py model_state_dict_swint_51.2ap.pt --tokenizer clip-vit-base-patch32 \\
--classes coco_panoptic --out openseed_coco.pt`

The folder of the tokenizer holds vocab.json and merges.txt of CLIP ViT-B/32; nothing is downloaded. The file that is
written holds a dictionary: `names`, `embeddings` (V, 512) of unit length in their order, `background` (512,), which
stands for "no object", and `checkpoint`, the SHA-256 of the weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from basicsr_semantic.engine.checkpoint import save_atomic
from basicsr_semantic.extractors.checkpoints import verified_sha256
from basicsr_semantic.extractors.openseed.vocabulary import COCO_PANOPTIC
from basicsr_semantic.extractors.xdecoder.clip_tokenizer import clip_tokenizer
from basicsr_semantic.extractors.xdecoder.text import embed_background, embed_classes, load_text_encoder
from basicsr_semantic.utils.errors import UserError

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


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, embed, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='a released file of X-Decoder or OpenSeeD, with its text encoder')
    parser.add_argument('--tokenizer', required=True, metavar='FOLDER', help='folder with vocab.json and merges.txt')
    parser.add_argument('--out', required=True, help='file to write')
    parser.add_argument('--classes', choices=CLASSES, default='ytvis2019', help='whose names (default: %(default)s)')
    parser.add_argument('--names', metavar='FILE', help='a text file with one class name a line, instead of --classes')
    parser.add_argument('--checksum', help='SHA-256 that the checkpoint must have')
    parser.add_argument('--heads', type=int, default=8, help='attention heads of the text encoder (default: 8)')
    parser.add_argument('--force', action='store_true', help='replace an existing file')
    options = parser.parse_args(arguments)
    try:
        if Path(options.out).exists() and not options.force:
            raise UserError(f'{options.out} exists already. Give another name, or --force to replace it.')
        names = CLASSES[options.classes] if options.names is None else read_names(Path(options.names))
        content = embed(options.checkpoint, options.tokenizer, names, options.checksum, options.heads)
        save_atomic(content, options.out)
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    shape = tuple(content['embeddings'].shape)
    print(f'{options.out} is written: embeddings {shape} of {names[0]} to {names[-1]}.')
    return 0


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
        UserError: The file is missing, is no text, has no name, or a name twice.
    """
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'The class names in {path} cannot be read: {error}.') from error
    names = [line.strip() for line in lines if line.strip()]
    if not names or len(set(names)) < len(names):
        raise UserError(f'{path} must have at least one class name, and none of them twice.')
    return names


if __name__ == '__main__':
    sys.exit(main())
