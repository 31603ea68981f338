"""The priors of a scene: made on the way by the extractor of the training, or read from a store."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config.named_weights import FOLDER, places_of
from ..extractors import EXTRACTOR_REGISTRY, Extractor, build_extractor, extractor_class
from ..extractors.runner import extract
from ..inference.restorer import Restorer
from ..models.semantic_source import SemanticSource
from ..priors import PriorStore, SemanticPriors
from ..utils.errors import UserError
from ..utils.files import file_sha256


class ScenePriors:
    """The priors of the frames of one scene, read from a store.

    Args:
        store: The store.
        keys: Those of the frames.
        wanted: Fields of SemanticPriors that the network reads.
        num_masks: Masks a frame that it takes.
        source: Makes instance tokens of the frame tokens; None where the network takes none.
    """

    def __init__(
        self,
        store: PriorStore,
        keys: Sequence[str],
        wanted: Sequence[str],
        num_masks: int,
        source: SemanticSource | None,
    ) -> None:
        self.store, self.keys, self.wanted, self.num_masks = store, list(keys), tuple(wanted), num_masks
        self._instances: torch.Tensor | None = None
        if 'instance_tokens' in self.wanted:
            if source is None or source.instances is None:
                raise UserError('The network takes instance tokens; --extractor-option instance_source=... makes them.')
            frame_tokens = torch.from_numpy(store.clip_tokens(self.keys)[0])[None]
            self._instances = source.instances(frame_tokens).cpu()  # of the whole scene, in every window

    def at(self, frames: Sequence[int]) -> SemanticPriors:
        """The priors (1, T, ...) of frames of the scene, by number."""
        keys, found = [self.keys[k] for k in frames], {}
        if 'masks' in self.wanted:
            found['masks'] = self.store.clip_masks(keys, self.num_masks)
        if {'frame_tokens', 'global_tokens'} & {*self.wanted}:
            frame_tokens, global_tokens = self.store.clip_tokens(keys)
            found |= {'frame_tokens': frame_tokens, 'global_tokens': global_tokens}
        if 'pixel_features' in self.wanted:
            found['pixel_features'] = self.store.clip_features(keys)
        given: dict[str, Any] = {
            name: torch.from_numpy(np.ascontiguousarray(value))[None]
            for name, value in found.items()
            if name in self.wanted
        }
        if self._instances is not None:
            given['instance_tokens'] = self._instances
        return SemanticPriors(**given, kind=self.store.kind)


class PriorMaker:
    """Gives each scene its priors.

    Args:
        net: The network.
        folder: For a store of what is made.
        store: A store that has the priors of the input's frames; None: they are made.
        extractor: Name of the extractor; None: that of the network's training.
        options: Arguments of the extractor that replace those of the training.
        device: Where it runs.

    Raises:
        UserError: It is not known which extractor, or it cannot be used.
    """

    def __init__(
        self,
        net: Restorer,
        folder: Path,
        store: Path | None = None,
        extractor: str | None = None,
        options: Mapping[str, Any] | None = None,
        device: str | torch.device = 'cpu',
    ) -> None:
        self.net, self.folder = net, folder
        self.num_masks = int(getattr(net.net, 'num_masks', None) or 64)
        self.given = None if store is None else PriorStore(store)
        self.extractor: Extractor | None = None
        options = dict(options or {})
        trained = net.description.get('extractor') or {}
        kind = extractor or trained.get('kind') or net.prior_kind
        net.check_kind(kind if self.given is None else self.given.kind)
        if self.given is None:
            self.extractor = self._build(kind, trained if kind == trained.get('kind') else {}, options, device)
        self.source: SemanticSource | None = None
        if 'instance_tokens' in net.prior_fields:
            section = {'type': 'stored_tokens', **{k: v for k, v in options.items() if k.startswith('instance_')}}
            self.source = SemanticSource(section, net.prior_fields, torch.device(device))

    @staticmethod
    def _build(
        kind: str | None, trained: Mapping[str, Any], options: Mapping[str, Any], device: str | torch.device
    ) -> Extractor:
        if kind is None:
            raise UserError(
                'The model takes priors but does not say which. Name the extractor of its training by --extractor, '
                'give --priors STORE, or go on without by --no-priors.'
            )
        chosen = extractor_class(kind)
        if kind == 'annotations' or not chosen.fills_stores():
            known = ', '.join(name for name, one in EXTRACTOR_REGISTRY if one.fills_stores() and name != 'annotations')
            raise UserError(
                f'The model was trained with priors of {kind!r}, which cannot be made of frames. Give --priors STORE, '
                f'--extractor with one of {known}, or --no-priors.'
            )
        known = inspect.signature(chosen).parameters
        arguments = {name: value for name, value in (trained.get('parameters') or {}).items() if name in known}
        weights = trained.get('checkpoint')
        if weights and 'checkpoint' in known and 'checkpoint' not in options:
            arguments['checkpoint'] = str(_find_weights(kind, weights))
        arguments |= {name: value for name, value in options.items() if not name.startswith('instance_')}
        if 'device' in known:
            arguments.setdefault('device', str(device))
        return build_extractor(kind, **arguments)

    def describe(self, scene: str, count: int, read: Callable[[int], np.ndarray]) -> ScenePriors:
        """The priors of a scene; what was made before a run was stopped is not made again.

        Args:
            scene: Name of the scene.
            count: Its frames.
            read: Gives one by its number, (h, w, 3) uint8 RGB.
        """
        assert self.extractor is not None
        keys = [f'{scene}/{k:08d}' for k in range(count)]
        out = self.folder / f'{scene}.lmdb'
        extract(self.extractor, keys, lambda key: read(int(key.rpartition('/')[2])), out, progress=False)
        return ScenePriors(PriorStore(out), keys, self.net.prior_fields, self.num_masks, self.source)

    def stored(self, clip: str, first: int, count: int) -> ScenePriors:
        """The priors of a scene out of the given store.

        Args:
            clip: Name of the input.
            first: Number of the scene's first frame in the input.
            count: Its frames.

        Raises:
            UserError: The store does not have them.
        """
        assert self.given is not None
        keys = self.given.keys()
        clips = {key.rpartition('/')[0] for key in keys}
        name = clip if clip in clips else next(iter(clips)) if len(clips) == 1 else None
        mine = [key for key in keys if key.rpartition('/')[0] == name]
        if name is None or len(mine) < first + count:
            raise UserError(
                f'The store {self.given.path} has {len(mine)} frames of {clip!r}; the input has at least '
                f'{first + count}. Was it made of this input?'
            )
        return ScenePriors(self.given, mine[first : first + count], self.net.prior_fields, self.num_masks, self.source)


def _find_weights(kind: str, weights: Mapping[str, str]) -> Path:
    """The file of an extractor's weights, by its name and checksum."""
    for path in places_of(weights['file']):
        if path.is_file() and file_sha256(path) == weights['sha256']:
            return path
    raise UserError(
        f'The model needs the weights of {kind!r} that it was trained with, {weights["file"]} (SHA-256 '
        f'{weights["sha256"][:12]}...), which are not in {FOLDER}. Put them there, name another file by '
        '--extractor-option checkpoint=FILE, or go on without by --no-priors.'
    )
