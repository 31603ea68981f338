"""From the tokens of frames to those of the instances of a clip, in one of three ways."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from ...archs.layers.instance_transformer import InstanceTransformer
from ...utils.devices import put_on
from ...utils.errors import UserError
from ...utils.files import file_sha256
from .instances import load_instance_transformer

InstanceSource = Literal['vita', 'mean_over_time', 'xdecoder_frame']
INSTANCE_SOURCES: tuple[str, ...] = get_args(InstanceSource)


class InstanceTokens:
    """Instance tokens O_V of a clip from the tokens O_t of its frames, by a frozen network or without one.

    Three sources, of which the paper has the first (Semantic Lens, Eq. 3 to 5):

    - ``vita``: the instance encoder and decoder over time that stage 1 has trained; N is its number of video queries.
    - ``mean_over_time``: token k is the mean over the frames of their k-th object tokens; N = K. The frame decoder's
      queries are learned, so the same place tends to the same thing from frame to frame, without any guarantee.
    - ``xdecoder_frame``: the tokens of all frames side by side, N = T * K; nothing is said about identity over time.

    Args:
        source: One of these.
        checkpoint: Weights of the instance network, only and always with ``vita``.
        device: Where it runs.

    Attributes:
        network: The instance network in evaluation mode, without gradients; None without one.
        sha256: SHA-256 of its file; None without one.

    Raises:
        UserError: The source is unknown, or the checkpoint is missing, not used, damaged or of another network.
    """

    def __init__(
        self, source: InstanceSource = 'vita', checkpoint: str | None = None, device: str | torch.device = 'cpu'
    ) -> None:
        if source not in INSTANCE_SOURCES:
            raise UserError(f'instance_source must be one of {", ".join(INSTANCE_SOURCES)}, not {source!r}.')
        if source == 'vita' and not checkpoint:
            raise UserError(
                'instance_source: vita needs instance_checkpoint, the weights that stage 1 (VideoInstanceModel) has '
                'trained. To work without it, choose instance_source: mean_over_time or xdecoder_frame.'
            )
        if source != 'vita' and checkpoint:
            raise UserError(f'instance_source: {source} uses no instance_checkpoint; remove {checkpoint}.')
        self.source = source
        self.network: InstanceTransformer | None = None
        self.sha256: str | None = None
        if checkpoint:
            network = load_instance_transformer(checkpoint).requires_grad_(False)
            self.network = put_on(device, network, 'The instance network')
            self.sha256 = file_sha256(Path(checkpoint))

    def check(self, num_tokens: int, token_dim: int, origin: str) -> None:
        """Refuse frame tokens that the instance network was not made for.

        Args:
            num_tokens: Tokens K of a frame.
            token_dim: Their width C.
            origin: Where they come from, for the message.

        Raises:
            UserError: The network takes others.
        """
        if self.network is None:
            return
        wanted = (self.network.config['num_frame_queries'], self.network.config['hidden_dim'])
        if wanted != (num_tokens, token_dim):
            raise UserError(
                f'The instance network takes {wanted[0]} tokens of width {wanted[1]} a frame, but {origin} gives '
                f'{num_tokens} of width {token_dim}. Use the instance_checkpoint that was trained with it.'
            )

    @torch.no_grad()
    def __call__(self, frame_tokens: Tensor) -> Tensor:
        """Compute instance tokens.

        Args:
            frame_tokens: (b, T, K, C).

        Returns:
            (b, N, C).
        """
        if self.source == 'xdecoder_frame':
            return frame_tokens.flatten(1, 2)
        if self.source == 'mean_over_time':
            return frame_tokens.mean(dim=1)
        assert self.network is not None
        self.check(*frame_tokens.shape[2:], origin='the store')
        return self.network(frame_tokens).tokens
