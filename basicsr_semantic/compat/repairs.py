"""Repairs of BasicSR (PyPI 1.4.2 and the git head of the same number) for current PyTorch, CPUs and exact resume.

Each repair names the place in BasicSR that it is for, and says so once in the log ``basicsr_semantic`` at debug level.
They are applied once, when BasicSR is imported (``compat/hook.py``) and before anything of ours is, and hold for
BasicSR's own classes and for scripts that call ``basicsr.train.train_pipeline``. ``register(repairs=False)`` leaves
them out.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Callable

from ..utils.errors import UserError
from . import late

_logger = logging.getLogger('basicsr_semantic')
_applied: list[str] = []


def applied() -> tuple[str, ...]:
    """The names of the repairs that are in place."""
    return tuple(_applied)


def apply_before() -> None:
    """Apply, once each, the repairs that have to be there while BasicSR is imported; `end_import` ends the second."""
    _apply(('functional_tensor', _restore_functional_tensor), ('late_scipy', _import_scipy_late))


def end_import() -> None:
    """Remove what was meant for BasicSR's import only."""
    late.step_aside()


def apply() -> None:
    """Apply the repairs of a BasicSR that is imported, once each.

    Raises:
        ImportError: A module is not there: it is another BasicSR than the one that the repairs are for.
        AttributeError: A class or function is not there.
    """
    _apply(
        ('meshgrid', _quieten_meshgrid),
        ('distributed', _repair_distributed),
        ('options', _repair_options),
        ('names', _restore_names),
        ('ops', _repair_ops),
        ('geometry', _repair_geometry),
        ('data', _repair_data),
        ('base_model', _repair_base_model),
        ('losses', _watch_losses),
        ('networks', _repair_networks),
        ('video_models', _repair_video_models),
        ('metrics', _repair_metrics),
        ('pipelines', _replace_pipelines),
    )


def forget() -> None:
    """Start from the beginning, for a BasicSR that is imported once more after its import failed."""
    _applied.clear()


def _apply(*repairs: tuple[str, Callable[[], None]]) -> None:
    for name, repair in repairs:
        if name not in _applied:
            repair()
            _applied.append(name)
            _logger.debug('Repair %s: %s', name, ' '.join((repair.__doc__ or '').split()))


def _quieten_meshgrid() -> None:
    """basicsr/archs/swinir_arch.py, among others, calls torch.meshgrid in a way that PyTorch warns of."""
    warnings.filterwarnings('ignore', message='torch.meshgrid')


def _restore_functional_tensor() -> None:
    """basicsr/data/degradations.py imports a torchvision module that torchvision 0.17 removed."""
    name = 'torchvision.transforms.functional_tensor'
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    module = types.ModuleType(name)
    module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[name] = module


def _import_scipy_late() -> None:
    """basicsr/data/degradations.py and metrics/niqe.py import SciPy for what few runs use."""
    late.stand_in()


def _repair_distributed() -> None:
    """basicsr/utils/dist_util.py starts nccl and calls torch.cuda.set_device whether there is a GPU or not."""
    from basicsr.utils import dist_util, options

    from ..engine.distributed import init_distributed

    dist_util.init_dist = options.init_dist = init_distributed


def _repair_options() -> None:
    """basicsr/utils/options.py loads YAML that may run code, and runs --force_yml through eval and exec."""
    import basicsr.utils
    from basicsr.utils import options

    from ..config.option_file import load_yaml

    options.yaml_load = basicsr.utils.yaml_load = load_yaml  # type: ignore[attr-defined]


def _restore_names() -> None:
    """Names that BasicSR 1.4.2 moved and projects for earlier versions import, such as HAT (1.3.4.9).

    basicsr/utils/color_util.py was part of matlab_functions.py, and losses/basic_loss.py and gan_loss.py were one file.
    """
    from basicsr import losses
    from basicsr.losses import basic_loss, gan_loss
    from basicsr.utils import color_util, matlab_functions

    for name in ('rgb2ycbcr', 'bgr2ycbcr', 'ycbcr2rgb', 'ycbcr2bgr'):
        if not hasattr(matlab_functions, name):
            setattr(matlab_functions, name, getattr(color_util, name))
    if importlib.util.find_spec('basicsr.losses.losses') is None:
        module = types.ModuleType('basicsr.losses.losses')
        for part in (basic_loss, gan_loss):
            for name in dir(part):
                if not name.startswith('__'):
                    setattr(module, name, getattr(part, name))
        sys.modules['basicsr.losses.losses'] = losses.losses = module  # pyright: ignore[reportAttributeAccessIssue]


def _repair_ops() -> None:
    """basicsr/ops/*: compiled extensions only; basicsr/utils/img_process_util.py, filter2D: contiguous images only."""
    from basicsr.utils import img_process_util

    from . import ops

    ops.replace_ops()
    ops.replace_everywhere(img_process_util.filter2D, ops.filter2d)


def _repair_geometry() -> None:
    """basicsr/archs/arch_util.py, flow_warp: positions in the type of the features, a crash where the flow is NaN.

    basicsr/archs/spynet_arch.py, SpyNet.forward: flow in bfloat16 under mixed precision. arch_util.py,
    DCNv2Pack.forward: waits for the GPU in each call.
    """
    from basicsr.archs import arch_util, spynet_arch

    from . import geometry, ops

    ops.replace_everywhere(arch_util.flow_warp, geometry.flow_warp)
    _replace((arch_util.DCNv2Pack,), forward=geometry.deform)
    _replace((spynet_arch.SpyNet,), forward=geometry.in_float32(spynet_arch.SpyNet.forward))


def _repair_data() -> None:
    """basicsr/data/degradations.py, add_jpg_compression: gives OpenCV a quality as a float, which it no longer accepts.

    basicsr/data/__init__.py, build_dataset: builds data sets whose ``torch.load`` is refused by PyTorch 2.6.
    """
    from basicsr import data
    from basicsr.data import degradations

    from . import ops
    from .numpy_numbers import with_numpy_numbers

    build = with_numpy_numbers(data.build_dataset)

    @functools.wraps(build)
    def build_dataset(dataset_opt):
        dataset = build(dataset_opt)
        late.load_for(dataset)  # before its workers are started
        return dataset

    ops.replace_everywhere(data.build_dataset, build_dataset)

    original = degradations.add_jpg_compression

    @functools.wraps(original)
    def add_jpg_compression(img, quality=90):
        return original(img, int(quality))  # OpenCV cut it off too when it took one

    ops.replace_everywhere(original, add_jpg_compression)


def _repair_networks() -> None:
    """basicsr/archs/basicvsrpp_arch.py, BasicVSRPlusPlus.__init__: other parameters where there is no CUDA."""
    from basicsr.utils.registry import ARCH_REGISTRY

    from .without_cuda import watch_registry

    watch_registry(ARCH_REGISTRY)


def _repair_base_model() -> None:
    """basicsr/models/base_model.py: half-written files, swallowed errors, CUDA-only DDP, lossy resume, Adam only.

    Its constructor also lets ``.cuda()`` pass on a CPU, which models/realesrgan_model.py and realesrnet_model.py call
    in ``__init__`` and ``_dequeue_and_enqueue``, as do the models that other projects made from them.
    """
    from basicsr.models import base_model, sr_model

    from . import base_model as methods
    from .without_cuda import with_cuda_calls

    _replace(
        (base_model.BaseModel,),
        __init__=with_cuda_calls(base_model.BaseModel.__init__),
        model_to_device=methods.model_to_device,
        save_network=methods.save_network,
        save_training_state=methods.save_training_state,
        load_network=methods.load_network,
        resume_training=methods.resume_training,
        get_optimizer=methods.get_optimizer,
        _initialize_best_metric_results=methods.initialize_best,
        _update_best_metric_result=methods.finite_best(base_model.BaseModel._update_best_metric_result),
    )
    equal = methods.with_equal_ema(sr_model.SRModel.init_training_settings)
    _replace((sr_model.SRModel,), init_training_settings=equal)


def _watch_losses() -> None:
    """basicsr/losses/__init__.py, build_loss: its models step on losses that are not finite, and log them after."""
    from basicsr import losses

    from ..engine.loss_guard import watch_loss
    from . import ops

    original = losses.build_loss

    @functools.wraps(original)
    def build_loss(opt):
        return watch_loss(original(opt))

    ops.replace_everywhere(original, build_loss)


def _repair_video_models() -> None:
    """basicsr/models/video_*.py: validation on CUDA only and with GT only, EMA ignored, frozen parameters thawed."""
    from basicsr.models.edvr_model import EDVRModel
    from basicsr.models.video_base_model import VideoBaseModel
    from basicsr.models.video_recurrent_gan_model import VideoRecurrentGANModel as GANModel
    from basicsr.models.video_recurrent_model import VideoRecurrentModel

    from ..engine.validation import validate
    from . import video_models

    alone = video_models.validate_alone
    _replace((VideoBaseModel, VideoRecurrentModel), dist_validation=validate, nondist_validation=alone)
    _replace((VideoRecurrentModel, EDVRModel), setup_optimizers=video_models.setup_optimizers)
    _replace((VideoRecurrentModel,), test=video_models.test_recurrent)
    _replace((VideoRecurrentModel,), optimize_parameters=video_models.optimize_recurrent)
    _replace((EDVRModel,), optimize_parameters=video_models.optimize_edvr)
    _replace((GANModel,), optimize_parameters=video_models.with_stages(GANModel.optimize_parameters))


def _repair_metrics() -> None:
    """basicsr/metrics/niqe.py, niqe: ends in numpy's trace where a frame has too few blocks, or is all one colour."""
    module = importlib.import_module('basicsr.metrics.niqe')
    original = module.niqe

    @functools.wraps(original)
    def niqe(img, mu_pris_param, cov_pris_param, gaussian_window, block_size_h=96, block_size_w=96):
        import numpy as np

        if (img.shape[0] // block_size_h) * (img.shape[1] // block_size_w) < 2:
            raise UserError(
                f'calculate_niqe compares blocks of {block_size_h}x{block_size_w} pixels and needs at least two in a '
                f'frame, but this one has {img.shape[0]}x{img.shape[1]} pixels.'
            )
        with warnings.catch_warnings(), np.errstate(all='ignore'):
            warnings.simplefilter('ignore', RuntimeWarning)  # of means of nothing, for blocks of one colour
            try:
                return original(img, mu_pris_param, cov_pris_param, gaussian_window, block_size_h, block_size_w)
            except np.linalg.LinAlgError:
                return float('nan')  # fewer than two blocks that are not of one colour: no value

    vars(module)['niqe'] = niqe


def _replace(classes: tuple[type, ...], **methods: Callable) -> None:
    for cls in classes:
        for name, method in methods.items():
            setattr(cls, name, method)


def _replace_pipelines() -> None:
    """basicsr/train.py restarts the epoch on resume and resumes on CUDA only; basicsr/test.py parses with exec."""
    import basicsr
    import basicsr.test
    import basicsr.train

    def train_pipeline(root_path: str) -> None:
        from ..engine.pipeline import train_pipeline as train

        train(root_path)

    def test_pipeline(root_path: str) -> None:
        from ..engine.pipeline import test_pipeline as test

        test(root_path)

    for module in (basicsr, sys.modules['basicsr.train']):
        vars(module)['train_pipeline'] = train_pipeline
    for module in (basicsr, sys.modules['basicsr.test']):
        vars(module)['test_pipeline'] = test_pipeline
