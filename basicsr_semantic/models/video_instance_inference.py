"""The instances of a whole video, with masks at the size of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from ..archs.layers.instance_transformer import InstanceTransformer
from ..extractors.xdecoder import XDecoder
from ..priors.segmentations import encode_mask


@dataclass
class VideoPrediction:
    """One instance that was found in a video.

    Attributes:
        label: Its class.
        score: Probability of the class times the mean probability inside the masks.
        masks: For each frame compressed run lengths ``{'size', 'counts'}`` of the COCO API.
    """

    label: int
    score: float
    masks: list[dict[str, Any]]


@torch.no_grad()
def predict_video(
    frame_decoder: XDecoder,
    instances: InstanceTransformer,
    frames: torch.Tensor,
    size: tuple[int, int],
    max_instances: int = 10,
    num_classes: int | None = None,
    chunk: int = 4,
    frames_on_device: int = 36,
) -> list[VideoPrediction]:
    """Find the instances of a video.

    As in VITA each pair of a query and a class competes with all others, so a query may be named more than once.

    Args:
        frame_decoder: Describes single frames; in evaluation mode.
        instances: Encoder and decoder over time; in evaluation mode.
        frames: (T, 3, h, w) in [0, 1], RGB, on any device.
        size: Height and width of the masks, those of the frames before they were scaled.
        max_instances: Most predictions, by score.
        num_classes: The first classes that count; None: all.
        chunk: Frames that are described at a time.
        frames_on_device: Videos of more frames keep their pixel features in main memory.

    Returns:
        The predictions, by descending probability of the class.
    """
    device = next(instances.parameters()).device
    keep = device if len(frames) <= frames_on_device else torch.device('cpu')
    tokens, features = [], []
    for part in frames.split(chunk):
        described = frame_decoder(part.to(device))
        tokens.append(described.tokens)
        features.append(instances.project_features(described.mask_features).to(keep))
    found = instances(torch.cat(tokens)[None])
    scores = found.class_logits[-1, 0].float().softmax(-1)[:, :-1][:, :num_classes]
    best, places = scores.flatten().topk(min(max_instances, scores.numel()))
    labels = (places % scores.size(1)).tolist()
    embeds = found.mask_embeds[-1, 0][places // scores.size(1)]
    masks: list[list[dict[str, Any]]] = [[] for _ in labels]
    inside, area = torch.zeros_like(best), torch.zeros_like(best)
    for part in (one for group in features for one in group.split(1)):
        logits = torch.einsum('nc,tchw->tnhw', embeds, part.to(device)).float()
        logits = F.interpolate(logits, scale_factor=4, mode='bilinear', align_corners=False)
        logits = logits[..., : frames.size(-2), : frames.size(-1)]  # without the padding of the frame decoder
        shown = logits > 0
        inside += (logits.sigmoid() * shown).flatten(2).sum((0, 2))
        area += shown.flatten(2).sum((0, 2))
        full = F.interpolate(logits, size=size, mode='bilinear', align_corners=False)[0] > 0
        for one, mask in zip(masks, full.cpu().numpy(), strict=True):
            one.append(encode_mask(mask))
    quality = inside / (area + 1e-6)
    return [
        VideoPrediction(label, score, runs)
        for label, score, runs in zip(labels, (best * quality).tolist(), masks, strict=True)
    ]
