"""The options that BasicSR's own data sets (1.4.2) read, class by class, published as ours publish theirs.

They take a dict and look at a key when they need it, in the middle of a run. Here each key is listed once, with its
type, or with (type, default) where it may be left out. Keys of BasicSR's option files without effect are not listed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import AfterValidator, Field, create_model, model_validator

from ..config.section import Built, Factor, NeededInTraining, Number, Positive
from ..config.sections import LoaderOptions


def only(fits: Callable[[Any], Any], sentence: str) -> Callable[[Any], Any]:
    """A check of a value or of a whole section; ``{}`` in the sentence is the value."""

    def check(value: Any) -> Any:
        if not fits(value):
            raise ValueError(sentence.format(value))
        return value

    return check


def section(name: str, base: Any, /, *checks: Callable[[Any], Any], **keys: Any) -> Any:
    """A subclass with further keys, each a type or (type, default), and checks of several keys together."""
    result: dict[str, Any] = {key: hint if isinstance(hint, tuple) else (hint, ...) for key, hint in keys.items()}
    result['__validators__'] = {f'_{name}_{n}': model_validator(mode='after')(check) for n, check in enumerate(checks)}
    # do not look for docstrings in a source that does not exist, which took two seconds of each start
    return create_model(
        name, __base__=base, __module__=__name__, __cls_kwargs__={'use_attribute_docstrings': False}, **result
    )


Options = dict[str, Any]
Backend = Annotated[Options, Built('io_backend'), Field(description='How files are read: type disk or lmdb.')]
Scale = Annotated[int, Field(ge=1, le=64, description='Set from the top level.')]
Window = Annotated[
    Positive, AfterValidator(only(lambda n: n % 2, 'It is {}, but must be odd: frames around a middle.'))
]
OfSeven = Annotated[int, Field(ge=1, le=7)]
Unused = Annotated[int, Field(description='Must be given, but clips are taken whole.')]
Numbers = list[Number]
Range = Annotated[list[Number], Field(min_length=2, max_length=2)]
UpDownKeep = Annotated[list[Factor], Field(min_length=3, max_length=3, description='Weights of up, down and keep.')]
Gaps = Annotated[list[Positive], Field(min_length=1, description='Distances between frames to choose from.')]
Chance = Annotated[Number, Field(ge=0, le=1)]
Luma = Annotated[str | None, Field(description='y takes luma alone.')]
Chosen = Annotated[str, Field(description='List of what to take; without this key everything is taken.')]
Listed = Annotated[str | None, Field(description='List of what to take; ~ takes everything.')]
Padding = Literal['replicate', 'reflection', 'reflection_circle', 'circle']
Kernel = Literal['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
Folders = Annotated[Backend, AfterValidator(only(lambda b: b.get('type') != 'lmdb', 'It must be of type disk here.'))]
_NAMED = only(
    lambda name: name.lower() in ('vid4', 'reds4', 'redsofficial'),
    'It is {!r}, but data sets of this class must be called Vid4, REDS4 or REDSofficial.',
)
TestSet = Annotated[str, AfterValidator(_NAMED), Field(description='Vid4, REDS4 or REDSofficial.')]
SizeInTraining = Annotated[Positive | None, NeededInTraining()]
FlagInTraining = Annotated[bool | None, NeededInTraining()]

Stored = section('Stored', LoaderOptions, io_backend=Backend)
Images = section(
    'Images',
    Stored,
    only(lambda o: (o.mean is None) == (o.std is None), 'One of mean and std is given without the other.'),
    **dict.fromkeys(('mean', 'std'), (Numbers | None, None)),
)
Pairs = section('Pairs', Images, dataroot_gt=str, dataroot_lq=str, filename_tmpl=(str, '{}'), scale=Scale)
CutPairs = section(
    'CutPairs', Pairs, gt_size=(SizeInTraining, None), use_hflip=(FlagInTraining, None), use_rot=(FlagInTraining, None)
)
Clips = section('Clips', Stored, dataroot_gt=str, dataroot_lq=str)
CutClips = section('CutClips', Clips, meta_info_file=str, scale=Scale, gt_size=Positive, use_hflip=bool, use_rot=bool)
REDSClips = section('REDSClips', CutClips, val_partition=Literal['REDS4', 'official'])
REDSDataset = section(
    'REDSDataset', REDSClips, num_frame=Window, dataroot_flow=str | None, interval_list=Gaps, random_reverse=bool
)
REDSRecurrentDataset = section(
    'REDSRecurrentDataset',
    REDSClips,
    num_frame=Positive,
    test_mode=Annotated[bool, Field(description='Take the clips of val_partition, not the others.')],
    interval_list=(Gaps, [1]),
    random_reverse=(bool, False),
)
Vimeo90KDataset = section('Vimeo90KDataset', CutClips, num_frame=OfSeven, random_reverse=bool)
TestClips = section('TestClips', Clips, io_backend=Folders)
TestSets = section('TestSets', TestClips, name=TestSet, meta_info_file=(Chosen, ''))
VideoTestDataset = section('VideoTestDataset', TestSets, cache_data=bool, num_frame=Window, padding=Padding)
_BLUR = {'blur_kernel_size': Positive, 'kernel_list': list[Kernel], 'kernel_prob': list[Factor], 'blur_sigma': Range}
_BLUR |= {'betag_range': Range, 'betap_range': Range, 'sinc_prob': Chance}
_BLUR |= {f'{key}2': hint for key, hint in _BLUR.items()} | {'final_sinc_prob': Chance}
RealESRGANDataset = section(
    'RealESRGANDataset',
    Stored,
    only(lambda o: o.meta_info or o.io_backend.get('type') == 'lmdb', "The key 'meta_info' is missing."),
    dataroot_gt=str,
    use_hflip=bool,
    use_rot=bool,
    meta_info=(Annotated[str | None, Field(description='List of images, unless they are in an LMDB.')], None),
    **_BLUR,
)

DATASETS: dict[str, type[LoaderOptions]] = {
    one.__name__: one
    for one in (
        section('FFHQDataset', Stored, dataroot_gt=str, mean=Numbers, std=Numbers, use_hflip=bool),
        section('SingleImageDataset', Images, dataroot_lq=str, meta_info_file=(Chosen, ''), color=(Luma, None)),
        section('PairedImageDataset', CutPairs, meta_info_file=(Listed, None), color=(Luma, None)),
        section('RealESRGANPairedDataset', CutPairs, meta_info=(Listed, None)),
        RealESRGANDataset,
        REDSDataset,
        REDSRecurrentDataset,
        Vimeo90KDataset,
        section('Vimeo90KRecurrentDataset', Vimeo90KDataset, num_frame=Unused, flip_sequence=bool),
        VideoTestDataset,
        section('VideoTestDUFDataset', VideoTestDataset, use_duf_downsampling=bool, scale=Scale),
        section('VideoRecurrentTestDataset', TestSets, cache_data=Literal[True], num_frame=Unused),
        section(
            'VideoTestVimeo90KDataset', TestClips, meta_info_file=str, cache_data=Literal[False], num_frame=OfSeven
        ),
    )
}


def publish(registry: Any, name: str, **options: Any) -> None:
    """Let a class of BasicSR's say what it reads, whether or not somebody else has registered one of its name."""
    names = (f'{name}_basicsr', name)
    found = [registry._obj_map[one] for one in names if one in registry._obj_map]
    for cls in [cls for cls in found if cls.__module__.startswith('basicsr.')][:1]:
        for attribute, section in options.items():
            setattr(cls, attribute, section)


for _name, _options in DATASETS.items():
    publish(DATASET_REGISTRY, _name, Options=_options)
