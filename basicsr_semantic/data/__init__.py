"""Data sets of clips, the degradations that make their low-resolution frames, and the preparation of clips."""

from __future__ import annotations

from . import basicsr_options
from .semantic_clip_dataset import SemanticClipDataset
from .semantic_clip_test_dataset import SemanticClipTestDataset
from .video_instance_dataset import VideoInstanceDataset
from .video_instance_test_dataset import VideoInstanceTestDataset

__all__ = [
    'SemanticClipDataset',
    'SemanticClipTestDataset',
    'VideoInstanceDataset',
    'VideoInstanceTestDataset',
    'basicsr_options',
]
