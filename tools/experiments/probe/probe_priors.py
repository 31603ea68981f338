"""What priors tell of the clips of the probe. Tokens are codes of classes and identities, never pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from probe_world import NUM_CLASSES, Clips
from torch import Tensor

from basicsr_semantic.priors import SemanticPriors

TOKEN_DIM = 32
#: Oracle: the truth. Wrong: every class is another one. Other: those of another clip. Neutral: none.
MODES = ('oracle', 'wrong', 'other', 'neutral')

_codes = torch.randn(NUM_CLASSES + 1 + 4 + 16, TOKEN_DIM, generator=torch.Generator().manual_seed(1234))
_CLASS, _TINT, _IDENTITY = _codes.split([NUM_CLASSES + 1, 4, 16])  # the last class is "no texture"

Tell = Callable[[Clips], SemanticPriors]


def priors_of(clips: Clips, tell: Tell, mode: str, generator: torch.Generator) -> SemanticPriors:
    """The priors of clips.

    Args:
        clips: The clips and the truth about them.
        tell: What priors are made of it.
        mode: One of `MODES`.
        generator: Which class is told for another.
    """
    if mode == 'neutral':
        return SemanticPriors()
    if mode == 'wrong':
        change = torch.randint(1, NUM_CLASSES, clips.classes[:, :1].shape, generator=generator)
        classes = torch.where(clips.classes < 0, clips.classes, (clips.classes + change) % NUM_CLASSES)
        clips = replace(clips, classes=classes)
    if mode == 'other':
        names = ('instances', 'classes', 'tints', 'identities', 'told')
        clips = replace(clips, **{name: getattr(clips, name).roll(1, 0) for name in names})
    return tell(clips)


def class_masks(clips: Clips) -> SemanticPriors:
    """A mask for each class, as SEEM takes them."""
    shown = clips.class_map()
    return SemanticPriors(masks=torch.stack([shown == k for k in range(NUM_CLASSES)], dim=2).to(torch.uint8))


def scene_class(clips: Clips) -> SemanticPriors:
    """The class of the background as the global token of every frame."""
    tokens = _CLASS[clips.classes[:, :1]]
    return SemanticPriors(global_tokens=tokens.expand(-1, clips.lq.size(1), -1).contiguous())


def scene_instance(clips: Clips) -> SemanticPriors:
    """The class of the background as the only instance token."""
    return SemanticPriors(instance_tokens=_CLASS[clips.classes[:, :1]])


def tinted_instances(clips: Clips) -> SemanticPriors:
    """A token for each shape, its class and its colour, and their masks."""
    tokens = _CLASS[clips.classes[:, 1:]] + _TINT[clips.tints[:, 1:]]
    return SemanticPriors(instance_tokens=tokens, masks=_shape_masks(clips))


def shape_masks(clips: Clips) -> SemanticPriors:
    """Where the shapes are, and no class."""
    return SemanticPriors(masks=_shape_masks(clips))


def class_pixels(clips: Clips) -> SemanticPriors:
    """The class of each pixel in the pixel features, and of each instance in the frame tokens."""
    features = _CLASS[clips.class_map()].permute(0, 1, 4, 2, 3).contiguous()
    return SemanticPriors(frame_tokens=_of_frames(_CLASS[clips.classes], clips), pixel_features=features)


def class_tokens(clips: Clips) -> SemanticPriors:
    """The identity of each pixel in the pixel features; identity and class of each instance in the frame tokens."""
    tokens = _IDENTITY[clips.identities] + _CLASS[clips.classes]
    return SemanticPriors(frame_tokens=_of_frames(tokens, clips), pixel_features=_identity_pixels(clips))


def class_in_one_frame(clips: Clips) -> SemanticPriors:
    """The same, but the tokens of one frame alone tell the class."""
    tokens = _of_frames(_IDENTITY[clips.identities], clips)
    at = torch.arange(len(tokens)), clips.told
    tokens[at] += _CLASS[clips.classes]
    return SemanticPriors(frame_tokens=tokens, pixel_features=_identity_pixels(clips))


def _of_frames(tokens: Tensor, clips: Clips) -> Tensor:
    """(b, n, c) to (b, T, n, c)."""
    return tokens[:, None].repeat(1, clips.lq.size(1), 1, 1)


def _identity_pixels(clips: Clips) -> Tensor:
    identities = torch.gather(clips.identities, 1, clips.instances.flatten(1)).view_as(clips.instances)
    return _IDENTITY[identities].permute(0, 1, 4, 2, 3).contiguous()


def _shape_masks(clips: Clips) -> Tensor:
    shapes = range(1, clips.classes.size(1))
    return torch.stack([clips.instances == k for k in shapes], dim=2).to(torch.uint8)
