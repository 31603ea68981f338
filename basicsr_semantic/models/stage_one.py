"""Frame decoder and instance encoder and decoder together: what trains in stage 1, and what runs on frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..archs.layers.instance_transformer import InstanceTransformer
from ..extractors.xdecoder import FrameSemantics, XDecoder
from ..losses import VideoInstanceLoss
from ..losses.matcher import Match
from ..losses.set_loss import Instances
from ..utils.errors import UserError


class StageOne(nn.Module):
    """What trains, as one module: the instance encoder and decoder, and the frame decoder if it trains too.

    Args:
        frame_decoder: Describes frames; None where the descriptions are given.
        instance: Encoder and decoder over time.
    """

    def __init__(self, frame_decoder: XDecoder | None, instance: InstanceTransformer) -> None:
        super().__init__()
        self.frame_decoder = frame_decoder
        self.instance = instance

    def forward(self, *inputs: torch.Tensor):
        """Instances of clips.

        Args:
            inputs: Frames (b, t, 3, h, w) where the frame decoder trains, else its tokens (L, b, t, K, C) and pixel
                features (b, t, c, h / 4, w / 4).

        Returns:
            The instances, projected pixel features (b, t, mask_dim, h / 4, w / 4), and what the frame decoder said
            (None where it does not train).
        """
        semantics = None
        if self.frame_decoder is not None:
            (frames,) = inputs
            semantics = self.frame_decoder(frames.flatten(0, 1), all_layers=True)
            clips = frames.shape[:2]
            inputs = (semantics.layer_tokens.unflatten(1, clips), semantics.mask_features.unflatten(0, clips))
        tokens, features = inputs
        projected = self.instance.project_features(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        return self.instance(tokens), projected, semantics


def frame_losses(
    net: XDecoder,
    semantics: FrameSemantics,
    targets: Sequence[Instances],
    loss: VideoInstanceLoss,
    classes: torch.Tensor | None,
) -> tuple[dict[str, torch.Tensor], list[list[Match]]]:
    """Judge a frame decoder that trains, on all its layers, in float32.

    Args:
        net: The frame decoder.
        semantics: What it said about the b * t frames of a batch, with the masks of all layers.
        targets: What was annotated in each of the b clips.
        loss: The loss.
        classes: Embeddings (num_classes + 1, P) of the classes, the last for "no object".

    Returns:
        The losses, and for each layer that gave tokens the matches of the b * t frames.
    """
    assert classes is not None and semantics.layer_mask_logits is not None
    with torch.autocast(classes.device.type, enabled=False):
        logits = net.class_scores(semantics.layer_class_embeds[:, :, :-1].float(), classes)
        masks = semantics.layer_mask_logits.float()
        frames = [frame for clip in targets for frame in clip.frames()]
        matches = loss.match_frames(logits, masks, frames)
        losses = loss.frame_loss(logits, masks, frames, matches)
    return losses, matches[-semantics.layer_tokens.size(0) :]


@torch.no_grad()
def describe(
    net: XDecoder,
    frames: torch.Tensor,
    targets: Sequence[Instances],
    loss: VideoInstanceLoss,
    classes: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, list[list[Match]] | None]:
    """Run a frozen frame decoder, one clip at a time: its mask logits of all layers are large.

    Args:
        net: The frame decoder.
        frames: (b, t, 3, h, w).
        targets: What was annotated in each of the b clips.
        loss: The loss, for its matcher.
        classes: Embeddings of the classes, with or without a last row for "no object"; None: nothing is matched.

    Returns:
        Tokens (L, b, t, K, C), pixel features (b, t, c, h / 4, w / 4), and for each of L layers the matches of the
        b * t frames, or None.
    """
    tokens, features = [], []
    matches: list[list[Match]] | None = None
    for clip, target in zip(frames, targets, strict=True):
        semantics = net(clip, all_layers=classes is not None)
        tokens.append(semantics.layer_tokens)
        features.append(semantics.mask_features)
        if classes is None:
            continue
        layers = semantics.layer_tokens.size(0)
        with torch.autocast(frames.device.type, enabled=False):
            logits = net.class_scores(semantics.layer_class_embeds[-layers:, :, :-1].float(), classes)
            found = loss.match_frames(logits, semantics.layer_mask_logits[-layers:].float(), target.frames())
        matches = [so_far + more for so_far, more in zip(matches or [[]] * layers, found, strict=True)]
    return torch.stack(tokens, dim=1), torch.stack(features), matches


def check_fit(instances: InstanceTransformer, frames: XDecoder) -> None:
    """The frame decoder gives what the instance transformer takes."""
    for name, has in (
        ('hidden_dim', frames.token_dim),
        ('num_frame_queries', frames.num_tokens),
        ('feature_dim', frames.mask_dim),
    ):
        if instances.config[name] != has:
            raise UserError(
                f'network_g:{name} is {instances.config[name]}, but the frame decoder gives {has}: '
                f'{frames.num_tokens} tokens of width {frames.token_dim} and pixel features of {frames.mask_dim}.'
            )
