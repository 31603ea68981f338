"""The options of :class:`VideoInstanceModel`, section by section; the option checker and the JSON Schema read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from ..config import sections
from ..config.section import Built, Factor, Positive, Section
from ..extractors.xdecoder import XDecoder
from .common_options import FileOptions, StepOptions


class FrameDecoderOptions(Section):
    """Section ``frame_decoder``, without the sizes of the network."""

    type: Literal['xdecoder']
    """What describes single frames: xdecoder."""
    preset: Literal['focal_t', 'focal_l'] = 'focal_t'
    """Sizes to begin with where there are no weights to read them off; keys of this section replace some of them."""
    text_embeddings: str | None = None
    """File with one text embedding for each class (and, last, one for "background"); ~ takes random directions."""


class VideoInstanceTopOptions(sections.TopOptions):
    """Top level."""

    network_g: Annotated[dict[str, Any], Built('arch')]
    """The instance encoder and decoder: type InstanceTransformer and its arguments."""
    frame_decoder: Annotated[dict[str, Any], Built('frame_decoder', XDecoder, FrameDecoderOptions)]
    """What describes single frames: type xdecoder; preset (focal_t, focal_l) and sizes that replace the preset's;
    text_embeddings, the file of basicsr prepare text, which names the classes to a frozen frame decoder."""


class VideoInstanceTrainOptions(StepOptions):
    """Section ``train``."""

    instance_opt: dict[str, Any] = {'type': 'VideoInstanceLoss'}
    """The loss: type VideoInstanceLoss and its arguments."""
    trainable: list[str] = ['instance']
    """What trains: instance alone, on top of a frozen frame decoder, or [frame_decoder, instance]; longer beginnings of
    parameter names train parts of them."""
    frame_decoder_lr_mul: Factor = 1
    """Factor on the learning rate of the frame decoder."""


class VideoInstancePathOptions(FileOptions):
    """Section ``path``; ``param_key_g`` is for the frame decoder too."""

    pretrain_frame_decoder: str | None = None
    """Checkpoint of the frame decoder, a released one or ours; needed unless it trains."""
    pretrain_network_f: str | None = None
    """Checkpoint of a frame decoder that trained (``net_f_*.pth``); has priority over pretrain_frame_decoder."""


class VideoInstanceValOptions(sections.ValOptions):
    """Section ``val``. Nothing is drawn, and AP and AR are always measured."""

    max_instances: Positive = 10
    """Predictions of a video, by score."""
    chunk: Positive = 4
    """Frames that the frame decoder sees at a time."""
    frames_on_device: Positive = 36
    """Videos of more frames keep their pixel features in main memory."""
