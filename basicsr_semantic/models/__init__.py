"""What BasicSR calls models: optimiser, steps, validation. Importing the room registers them."""

from .semantic_vsr_model import SemanticVSRModel

__all__ = ['SemanticVSRModel']
