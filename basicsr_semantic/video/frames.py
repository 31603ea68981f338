"""Restoring from Python: an iterator of frames in, an iterator of frames out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..inference import Restorer
from ..utils.errors import UserError
from .models import open_model
from .plan import Plan, restorer_of_scenes
from .scene_priors import PriorMaker
from .scenes import cut_into_scenes
from .sources import TimedFrame
from .upscaling import as_image


def upscale(
    frames: Iterable[np.ndarray],
    model: str | Path | Restorer = 'lite',
    *,
    scenes: str = 'cuts',
    window: int | None = None,
    overlap: int | None = None,
    tile: int | None = None,
    ensemble: bool = False,
    fast: bool = False,
    extractor: str | None = None,
    extractor_options: Mapping[str, Any] | None = None,
    no_priors: bool = False,
    device: str = 'cpu',
    folder: str | Path | None = None,
) -> Iterator[np.ndarray]:
    """Enlarge a video, frame by frame, in memory that does not depend on its length.

    Frames of a scene are put on disk until the scene ends, since a bidirectional network goes through it from its end,
    too. So the first frame comes when the first scene has been read.

    Args:
        frames: (h, w, 3) RGB, uint8 or uint16, all of one size and type, images of PIL among them; taken one by one.
        model: What `load` takes, or what it gives.
        scenes: What finds where one ends: 'cuts', 'pyscenedetect' or 'none'.
        window: Restore windows of so many frames instead; None: only where the network cannot be streamed.
        overlap: Frames that windows share.
        tile: Side of tiles in pixels of the input; 0: whole frames; None: the largest that fits into memory.
        ensemble: The mean of eight results: of four mirrorings, in both directions of time.
        fast: Half precision and a compiled network, where that is measured to be faster.
        extractor: Makes the priors, where the network takes some; None: that of its training.
        extractor_options: Its arguments, where they differ from those of the training.
        no_priors: Go on without them.
        device: Where the network runs.
        folder: For files of a scene; None: a temporary one.

    Yields:
        (H, W, 3) RGB of the type of the input.

    Raises:
        UserError: A frame of another shape, size or type; or see `load`.
    """
    if not isinstance(model, (str, Path, Restorer)):
        raise UserError(f'model is a name, a file or what load gives, not {type(model).__name__}.')
    restorer = model if isinstance(model, Restorer) else open_model(str(model), None, no_priors, device)
    how = restorer_of_scenes(restorer, Plan(window, overlap, tile, ensemble, fast))
    with tempfile.TemporaryDirectory(dir=folder) as place:
        work = Path(place)
        priors = None
        if restorer.prior_fields and not no_priors:
            priors = PriorMaker(restorer, work, None, extractor, extractor_options, device)
        for scene in cut_into_scenes(_timed(frames), work, scenes):
            if priors is not None:
                scene.read_priors(priors, '')
            for made in how.restore(scene):
                yield as_image(made, scene.frames.dtype)
            scene.remove()


def _timed(frames: Iterable[np.ndarray]) -> Iterator[TimedFrame]:
    """Frames with their numbers as times, of one shape and type."""
    first = None
    for number, image in enumerate(frames):
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or not image.size or image.dtype not in (np.uint8, np.uint16):
            raise UserError(f'Frame {number} is {image.dtype} {image.shape}; frames are (h, w, 3) uint8 or uint16.')
        first = first or (image.shape, image.dtype)
        if (image.shape, image.dtype) != first:
            raise UserError(f'Frame {number} is {image.dtype} {image.shape}, those before are {first[1]} {first[0]}.')
        yield TimedFrame(image, number)
