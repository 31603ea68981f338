"""Networks; importing the package registers them in BasicSR's ARCH_REGISTRY."""

from __future__ import annotations

from .basicvsr_lite_arch import BasicVSRLite
from .basicvsr_seem_arch import BasicVSRSEEM
from .edvr_seem_arch import EDVRSEEM
from .instance_transformer_arch import InstanceTransformer
from .psrt_arch import PSRTRecurrent
from .seeclear_arch import SeeClear
from .semantic_lens_arch import SemanticLens

__all__ = [
    'EDVRSEEM',
    'BasicVSRLite',
    'BasicVSRSEEM',
    'InstanceTransformer',
    'PSRTRecurrent',
    'SeeClear',
    'SemanticLens',
]
