"""A model of somebody's own, as one new file, with an option of its own."""

from __future__ import annotations

from typing import Annotated

from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import Field

from basicsr_semantic.models import SemanticVSRModel


@MODEL_REGISTRY.register()
class ToyModel(SemanticVSRModel):
    """Tells its greeting when the training begins."""

    class TrainOptions(SemanticVSRModel.TrainOptions):
        """Those of the model above, and one more."""

        greetings: Annotated[int, Field(ge=1, le=3)] = 1
        """How often it greets."""

    def init_training_settings(self) -> None:
        """As of the model above, after the greeting."""
        super().init_training_settings()
        get_root_logger().info('Good morning. ' * self.train_options.greetings)
