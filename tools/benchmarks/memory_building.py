"""The model of an option file on the CPU, fed a batch of zeros, without the data and the weights that it names."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch import nn

from basicsr_semantic.archs.layers.instance_transformer import InstanceTransformer
from basicsr_semantic.archs.semantic_arch import arch_of
from basicsr_semantic.config.check import check_options
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.config.problems import raise_problems
from basicsr_semantic.data.dataset_options import build_options
from basicsr_semantic.data.semantic_clip_dataset import SemanticClipDataset
from basicsr_semantic.data.video_instance_dataset import SIZE_MULTIPLE, VideoInstanceDataset
from basicsr_semantic.engine.pipeline import build_model, in_words
from basicsr_semantic.engine.run import prepare_run
from basicsr_semantic.models import base_upsamplers, frame_decoders, video_instance_model
from basicsr_semantic.models.seeclear_model import SeeClearModel
from basicsr_semantic.models.semantic_vsr_model import SemanticVSRModel
from basicsr_semantic.models.video_instance_model import VideoInstanceModel
from basicsr_semantic.priors import CELL
from basicsr_semantic.utils.errors import UserError

PRECISIONS: dict[str, str | None] = {'float32': None, 'bf16': 'bf16'}
"""Precision -> train:amp."""
INSTANCES = 4
"""Instances of each clip in stage 1 of Semantic Lens."""
INSTANCE_TOKENS: int = inspect.signature(InstanceTransformer).parameters['num_queries'].default
_DATA = {
    SemanticVSRModel.__name__: SemanticClipDataset.__name__,
    SeeClearModel.__name__: SemanticClipDataset.__name__,
    VideoInstanceModel.__name__: VideoInstanceDataset.__name__,
}


def build(file: OptionFile, precision: str) -> tuple[Any, dict[str, Any]]:
    """Build the model of an option file on the CPU and feed it a batch; data, weights and network_s are left out.

    Args:
        file: The options; left as they are.
        precision: ``float32`` or ``bf16``, whatever the options say.

    Returns:
        The model, and the batch.

    Raises:
        UserError: The options have errors, a model class or data set that is not ours, or a perceptual loss.
    """
    checked = check_options(file, is_train=True)
    raise_problems(checked.errors, file)
    opt = prepare_run(checked.values | {'num_gpu': 0}, '.', is_train=True, manual_seed=0).opt
    _refuse(opt)
    opt['train'].update(amp=PRECISIONS[precision])
    opt['train'].pop('compile', None)
    source = opt.pop('network_s', None)
    with _without_files(opt), in_words(f'The model {opt["model_type"]}'):
        model = build_model(opt)
    batch = training_batch(opt, model, gives_priors=source is not None)
    model.feed_data(batch)
    return model, batch


def _refuse(opt: Mapping[str, Any]) -> None:
    """Refuse what the tool cannot count correctly."""
    name, data = opt['model_type'], opt['datasets']['train']['type']
    if name not in _DATA:
        raise UserError(f'model_type is {name}; this tool counts {", ".join(_DATA)}.')
    if data != _DATA[name]:
        raise UserError(f'datasets:train:type is {data}; with {name} this tool counts {_DATA[name]}.')
    if opt['train'].get('perceptual_opt'):
        raise UserError('train:perceptual_opt loads weights from the network, so this tool does not count it.')


@contextlib.contextmanager
def _without_files(opt: dict[str, Any]) -> Iterator[None]:
    """Build a model without the weights that its options name; of the path section nothing is read."""
    for section in (opt['network_g'], opt.get('base_upsampler')):
        if isinstance(section, dict) and section.get('spynet_path'):
            section['spynet_path'] = None

    def frame_decoder(options: dict[str, Any], checkpoint: str | None, param_key: str | None) -> nn.Module:
        return frame_decoders.build_frame_decoder(options, None)

    def classes(path: str | None, *sizes: Any) -> torch.Tensor:
        return frame_decoders.class_embeddings(None, *sizes)

    def nothing(*arguments: Any) -> None:
        pass

    opt['path'].update(resume_state=None)
    if opt['model_type'] == VideoInstanceModel.__name__:
        opt['path'].update(pretrain_network_g=None)
    with (
        mock.patch.object(SemanticVSRModel, '_load', nothing),
        mock.patch.object(base_upsamplers, 'load_weights', nothing),
        mock.patch.object(video_instance_model, 'build_frame_decoder', frame_decoder),
        mock.patch.object(video_instance_model, 'class_embeddings', classes),
    ):
        yield


def training_batch(opt: Mapping[str, Any], model: Any, gives_priors: bool = False) -> dict[str, Any]:
    """A batch of one process of the sizes of an option file, of zeros, as its data set's loader would give it.

    Args:
        opt: The options of a run.
        model: The model that it is for, which says what its network takes.
        gives_priors: Whether there are priors though the data set names none.

    Raises:
        UserError: The data set cuts no patches, so that the size of its frames is not known.
    """
    section = opt['datasets']['train']
    if isinstance(model, VideoInstanceModel):
        return _instance_batch(build_options(VideoInstanceDataset.Options, section))
    options = build_options(SemanticClipDataset.Options, section | {'scale': opt['scale']})
    if options.gt_size is None:
        raise UserError('datasets:train:gt_size is missing, so the size of the frames is not known. Give it.')
    b, t = options.batch_size_per_gpu, options.num_frame * (1 + options.flip_sequence)
    side, large = options.gt_size // options.scale, options.gt_size
    net = model.get_bare_model(model.net_g)
    arch = arch_of(net)
    widths = arch.token_dims
    cells = -(-side // CELL)
    shapes = {
        'masks': (b, 1 if options.center_masks_only else t, options.num_masks, side, side),
        'global_tokens': (b, t, widths.get('global_tokens')),
        'frame_tokens': (b, t, getattr(net, 'num_tokens', None), widths.get('frame_tokens')),
        'instance_tokens': (b, INSTANCE_TOKENS, widths.get('instance_tokens')),
        'pixel_features': (b, t, widths.get('pixel_features'), cells, cells),
    }
    batch = {
        'lq': torch.zeros(b, t, 3, side, side),
        'gt': torch.zeros(b, 3, large, large) if options.center_frame_only else torch.zeros(b, t, 3, large, large),
    }
    for name in arch.prior_fields if gives_priors or options.wants_priors else ():
        batch[name] = torch.zeros(shapes[name], dtype=torch.uint8 if name == 'masks' else torch.float32)
    return batch


def _instance_batch(options: VideoInstanceDataset.Options) -> dict[str, Any]:
    """The largest batch that can come up: all clips at the largest scale and in the least favourable shape."""
    if options.max_long_side is None:
        raise UserError('datasets:train:max_long_side is missing, so frames may have any width. Give it.')
    short = min(max(options.short_sides), options.max_long_side)
    b, t = options.batch_size_per_gpu, options.num_frame
    height, width = (-(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE for side in (short, options.max_long_side))
    one = {
        'labels': torch.zeros(INSTANCES, dtype=torch.int64),
        'ids': torch.arange(INSTANCES),
        'masks': torch.ones(INSTANCES, t, height, width, dtype=torch.bool),
    }
    return {
        'frames': torch.zeros(b, t, 3, height, width),
        'sizes': torch.tensor([[height, width]] * b),
        'instances': [dict(one) for _ in range(b)],
        'key': [str(i) for i in range(b)],
    }
