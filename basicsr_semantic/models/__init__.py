"""What BasicSR calls models: optimiser, steps, validation. Importing the room registers them."""

from .semantic_vsr_model import SemanticVSRModel
from .video_instance_model import VideoInstanceModel

__all__ = ['SemanticVSRModel', 'VideoInstanceModel']
