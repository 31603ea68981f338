"""What BasicSR's own data sets and models (1.4.2) read of their options, class by class.

They take a dict and look at a key when they need it, in the middle of a run. Here each key stands once, with its type,
or with (type, default) where it may be left out; keys that BasicSR's option files carry along without effect are not
here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model, model_validator

from . import sections
from .section import Built, Factor, Iterations, NeededInTraining, Number, Positive, Section
from .sections import LoaderOptions, ValOptions


def _only(fits: Callable[[Any], Any], sentence: str) -> Callable[[Any], Any]:
    """A check of a value or of a whole section; ``{}`` in the sentence is the value."""

    def check(value: Any) -> Any:
        if not fits(value):
            raise ValueError(sentence.format(value))
        return value

    return check


def _section(name: str, base: Any, /, *checks: Callable[[Any], Any], **keys: Any) -> Any:
    """A subclass with further keys, each a type or (type, default), and checks of several keys together."""
    made: dict[str, Any] = {key: hint if isinstance(hint, tuple) else (hint, ...) for key, hint in keys.items()}
    made['__validators__'] = {f'_{name}_{n}': model_validator(mode='after')(check) for n, check in enumerate(checks)}
    return create_model(name, __base__=base, __module__=__name__, **made)


Options = dict[str, Any]
Backend = Annotated[Options, Field(description='How files are read: type disk or lmdb.')]
Scale = Annotated[int, Field(ge=1, le=64, description='Set from the top level.')]
Window = Annotated[
    Positive, AfterValidator(_only(lambda n: n % 2, 'It is {}, but must be odd: frames around a middle.'))
]
OfSeven = Annotated[int, Field(ge=1, le=7)]
Unused = Annotated[int, Field(description='Must be given, but clips are taken whole.')]
Numbers = list[Number]
Range = Annotated[list[Number], Field(min_length=2, max_length=2)]
UpDownKeep = Annotated[list[Factor], Field(min_length=3, max_length=3, description='Weights of up, down and keep.')]
Gaps = Annotated[list[Positive], Field(min_length=1, description='Distances between frames to choose from.')]
Chance = Annotated[Number, Field(ge=0, le=1)]
Luma = Annotated[str | None, Field(description='y takes luma alone.')]
Chosen = Annotated[str, Field(description='List of what to take; without the key everything is taken.')]
Listed = Annotated[str | None, Field(description='List of what to take; ~ takes everything.')]
Padding = Literal['replicate', 'reflection', 'reflection_circle', 'circle']
Kernel = Literal['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
Folders = Annotated[Backend, AfterValidator(_only(lambda b: b.get('type') != 'lmdb', 'It must be of type disk here.'))]
_NAMED = _only(
    lambda name: name.lower() in ('vid4', 'reds4', 'redsofficial'),
    'It is {!r}, but data sets of this class must be called Vid4, REDS4 or REDSofficial.',
)
TestSet = Annotated[str, AfterValidator(_NAMED), Field(description='Vid4, REDS4 or REDSofficial.')]
SizeInTraining = Annotated[Positive | None, NeededInTraining()]
FlagInTraining = Annotated[bool | None, NeededInTraining()]

# ------------------------------------------------------------------------------------------------------ data sets

Stored = _section('Stored', LoaderOptions, io_backend=Backend)
Images = _section(
    'Images',
    Stored,
    _only(lambda o: (o.mean is None) == (o.std is None), 'One of mean and std is given without the other.'),
    **dict.fromkeys(('mean', 'std'), (Numbers | None, None)),
)
Pairs = _section('Pairs', Images, dataroot_gt=str, dataroot_lq=str, filename_tmpl=(str, '{}'), scale=Scale)
CutPairs = _section(
    'CutPairs', Pairs, gt_size=(SizeInTraining, None), use_hflip=(FlagInTraining, None), use_rot=(FlagInTraining, None)
)
Clips = _section('Clips', Stored, dataroot_gt=str, dataroot_lq=str)
CutClips = _section('CutClips', Clips, meta_info_file=str, scale=Scale, gt_size=Positive, use_hflip=bool, use_rot=bool)
REDSClips = _section('REDSClips', CutClips, val_partition=Literal['REDS4', 'official'])
REDSDataset = _section(
    'REDSDataset', REDSClips, num_frame=Window, dataroot_flow=str | None, interval_list=Gaps, random_reverse=bool
)
REDSRecurrentDataset = _section(
    'REDSRecurrentDataset',
    REDSClips,
    num_frame=Positive,
    test_mode=Annotated[bool, Field(description='Take the clips of val_partition, not the others.')],
    interval_list=(Gaps, [1]),
    random_reverse=(bool, False),
)
Vimeo90KDataset = _section('Vimeo90KDataset', CutClips, num_frame=OfSeven, random_reverse=bool)
TestClips = _section('TestClips', Clips, io_backend=Folders)
TestSets = _section('TestSets', TestClips, name=TestSet, meta_info_file=(Chosen, ''))
VideoTestDataset = _section('VideoTestDataset', TestSets, cache_data=bool, num_frame=Window, padding=Padding)
_BLUR = {'blur_kernel_size': Positive, 'kernel_list': list[Kernel], 'kernel_prob': list[Factor], 'blur_sigma': Range}
_BLUR |= {'betag_range': Range, 'betap_range': Range, 'sinc_prob': Chance}
_BLUR |= {f'{key}2': hint for key, hint in _BLUR.items()} | {'final_sinc_prob': Chance}
RealESRGANDataset = _section(
    'RealESRGANDataset',
    Stored,
    _only(lambda o: o.meta_info or o.io_backend.get('type') == 'lmdb', "The key 'meta_info' is missing."),
    dataroot_gt=str,
    use_hflip=bool,
    use_rot=bool,
    meta_info=(Annotated[str | None, Field(description='List of images, unless they lie in an LMDB.')], None),
    **_BLUR,
)

DATASETS: dict[str, type[LoaderOptions]] = {
    one.__name__: one
    for one in (
        _section('FFHQDataset', Stored, dataroot_gt=str, mean=Numbers, std=Numbers, use_hflip=bool),
        _section('SingleImageDataset', Images, dataroot_lq=str, meta_info_file=(Chosen, ''), color=(Luma, None)),
        _section('PairedImageDataset', CutPairs, meta_info_file=(Listed, None), color=(Luma, None)),
        _section('RealESRGANPairedDataset', CutPairs, meta_info=(Listed, None)),
        RealESRGANDataset,
        REDSDataset,
        REDSRecurrentDataset,
        Vimeo90KDataset,
        _section('Vimeo90KRecurrentDataset', Vimeo90KDataset, num_frame=Unused, flip_sequence=bool),
        VideoTestDataset,
        _section('VideoTestDUFDataset', VideoTestDataset, use_duf_downsampling=bool, scale=Scale),
        _section('VideoRecurrentTestDataset', TestSets, cache_data=Literal[True], num_frame=Unused),
        _section(
            'VideoTestVimeo90KDataset', TestClips, meta_info_file=str, cache_data=Literal[False], num_frame=OfSeven
        ),
    )
}

# --------------------------------------------------------------------------------------------------------- models

Network = Annotated[Options, Built('arch'), Field(description='The network: type and arguments of an arch.')]
Discriminator = Annotated[Network | None, NeededInTraining(), Field(description='The discriminator.')]
SwinIR = Annotated[Network, AfterValidator(_only(lambda n: 'window_size' in n, 'SwinIRModel reads window_size here.'))]
StyleGAN2 = Annotated[
    Network, AfterValidator(_only(lambda n: 'num_style_feat' in n, 'StyleGAN2Model reads num_style_feat here.'))
]
_DEGRADES: dict[str, Any] = {'resize_prob': UpDownKeep, 'gaussian_noise_prob': Chance, 'gray_noise_prob': Chance}
_DEGRADES |= dict.fromkeys(('resize_range', 'noise_range', 'poisson_scale_range', 'jpeg_range'), Range)
_DEGRADES |= {f'{key}2': hint for key, hint in _DEGRADES.items()} | {'second_blur_prob': Chance, 'gt_size': Positive}


def _degrades(*more: str) -> Callable[[Any], Any]:
    """BasicSR's Real-ESRGAN models make LQ images themselves in training, unless told that the data are pairs."""

    def check(top: Any) -> Any:
        missing = [key for key in ('scale', *_DEGRADES, *more) if getattr(top, key) is None]
        if top.train and top.high_order_degradation and missing:
            raise ValueError(f'To make LQ images the top level needs {", ".join(missing)}.')
        return top

    return check


SRTop = _section('SRTop', sections.TopOptions, network_g=Network)
GANTop = _section('GANTop', SRTop, network_d=(Discriminator, None))
Degrading = _section(
    'Degrading',
    SRTop,
    high_order_degradation=(Annotated[bool, Field(description='Make LQ images of GT; false: data are pairs.')], True),
    queue_size=(Annotated[Positive, Field(description='Pairs to draw batches from; a multiple of the batch.')], 180),
    **{key: (hint | None, None) for key, hint in _DEGRADES.items()},
)
RealESRNetTop = _section('RealESRNetTop', Degrading, _degrades('gt_usm'), gt_usm=(bool | None, None))
RealESRGANTop = _section(
    'RealESRGANTop',
    (Degrading, GANTop),
    _degrades(),
    **dict.fromkeys(('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm'), (FlagInTraining, None)),
)
SwinIRTop = _section('SwinIRTop', SRTop, network_g=SwinIR)
StyleGAN2Top = _section('StyleGAN2Top', GANTop, network_g=StyleGAN2, val=Options)

_loss = (Options | None, None)
_has_loss = _only(lambda o: o.pixel_opt or o.perceptual_opt, 'There must be a pixel_opt or a perceptual_opt.')
Steps = _section('Steps', sections.TrainOptions, optim_g=Options, scheduler=Options)
Losses = _section(
    'Losses', Steps, ema_decay=(Annotated[Number, Field(ge=0, lt=1)], 0), pixel_opt=_loss, perceptual_opt=_loss
)
SRTrain = _section('SRTrain', Losses, _has_loss)
Rates = _section('Rates', SRTrain, flow_lr_mul=(Factor, 1), dcn_lr_mul=(Factor, 1))
RecurrentTrain = _section('RecurrentTrain', Rates, fix_flow=(Iterations | None, None))
EDVRTrain = _section('EDVRTrain', Rates, tsa_iter=(Iterations | None, None))
Adversarial = _section('Adversarial', Steps, optim_d=Options, gan_opt=Options)
GANTrain = _section('GANTrain', (Losses, Adversarial), net_d_iters=(Positive, 1), net_d_init_iters=(Iterations, 0))
SRGANTrain = _section('SRGANTrain', GANTrain, ldl_opt=_loss)
RealESRGANTrain = _section(
    'RealESRGANTrain', SRGANTrain, _only(lambda o: not o.ldl_opt or o.ema_decay, 'ldl_opt needs an ema_decay above 0.')
)
Zero = Annotated[Number, Field(ge=0, le=0)]
HiFaceGANTrain = _section('HiFaceGANTrain', GANTrain, _has_loss, feature_matching_opt=_loss, ema_decay=(Zero, 0))
RecurrentGANTrain = _section(
    'RecurrentGANTrain',
    GANTrain,
    _only(lambda o: not o.fix_flow or o.lr_flow is not None, "With fix_flow the key 'lr_flow' is needed."),
    fix_flow=Iterations | None,
    lr_flow=(Factor | None, None),
)
_EVERY = dict.fromkeys(('net_g_reg_every', 'net_d_reg_every'), Positive)
_EVERY |= dict.fromkeys(('r1_reg_weight', 'path_reg_weight'), Number)
StyleGAN2Train = _section('StyleGAN2Train', Adversarial, **_EVERY, path_batch_shrink=Positive, mixing_prob=Chance)
_FILE = {'pretrain_network': (str | None, None), 'strict_load': (bool, True), 'param_key': (str | None, 'params')}
PathG = _section('PathG', sections.PathOptions, **{f'{key}_g': hint for key, hint in _FILE.items()})
PathGD = _section('PathGD', PathG, **{f'{key}_d': hint for key, hint in _FILE.items()})
RecurrentVal = _section('RecurrentVal', ValOptions, flip_seq=(bool, False), center_frame_only=(bool, False))
StyleGAN2Val = _section('StyleGAN2Val', ValOptions, num_val_samples=(Positive, 16))


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
