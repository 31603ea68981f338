"""What BasicSR calls models: optimiser, steps, validation. Importing the room registers them."""

from . import basicsr_options
from .seeclear_model import SeeClearModel
from .semantic_vsr_model import SemanticVSRModel
from .video_instance_model import VideoInstanceModel

__all__ = ['SeeClearModel', 'SemanticVSRModel', 'VideoInstanceModel', 'basicsr_options']
