"""The options that our data sets share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from ..config.section import Built, Number, read_section
from ..config.sections import LoaderOptions
from ..utils.errors import MissingError
from .clips import wrong_template
from .degradations import wrong_degradation
from .images import MAX_MEGAPIXELS


class DatasetOptions(LoaderOptions):
    """What every data set of ours takes: keys below ``datasets: train`` and so on in an option file."""

    phase: Literal['train', 'val', 'test'] = 'train'
    """Set from the section's name."""
    scale: Annotated[int, Field(ge=1, le=64)] = 4
    """Upsampling factor; set from the top of the file."""
    prepare: str | None = None
    """Command that makes the data, shown where they are missing; {folder} is the folder they belong into."""
    io_backend: Annotated[dict[str, Any], Built('io_backend')] = {'type': 'disk'}
    """How the data roots are stored: type disk (images, videos) or lmdb; further keys go to BasicSR's backend."""
    max_megapixels: Annotated[Number, Field(gt=0)] = MAX_MEGAPIXELS
    """Larger frames are refused by their headers, before they are decoded."""


class ClipOptions(DatasetOptions):
    """Where the clips are and what comes with them."""

    dataroot_gt: str | None = None
    """High-resolution frames: a folder of clip folders and videos, one video, or an LMDB folder."""
    dataroot_lq: str | None = None
    """Low-resolution frames with the same names; ~ makes them on the fly from dataroot_gt by `degradation`."""
    degradation: Literal['BI', 'BD', 'BD_DUF'] | None = None
    """How low-resolution frames are made on the fly: BI (MATLAB bicubic), BD (Gaussian, as BasicVSR) or BD_DUF."""
    dataroot_priors: str | None = None
    """Store of masks made by `basicsr extract`; ~ gives no masks, unless missing_priors is neutral."""
    missing_priors: Literal['error', 'neutral'] = 'error'
    """What a frame without masks is: an error, or neutral (all masks zero; neutral needs no store at all)."""
    num_masks: Annotated[int, Field(ge=1, le=64)] = 64
    """Masks a frame; fewer are followed by zeros, more are cut off."""
    center_masks_only: bool = False
    """Masks of the centre frame only, (1, num_masks, h, w): all that EDVRSEEM looks at, and faster to read."""
    with_features: bool | None = None
    """Pixel features in the items: ~ as the store has them, false to leave them out, true to insist on them. Crops then
    begin at multiples of 4 LR pixels; without a store, but with whole_frames, true does only that (online_full).
    """
    prior_kind: str | None = None
    """Kind of prior the store must hold, as sam, regions or annotations; ~ takes any."""
    meta_info_file: str | None = None
    """List of clips, as '000 100 (720,1280,3)' or a name a line; ~ takes all clips below the data root."""
    val_partition: Literal['REDS4', 'official'] | None = None
    """Validation clips of REDS: left out in training, the only ones in val and test; ~ takes all clips."""
    filename_tmpl: str | None = None
    """Format of frame names where the list gives a number of frames; ~ is '{:08d}' (im1 to im7 for Vimeo-90K)."""

    @field_validator('filename_tmpl')
    @classmethod
    def _for_one_number(cls, value: str | None) -> str | None:
        if value is not None and (wrong := wrong_template(value)):
            raise ValueError(wrong)
        return value

    @model_validator(mode='after')
    def _one_source(self):
        if not self.dataroot_gt and not self.dataroot_lq:
            raise ValueError('It has neither dataroot_gt nor dataroot_lq.')
        if self.dataroot_lq and self.degradation:
            message = 'It gives both dataroot_lq (stored low-resolution frames) and degradation (frames made on the fly'
            raise ValueError(f'{message} from dataroot_gt). Remove one of them.')
        if not self.dataroot_lq and not self.degradation:
            message = 'It has no dataroot_lq. Give the low-resolution frames, or say how to make them on the fly:'
            raise ValueError(f'{message} degradation: BI, BD or BD_DUF.')
        if self.degradation and (wrong := wrong_degradation(self.degradation, self.scale)):
            raise ValueError(wrong)
        return self

    @model_validator(mode='after')
    def _features_from_a_store(self):
        if self.with_features and self.dataroot_priors is None and not getattr(self, 'whole_frames', False):
            frames = {} if self.dataroot_lq is None else {'frames': self.dataroot_lq}
            raise MissingError(
                'with_features is true, but there is no store. Give dataroot_priors, or remove with_features.',
                'features',
                **frames,
            )
        return self

    @property
    def wants_priors(self) -> bool:
        """Whether items come with masks."""
        return self.dataroot_priors is not None or self.missing_priors == 'neutral'


Options = TypeVar('Options', bound=DatasetOptions)


def build_options(cls: type[Options], opt: Mapping[str, Any]) -> Options:
    """Make the options of a data set from the dict that BasicSR gives.

    Raises:
        UserError: An unknown key (with the nearest known one), a missing one, or a wrong value.
    """
    return read_section(cls, opt, f"Data set '{opt.get('name', opt.get('type', cls.__name__))}'")
