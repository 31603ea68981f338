"""A bidirectional recurrent network over a clip of any length, frame by frame, with the result of the whole clip.

The backward branch goes through the clip from its end, and what it finds of each frame is put on disk; the forward
branch goes through from the beginning, takes it back, and makes the frames. In memory are a few frames, their flow and
two states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import torch
from basicsr.archs.basicvsr_arch import BasicVSR
from torch import Tensor, nn

from ..archs.basicvsr_seem_arch import BasicVSRSEEM
from ..models.padding import pad_amount, pad_clip

_TOGETHER, _PIXELS = 8, 2**18
"""Frames whose flow is found together, and pixels that they may have: small frames are quicker in a batch."""
ReadFrame = Callable[[int], Tensor]
"""Number of a frame -> (1, 3, h, w) float32 in [0, 1]."""
ReadMasks = Callable[[int], Tensor | None]
"""Number of a frame -> its masks (1, N, h, w), or None."""
Kept = Callable[[int, np.ndarray], None]
"""Keeps an array (D, h, w) float32 under the number of a frame."""


def streamable(net: nn.Module) -> BasicVSRSEEM | None:
    """The network as one that can be run frame by frame, or None.

    BasicVSR is BasicVSRSEEM without its modules: same weights, same result.
    """
    if isinstance(net, BasicVSRSEEM):
        return net
    if type(net) is not BasicVSR:
        return None
    same = BasicVSRSEEM(num_feat=net.num_feat, num_block=_num_block(net), branches=())
    same.load_state_dict(net.state_dict())
    return same.eval().requires_grad_(False).to(next(net.parameters()).device)


class RecurrentStream:
    """The two passes of BasicVSR and of networks made of it (Eq. 1 to 5 of BasicVSR, Chan et al., CVPR 2021).

    Args:
        net: The network, in evaluation mode.
        count: Frames of the clip.
        frame: Reads one; any size.
        masks: Reads those of one, for a network with SEEM.
        size: (h, w) of the frames.
    """

    def __init__(
        self, net: BasicVSRSEEM, count: int, frame: ReadFrame, masks: ReadMasks, size: tuple[int, int]
    ) -> None:
        self.net, self.count, self.size = net, count, size
        self.rows, self.columns = pad_amount(*size, net.size_requirements)
        self._frame, self._masks = frame, masks
        self._last: dict[int, Tensor] = {}
        self._flows: dict[tuple[int, int], Tensor] = {}
        self._together = max(1, min(_TOGETHER, _PIXELS // (self.state_shape[1] * self.state_shape[2])))

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Of a state and of what the backward branch finds of a frame."""
        return self.net.num_feat, self.size[0] + self.rows, self.size[1] + self.columns

    def frame(self, k: int) -> Tensor:
        """A frame of a size that the network accepts; those whose flow is found together are kept."""
        if k not in self._last:
            self._last = {key: one for key, one in self._last.items() if abs(key - k) <= self._together}
            self._last[k] = pad_clip(self._frame(k), self.rows, self.columns)
        return self._last[k]

    def _flow(self, i: int, step: int) -> Tensor:
        """Flow (1, 1, 2, h, w) of a frame to the one ``step`` from it, found for several frames at once.

        Which frames these are depends on their numbers alone, so that a run that is taken up again finds the same.
        """
        if (i, step) not in self._flows:
            begin = i // self._together * self._together
            block = [
                k for k in range(begin, begin + self._together) if 0 <= k < self.count and 0 <= k + step < self.count
            ]
            refs, others = (torch.cat([self.frame(k + more) for k in block]) for more in (0, step))
            self._flows = dict(zip(((k, step) for k in block), self.net.flow(refs, others).split(1), strict=True))
        return self._flows[i, step][:, None]

    def _represent(self, i: int) -> Tensor:
        masks = self._masks(i)
        return self.net.sam_embed(self.frame(i), None if masks is None else pad_clip(masks, self.rows, self.columns))

    @torch.inference_mode()
    def backward(self, keep: Kept, stop: int = 0) -> Iterator[int]:
        """Go through the clip from its end.

        Args:
            keep: Takes what is found of a frame.
            stop: The first frame that is needed.

        Yields:
            The number of a frame that is done.
        """
        state = self._start()
        for i in range(self.count - 1, stop - 1, -1):
            if i < self.count - 1:
                state = self.net.warp(state, self._flow(i, 1), 0)
            state, found = self.net.branch('backward', self.frame(i), state, i, self._represent)
            keep(i, found[0].float().cpu().numpy())
            yield i

    @torch.inference_mode()
    def forward(
        self,
        take: Callable[[int], np.ndarray],
        first: int = 0,
        state: Tensor | None = None,
        states: Callable[[int, Tensor], None] | None = None,
    ) -> Iterator[Tensor]:
        """Go through the clip from its beginning.

        Args:
            take: Gives what the backward branch has found of a frame.
            first: The first frame that is to be made.
            state: State (D, h, w) behind the frame before ``first``; None: the frames before are gone through again.
            states: Is told the state behind each frame.

        Yields:
            A restored frame (3, 4 h, 4 w) float32, as the network makes it.
        """
        device = next(self.net.parameters()).device
        current = self._start() if state is None else state.to(device)[None]
        for i in range(0 if state is None else first, self.count):
            if i:
                current = self.net.warp(current, self._flow(i, -1), 0)
            current, enhanced = self.net.branch('forward', self.frame(i), current, i, self._represent)
            if i < first:
                continue
            if states is not None:
                states(i, current[0].float())
            backward = torch.from_numpy(take(i)).to(device)[None]
            made = self.net.reconstruct(backward, enhanced, self.frame(i))
            scale = made.size(-1) // self.frame(i).size(-1)
            yield made[0, :, : scale * self.size[0], : scale * self.size[1]].float()

    def _start(self) -> Tensor:
        return self.frame(0).new_zeros(1, *self.state_shape)


def _num_block(net: BasicVSR) -> int:
    return len(cast(nn.Sequential, net.backward_trunk.main[2]))
