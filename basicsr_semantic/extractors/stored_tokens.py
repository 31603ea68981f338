"""Tokens as a store has them, for models: no network looks at frames, whichever extractor filled the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .base import EXTRACTOR_REGISTRY, Extractor
from .xdecoder.instance_tokens import InstanceSource, InstanceTokens


@EXTRACTOR_REGISTRY.register()
class StoredTokens(Extractor):
    """Takes tokens and masks as they are stored, for ``network_s`` of an option file; makes no store itself.

    It needs no name of the extractor that has filled the store, nor its weights. Where a network takes instance tokens,
    ``instance_checkpoint`` or ``instance_source`` says how they are made of the stored tokens of the frames of a clip.

    Args:
        instance_source: How instance tokens are made: 'vita' (by the instance network of stage 1), 'mean_over_time' or
            'xdecoder_frame' (the tokens of all frames side by side); None: 'vita' with an instance_checkpoint, and
            without one there are no instance tokens.
        instance_checkpoint: Weights of the instance network (stage 1), for 'vita'.
        device: Where the instance network runs: 'cpu', 'cuda', 'cuda:1', ...

    Raises:
        UserError: As of :class:`~basicsr_semantic.extractors.xdecoder.instance_tokens.InstanceTokens`.
    """

    kind = 'stored_tokens'
    max_masks = 0

    def __init__(
        self,
        instance_source: InstanceSource | None = None,
        instance_checkpoint: str | None = None,
        device: str = 'cpu',
    ) -> None:
        options = {'instance_source': instance_source, 'instance_checkpoint': instance_checkpoint}
        self.instances = self.instances_for_store(options, device)

    @staticmethod
    def instances_for_store(options: Mapping[str, Any], device: str | torch.device) -> InstanceTokens | None:
        """What makes instance tokens of the frame tokens of a store; None where the options name nothing.

        Args:
            options: Arguments of the constructor.
            device: Where it runs.

        Raises:
            UserError: As of the class.
        """
        source, checkpoint = options.get('instance_source'), options.get('instance_checkpoint')
        return InstanceTokens(source or 'vita', checkpoint, device) if source or checkpoint else None
