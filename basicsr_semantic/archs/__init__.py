"""Networks; importing the package registers them in BasicSR's ARCH_REGISTRY."""

from __future__ import annotations

from .basicvsr_seem_arch import BasicVSRSEEM
from .edvr_seem_arch import EDVRSEEM
from .instance_transformer_arch import InstanceTransformer

__all__ = ['EDVRSEEM', 'BasicVSRSEEM', 'InstanceTransformer']
