"""X-Decoder and the instance network as an extractor: tokens of every frame, masks of the instances of a clip.

Semantic Lens (AAAI 2024), Eq. 1 to 5. A clip is looked at twice: the frame pass gives the tokens and pixel features of
each frame, the instance pass over all frames the instances, one identity from the first frame to the last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ...priors import CELL
from ...priors.feature_records import cells
from ...utils.errors import UserError
from ..base import EXTRACTOR_REGISTRY, ClipPriors, Extractor, check_max_masks, frame_to_tensor
from ..layers.pixel_features import extend_to_cells, features_of_cells
from .checkpoint import load_xdecoder
from .clip_maps import ClipMaps, masks_at_frame_size, resize_short_side
from .descriptions import BothPasses, ClipSemantics, FramePass
from .instance_tokens import InstanceSource, InstanceTokens


@EXTRACTOR_REGISTRY.register()
class XDecoderExtractor(Extractor):
    """Semantic priors of whole clips by a frozen X-Decoder and a frozen instance network.

    With ``instance_source: vita`` an instance is a video query whose best class scores above ``score_threshold``; the
    ``max_instances`` with the highest scores are kept. VITA lists a query once for each class that scores, for average
    precision; here a query is one identity and comes once.

    The other two sources have no instances over time, so their masks are the frame decoder's own. Only the number of
    the query connects them from frame to frame: channel i is one query in all frames. That is not tracking: a query can
    pass from one thing to another. Without class names there are no class scores; a query's score is the mean
    probability inside its masks over the clip, and the queries with the most probability inside their masks are kept.

    Args:
        checkpoint: Weights of X-Decoder: the released xdecoder_focalt_last.pt, or one of stage 1 (net_f_*.pth).
        instance_checkpoint: Weights of the instance network that stage 1 has trained; needed with ``vita``.
        instance_source: Where instances come from: 'vita' (the instance network), 'mean_over_time' (each token's mean
            over the frames) or 'xdecoder_frame' (the tokens of all frames side by side).
        device: Where the networks run: 'cpu', 'cuda', 'cuda:1', ...
        short_side: Frames are resized bicubically to this shorter side for the networks; None or 0: as they are.
            Semantic Lens describes LR frames and does not mention enlarging them; 360 is VITA's side in tests.
        max_instances: Most instances a clip.
        score_threshold: Instances with a lower score are dropped, between 0 and 1. VITA has 0.01, for average
            precision; here every instance that is kept cuts the attention of IMAGE, so it should be one.
        feature_memory: Gigabytes of dense features kept between the passes; what does not fit is computed twice.
        frames_at_once: Frames that X-Decoder handles at once; changes speed and memory only.
        pixel_features: Whether to give the mask features too, averaged over cells of 4x4 pixels, for SeeClear. Frames
            whose sides are not multiples of 4 are then extended to such before the network gets them.
        checksum: SHA-256 that the X-Decoder file must have; None: not checked.

    Raises:
        UserError: A checkpoint is missing, damaged, of another network or of another width than the other, a value is
            out of its range, or the device cannot be used.
    """

    kind = 'xdecoder'
    order = 'id'

    def __init__(
        self,
        *,
        checkpoint: str,
        instance_checkpoint: str | None = None,
        instance_source: InstanceSource = 'vita',
        device: str = 'cpu',
        short_side: Annotated[int, Field(ge=0)] | None = 360,
        max_instances: Annotated[int, Field(ge=1, le=64)] = 10,
        score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.3,
        feature_memory: Annotated[float, Field(ge=0)] = 4.0,
        frames_at_once: Annotated[int, Field(ge=1)] = 4,
        pixel_features: bool = False,
        checksum: str | None = None,
    ) -> None:
        out_of_range = 0 < (short_side or 0) < 32 or not 0 <= score_threshold < 1
        if out_of_range or (short_side or 0) < 0 or feature_memory < 0 or frames_at_once < 1:
            raise UserError(
                'short_side must be 0 or at least 32 pixels, score_threshold at least 0 and below 1, feature_memory '
                f'at least 0 and frames_at_once at least 1, not {short_side}, {score_threshold}, {feature_memory} and '
                f'{frames_at_once}.'
            )
        self.max_masks = check_max_masks(max_instances)
        self.short_side, self.score_threshold = short_side or None, score_threshold
        self.feature_memory, self.frames_at_once = feature_memory, frames_at_once
        self.pixel_features = pixel_features
        # the small file first: most mistakes show without reading the large one
        self.instances = InstanceTokens(instance_source, instance_checkpoint, device)
        self.network = load_xdecoder(checkpoint, checksum, device).eval().requires_grad_(False)
        self.device = next(self.network.parameters()).device
        report = self.network.report
        self.checkpoint = {'file': report.file, 'sha256': report.sha256} if report else None
        self.instances.check(self.network.num_tokens, self.network.token_dim, f'the X-Decoder of {checkpoint}')
        features = self.instances.network.config['feature_dim'] if self.instances.network else self.network.mask_dim
        if features != self.network.mask_dim:
            raise UserError(
                f'The instance network of {instance_checkpoint} takes pixel features of width {features}, but the '
                f'X-Decoder of {checkpoint} gives {self.network.mask_dim}. Use the one that was trained with it.'
            )

    @property
    def tokens(self) -> dict[str, int]:
        """Sizes of the tokens of a frame, for the metadata of a store."""
        dim = self.network.token_dim
        return {'num': self.network.num_tokens, 'dim': dim, 'global_dim': dim}

    @property
    def features(self) -> dict[str, int] | None:
        """Sizes of the pixel features, for the metadata of a store; None without."""
        return {'dim': self.network.mask_dim, 'cell': CELL} if self.pixel_features else None

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides tokens and masks, for the metadata of a store. Device and memory do not."""
        return {
            'short_side': self.short_side,
            'score_threshold': self.score_threshold,
            'instance_source': self.instances.source,
            'instance_sha256': self.instances.sha256,
        }

    # ----------------------------------------------------------------------------------------------- two passes

    @torch.no_grad()
    def frame_pass(self, frames: Tensor) -> FramePass:
        """Describe frames one by one.

        Args:
            frames: (n, 3, h, w) float RGB in [0, 1], whole frames of one size.
        """
        size = (frames.shape[-2], frames.shape[-1])
        frames = frames.to(self.device, torch.float32)
        frames = resize_short_side(extend_to_cells(frames) if self.pixel_features else frames, self.short_side)
        found = self.network(frames)
        # half precision here already: a store and the networks of an online run then get the same tokens
        tokens, global_tokens = (x.to(torch.float16).float() for x in (found.tokens, found.global_token))
        seen = (frames.shape[-2], frames.shape[-1])
        features = features_of_cells(found.mask_features, seen, size) if self.pixel_features else None
        return FramePass(tokens, global_tokens, found.mask_features, found.mask_logits, seen, features)

    @torch.no_grad()
    def instance_pass(
        self, frame_tokens: Tensor, maps: Callable[[int], Tensor], seen: tuple[int, int], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Iterator[Tensor]]:
        """Find the instances of a clip.

        Args:
            frame_tokens: (T, K, C) of all frames.
            maps: Gives the pixel features of a frame (mask_dim, H' / 4, W' / 4) by its number; with another source
                than ``vita`` its mask logits (K, H' / 4, W' / 4).
            seen: (H, W) that the network saw.
            size: (h, w) of the frames.

        Returns:
            Instance tokens (N, C), the scores of the instances that are kept (I,), and their masks, (I, h, w) bool
            frame by frame, made when asked for.
        """
        network = self.instances.network
        if network is None:
            tokens = self.instances(frame_tokens[None])[0]
            kept, scores = self._queries_by_mask(len(frame_tokens), maps, seen)
            return tokens, scores, (self._masks(maps(t)[kept], seen, size) for t in range(len(frame_tokens)))
        found = network(frame_tokens[None])
        every = found.class_logits[-1, 0].softmax(-1)[:, :-1].amax(-1)
        kept = self._best(every, every)
        embeds = found.mask_embeds[-1, 0, kept]

        def masks() -> Iterator[Tensor]:
            for t in range(len(frame_tokens)):
                with torch.no_grad():
                    projected = network.project_features(maps(t)[None])[0]
                    yield self._masks(torch.einsum('ic,chw->ihw', embeds, projected), seen, size)

        return found.tokens[0], every[kept], masks()

    def _masks(self, logits: Tensor, seen: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Masks (I, h, w) of a frame, from logits of what the network saw of it."""
        height, width = (cells(side) * CELL for side in size) if self.pixel_features else size
        return masks_at_frame_size(logits, seen, (height, width))[:, : size[0], : size[1]]

    def _queries_by_mask(
        self, count: int, maps: Callable[[int], Tensor], seen: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Numbers and scores of the frame decoder's queries to keep."""
        rows, columns = (-(-side // 4) for side in seen)
        mass = area = torch.zeros((), device=self.device)
        for t in range(count):
            probability = maps(t)[:, :rows, :columns].sigmoid()
            inside = probability > 0.5
            mass = mass + (probability * inside).sum((1, 2))
            area = area + inside.sum((1, 2))
        scores = mass / area.clamp(min=1)
        kept = self._best(mass, scores)
        return kept, scores[kept]

    def _best(self, rank: Tensor, scores: Tensor) -> Tensor:
        """Numbers of the first by rank among those that score above the threshold."""
        order = rank.argsort(descending=True, stable=True)
        return order[scores[order] > self.score_threshold][: self.max_masks]

    # ---------------------------------------------------------------------------------------------- whole clips

    def describe_clip(self, count: int, read: Callable[[int], np.ndarray]) -> ClipPriors:
        """Describe a clip for a store; see :class:`~basicsr_semantic.extractors.base.Extractor`."""

        found = self._both_passes(count, lambda number: frame_to_tensor(read(number)))
        return ClipPriors(
            found.tokens.cpu().numpy(),
            found.global_tokens.cpu().numpy(),
            (one.cpu().numpy() for one in found.masks),
            found.scores.cpu().numpy(),
            None if found.pixel_features is None else (one.cpu().numpy() for one in found.pixel_features),
        )

    @staticmethod
    def instances_for_store(options: Mapping[str, Any], device: str | torch.device) -> InstanceTokens:
        """What makes instance tokens of the frame tokens of a store.

        Args:
            options: Arguments of the extractor, of which ``instance_source`` and ``instance_checkpoint`` count.
            device: Where it runs.

        Raises:
            UserError: As of :class:`InstanceTokens`.
        """
        return InstanceTokens(options.get('instance_source', 'vita'), options.get('instance_checkpoint'), device)

    def describe(self, frames: Tensor, wanted: Collection[str] = ('masks',)) -> ClipSemantics:
        """Describe a clip that is in memory, with everything a network may want.

        Args:
            frames: (T, 3, h, w) float RGB in [0, 1], whole frames.
            wanted: Fields of SemanticPriors; where masks are not among them, they are all zero.
        """
        found = self._both_passes(len(frames), lambda t: frames[t])
        masks = torch.zeros((len(frames), self.max_masks, *frames.shape[-2:]), dtype=torch.uint8, device=self.device)
        for t, one in enumerate(found.masks if 'masks' in wanted else ()):
            masks[t, : len(found.scores)] = one
        features = None if found.pixel_features is None else torch.stack(list(found.pixel_features))
        return ClipSemantics(found.tokens, found.global_tokens, found.instance_tokens, masks, features)

    def _both_passes(self, count: int, frame: Callable[[int], Tensor]) -> BothPasses:
        """Describe ``count`` frames (3, h, w)."""

        def dense(found: FramePass) -> Tensor:
            return found.mask_logits if self.instances.network is None else found.mask_features

        def of_cells(found: FramePass) -> Tensor:
            assert found.pixel_features is not None
            return found.pixel_features

        room = self.feature_memory * 2**30 / (2 if self.pixel_features else 1)
        maps = ClipMaps(room, lambda t: dense(self.frame_pass(frame(t)[None]))[0])
        cell_maps = ClipMaps(room, lambda t: of_cells(self.frame_pass(frame(t)[None]))[0])
        tokens, global_tokens, seen, size = [], [], (0, 0), None
        for first in range(0, count, self.frames_at_once):
            batch = [frame(t) for t in range(first, min(first + self.frames_at_once, count))]
            for t, image in enumerate(batch, first):
                size = size or (image.shape[-2], image.shape[-1])
                if image.shape[-2:] != size:
                    raise UserError(
                        f'Frame {t} of the clip has {image.shape[-1]}x{image.shape[-2]} pixels, but the first one '
                        f'{size[1]}x{size[0]}. The frames of a clip need one size.'
                    )
            found = self.frame_pass(torch.stack(batch))
            tokens.append(found.tokens)
            global_tokens.append(found.global_tokens)
            seen = found.seen
            for t, one in enumerate(dense(found), first):
                maps.put(t, one)
            for t, one in enumerate(of_cells(found) if self.pixel_features else (), first):
                cell_maps.put(t, one)
        assert size is not None, 'a clip has at least one frame'
        frame_tokens = torch.cat(tokens)
        instance_tokens, scores, masks = self.instance_pass(frame_tokens, maps.get, seen, size)
        features = map(cell_maps.get, range(count)) if self.pixel_features else None
        return BothPasses(frame_tokens, torch.cat(global_tokens), instance_tokens, scores, masks, features)
