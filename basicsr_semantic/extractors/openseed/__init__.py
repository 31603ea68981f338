"""OpenSeeD as a semantic distiller: tokens of each frame, chosen in the words of a vocabulary, and pixel features."""

from __future__ import annotations

from .checkpoint import load_openseed
from .network import OpenSeeD, QuerySemantics
from .vocabulary import COCO_PANOPTIC, Vocabulary, load_vocabulary

__all__ = ['COCO_PANOPTIC', 'OpenSeeD', 'QuerySemantics', 'Vocabulary', 'load_openseed', 'load_vocabulary']
