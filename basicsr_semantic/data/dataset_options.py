"""The options that our data sets share, and how they are built from BasicSR's dict."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeVar

from ..utils.errors import UserError


@dataclass(kw_only=True)
class DatasetOptions:
    """What every data set of ours takes: keys below ``datasets: train`` and so on in an option file."""

    name: str
    """Name of the data set in logs and results."""
    type: str
    """Name of the data set class."""
    phase: str = 'train'
    """train, val or test; set by BasicSR from the name of the section."""
    scale: int = 4
    """Upsampling factor; set by BasicSR from the top of the file."""
    prepare: str | None = None
    """Command that makes the data, shown where they are missing; {folder} stands for the folder they belong into."""
    io_backend: dict[str, Any] = field(default_factory=lambda: {'type': 'disk'})
    """How the data roots are stored: type disk or lmdb; further keys go to BasicSR's backend."""
    pin_memory: bool = False
    """Put batches into page-locked memory, for faster copies to a GPU."""
    persistent_workers: bool = False
    """Keep the loader's processes from one epoch to the next."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """Prefetching of batches: cpu (a thread), cuda (a stream) or ~."""
    num_prefetch_queue: int = 1
    """Batches that prefetch_mode cpu keeps ready."""


@dataclass(kw_only=True)
class ClipOptions(DatasetOptions):
    """Where the clips are and what comes with them."""

    dataroot_gt: str | None = None
    """High-resolution frames: a folder of clip folders, or an LMDB folder."""
    dataroot_lq: str | None = None
    """Low-resolution frames with the same names; ~ makes them on the fly from dataroot_gt by `degradation`."""
    degradation: Literal['BI', 'BD', 'BD_DUF'] | None = None
    """How low-resolution frames are made on the fly: BI (MATLAB bicubic), BD (Gaussian, as BasicVSR) or BD_DUF."""
    dataroot_priors: str | None = None
    """Store of masks made by `basicsr extract`; ~ gives no masks, unless missing_priors is neutral."""
    missing_priors: Literal['error', 'neutral'] = 'error'
    """What a frame without masks is: an error, or neutral (all masks zero; neutral needs no store at all)."""
    num_masks: int = 64
    """Masks a frame; fewer are followed by zeros, more are cut off."""
    center_masks_only: bool = False
    """Masks of the centre frame only, (1, num_masks, h, w): all that EDVRSEEM looks at, and faster to read."""
    with_features: bool | None = None
    """Pixel features in the items: ~ as the store has them, false to leave them out, true to insist on them. Crops then
    begin at multiples of 4 LR pixels; without a store, but with whole_frames, that is all that true does (online_full).
    """
    prior_kind: str | None = None
    """Kind of prior the store must hold, as sam, regions or annotations; ~ takes any."""
    meta_info_file: str | None = None
    """List of clips, as '000 100 (720,1280,3)' or a name a line; ~ takes all clips below the data root."""
    val_partition: Literal['REDS4', 'official'] | None = None
    """Validation clips of REDS: left out in training, the only ones in val and test; ~ makes no difference."""
    filename_tmpl: str | None = None
    """Format of frame names where the list gives a number of frames; ~ is '{:08d}' (im1 to im7 for Vimeo-90K)."""

    @property
    def wants_priors(self) -> bool:
        """Whether items come with masks."""
        return self.dataroot_priors is not None or self.missing_priors == 'neutral'


Options = TypeVar('Options', bound=DatasetOptions)


def build_options(cls: type[Options], opt: Mapping[str, Any]) -> Options:
    """Make the options of a data set from the dict BasicSR hands over.

    Raises:
        UserError: An unknown key (with the nearest known one) or a missing one.
    """
    known = {one.name: one for one in fields(cls)}
    where = f"Data set '{opt.get('name', opt.get('type', cls.__name__))}'"
    for key in opt:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f" Did you mean '{near[0]}'?" if near else f' Its keys are {", ".join(known)}.'
            raise UserError(f"{where} takes no '{key}'.{hint}")
    for key, one in known.items():
        if key not in opt and one.default is MISSING and one.default_factory is MISSING:
            raise UserError(f"{where} needs the key '{key}'.")
    return cls(**opt)
