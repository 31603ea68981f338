"""Registers the instance encoder and decoder, so that option files can build it (stage 1 of Semantic Lens)."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY

from .layers.instance_transformer import InstanceTransformer

ARCH_REGISTRY.register()(InstanceTransformer)  # pyright: ignore[reportOptionalCall]

__all__ = ['InstanceTransformer']
