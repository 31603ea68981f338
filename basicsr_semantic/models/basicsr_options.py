"""The options that BasicSR's own models (1.4.2) read, class by class, published as ours publish theirs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal

from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from pydantic import AfterValidator, Field

from ..config import sections
from ..config.section import Built, Factor, Iterations, NeededInTraining, Number, Positive, Section
from ..config.sections import ValOptions
from ..data.basicsr_options import Chance, FlagInTraining, Options, Range, UpDownKeep, only, publish, section

Network = Annotated[Options, Built('arch'), Field(description='The network: type and arguments of an arch.')]
Discriminator = Annotated[Network | None, NeededInTraining(), Field(description='The discriminator.')]
SwinIR = Annotated[Network, AfterValidator(only(lambda n: 'window_size' in n, 'SwinIRModel reads window_size here.'))]
StyleGAN2 = Annotated[
    Network, AfterValidator(only(lambda n: 'num_style_feat' in n, 'StyleGAN2Model reads num_style_feat here.'))
]
_DEGRADES: dict[str, Any] = {'resize_prob': UpDownKeep, 'gaussian_noise_prob': Chance, 'gray_noise_prob': Chance}
_DEGRADES |= dict.fromkeys(('resize_range', 'noise_range', 'poisson_scale_range', 'jpeg_range'), Range)
_DEGRADES |= {f'{key}2': hint for key, hint in _DEGRADES.items()} | {'second_blur_prob': Chance, 'gt_size': Positive}


def _degrades(*more: str) -> Callable[[Any], Any]:
    """BasicSR's Real-ESRGAN models make LQ images themselves in training, unless they are given pairs."""

    def check(top: Any) -> Any:
        missing = [key for key in ('scale', *_DEGRADES, *more) if getattr(top, key) is None]
        if top.train and top.high_order_degradation and missing:
            raise ValueError(f'To make LQ images the top level needs {", ".join(missing)}.')
        return top

    return check


SRTop = section('SRTop', sections.TopOptions, network_g=Network)
GANTop = section('GANTop', SRTop, network_d=(Discriminator, None))
Degrading = section(
    'Degrading',
    SRTop,
    high_order_degradation=(Annotated[bool, Field(description='Make LQ images of GT; false: data are pairs.')], True),
    queue_size=(Annotated[Positive, Field(description='Pairs to draw batches from; a multiple of the batch.')], 180),
    **{key: (hint | None, None) for key, hint in _DEGRADES.items()},
)
RealESRNetTop = section('RealESRNetTop', Degrading, _degrades('gt_usm'), gt_usm=(bool | None, None))
RealESRGANTop = section(
    'RealESRGANTop',
    (Degrading, GANTop),
    _degrades(),
    **dict.fromkeys(('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm'), (FlagInTraining, None)),
)
SwinIRTop = section('SwinIRTop', SRTop, network_g=SwinIR)
StyleGAN2Top = section('StyleGAN2Top', GANTop, network_g=StyleGAN2, val=Options)

_loss = (Options | None, None)
_has_loss = only(lambda o: o.pixel_opt or o.perceptual_opt, 'There must be a pixel_opt or a perceptual_opt.')
Steps = section('Steps', sections.TrainOptions, optim_g=Options, scheduler=Options)
Losses = section(
    'Losses', Steps, ema_decay=(Annotated[Number, Field(ge=0, lt=1)], 0), pixel_opt=_loss, perceptual_opt=_loss
)
SRTrain = section('SRTrain', Losses, _has_loss)
Rates = section('Rates', SRTrain, flow_lr_mul=(Factor, 1), dcn_lr_mul=(Factor, 1))
RecurrentTrain = section('RecurrentTrain', Rates, fix_flow=(Iterations | None, None))
EDVRTrain = section('EDVRTrain', Rates, tsa_iter=(Iterations | None, None))
Adversarial = section('Adversarial', Steps, optim_d=Options, gan_opt=Options)
GANTrain = section('GANTrain', (Losses, Adversarial), net_d_iters=(Positive, 1), net_d_init_iters=(Iterations, 0))
SRGANTrain = section('SRGANTrain', GANTrain, ldl_opt=_loss)
RealESRGANTrain = section(
    'RealESRGANTrain', SRGANTrain, only(lambda o: not o.ldl_opt or o.ema_decay, 'ldl_opt needs an ema_decay above 0.')
)
Zero = Annotated[Number, Field(ge=0, le=0)]
HiFaceGANTrain = section('HiFaceGANTrain', GANTrain, _has_loss, feature_matching_opt=_loss, ema_decay=(Zero, 0))
RecurrentGANTrain = section(
    'RecurrentGANTrain',
    GANTrain,
    only(lambda o: not o.fix_flow or o.lr_flow is not None, "With fix_flow the key 'lr_flow' is needed."),
    fix_flow=Iterations | None,
    lr_flow=(Factor | None, None),
)
_EVERY = dict.fromkeys(('net_g_reg_every', 'net_d_reg_every'), Positive)
_EVERY |= dict.fromkeys(('r1_reg_weight', 'path_reg_weight'), Number)
StyleGAN2Train = section('StyleGAN2Train', Adversarial, **_EVERY, path_batch_shrink=Positive, mixing_prob=Chance)
_FILE = {'pretrain_network': (str | None, None), 'strict_load': (bool, True), 'param_key': (str | None, 'params')}
PathG = section('PathG', sections.PathOptions, **{f'{key}_g': hint for key, hint in _FILE.items()})
PathGD = section('PathGD', PathG, **{f'{key}_d': hint for key, hint in _FILE.items()})
RecurrentVal = section('RecurrentVal', ValOptions, flip_seq=(bool, False), center_frame_only=(bool, False))
StyleGAN2Val = section('StyleGAN2Val', ValOptions, num_val_samples=(Positive, 16))


def _model(top: Any, train: Any, path: Any = PathG, val: Any = ValOptions) -> dict[str, type[Section]]:
    return {'top': top, 'train': train, 'path': path, 'val': val}


MODELS: dict[str, dict[str, type[Section]]] = {
    'SRModel': _model(SRTop, SRTrain),
    'SwinIRModel': _model(SwinIRTop, SRTrain),
    'RealESRNetModel': _model(RealESRNetTop, SRTrain),
    'SRGANModel': _model(GANTop, SRGANTrain, PathGD),
    'ESRGANModel': _model(GANTop, SRGANTrain, PathGD),
    'RealESRGANModel': _model(RealESRGANTop, RealESRGANTrain, PathGD),
    'HiFaceGANModel': _model(GANTop, HiFaceGANTrain),
    'VideoBaseModel': _model(SRTop, SRTrain),
    'VideoGANModel': _model(GANTop, SRGANTrain, PathGD),
    'VideoRecurrentModel': _model(SRTop, RecurrentTrain, val=RecurrentVal),
    'VideoRecurrentGANModel': _model(GANTop, RecurrentGANTrain, PathGD, RecurrentVal),
    'EDVRModel': _model(SRTop, EDVRTrain),
    'StyleGAN2Model': _model(StyleGAN2Top, StyleGAN2Train, PathGD, StyleGAN2Val),
}

for _name, _sections in MODELS.items():
    publish(MODEL_REGISTRY, _name, **{f'{one.capitalize()}Options': _sections[one] for one in _sections})

_UNTYPED: dict[str, Any] = {
    'crop_border': Annotated[int, Field(ge=0)],
    'input_order': Literal['HWC', 'CHW'],
    'test_y_channel': bool,
    'loss_weight': Number,
}
"""Types of arguments that BasicSR's metrics, losses and networks do not give; a file, ``*_path``, is text or none."""
_OF_SCHEDULES: dict[str, Any] = dict.fromkeys(('milestones', 'restarts'), list[Annotated[Iterations, Field(ge=0)]])
_OF_SCHEDULES |= {'periods': list[Positive], 'restart_weights': list[Number], 'gamma': Number, 'eta_min': Number}
"""The same of its learning-rate schedules."""


def _annotate(target: Any, hints: dict[str, Any]) -> None:
    function = vars(target).get('__init__') if inspect.isclass(target) else target
    if function is None or not target.__module__.startswith('basicsr.'):
        return
    for name in inspect.signature(function).parameters:
        hint = (str | None) if name.endswith('_path') else hints.get(name)
        if hint is not None:
            function.__annotations__.setdefault(name, hint)


for _registry in (ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY):
    for _, _target in _registry:
        _annotate(_target, _UNTYPED)
for _target in (MultiStepRestartLR, CosineAnnealingRestartLR):
    _annotate(_target, _OF_SCHEDULES)
