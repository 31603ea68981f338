"""A trained network as one file that says all that is needed to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.option_file import OptionFile
from ..engine.checkpoint import load_file
from ..engine.network_record import KEY, with_defaults
from ..models.adapter_files import TUNED, adapter_alone
from ..models.base_upsamplers import BASE
from ..priors import PriorStore
from ..utils.errors import UserError, shown
from ..utils.files import check_free
from ..utils.safetensors_files import SUFFIX, write_safetensors
from .loading import EXPERIMENTS, find_checkpoint, load, merged

OF_CHECKPOINTS = ('prior_kind', 'diffusion', 'base_upsampler', BASE, 'stage')
"""What a checkpoint says besides its network that its use depends on."""
NOTES = ('degradation', 'licence', 'card')


def export(
    source: str | Path,
    out: str | Path,
    *,
    adapter: str | Path | None = None,
    options: str | Path | None = None,
    priors: str | Path | None = None,
    half: bool = False,
    notes: Mapping[str, str | None] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write weights, network and all that is known of them as safetensors.

    Args:
        source: What `load` takes: a checkpoint, a training, a name; or an option file ``.yml``, whose training is
            taken, else its ``path:pretrain_network_g``. An adapter stays one: it goes onto the base of its training.
        out: File to write, ``NAME.safetensors``.
        adapter: Tuned part to merge in first.
        options: Option file of the training; None: the one that BasicSR has put next to the checkpoint.
        priors: A store of the priors, whose extractor and its options go into the file; None: that of the option file.
        half: Weights as float16.
        notes: ``degradation`` (``BI``, ``BD``), ``licence`` (SPDX) and ``card``, a text.
        force: Replace an existing file.

    Returns:
        What the file says besides its weights.

    Raises:
        UserError: See `load`; a network whose arguments nothing names; or a file that cannot be written.
    """
    out = Path(out)
    if out.suffix != SUFFIX:
        raise UserError(f'{out} does not end in {SUFFIX}, by which such a file is recognised.')
    check_free(out, force)
    if Path(source).suffix in ('.yml', '.yaml'):
        options = source if options is None else options
        source = _weights_of(OptionFile.read(source).values, Path(source))
    if adapter is None:
        return _export(source, out, options, priors, half, notes or {})
    with merged(find_checkpoint(source), adapter) as whole:
        return _export(whole, out, options, priors, half, notes or {})


def _export(
    source: str | Path,
    out: Path,
    options: str | Path | None,
    priors: str | Path | None,
    half: bool,
    notes: Mapping[str, str | None],
) -> dict[str, Any]:
    path = find_checkpoint(source)
    given, options = options, _options_next_to(path) if options is None else options
    values = {} if options is None else OptionFile.read(options).values
    content = load_file(path)
    content = content if isinstance(content, dict) else {}
    said: dict[str, Any]
    if (weights := adapter_alone(content)) is not None:
        if KEY not in content:
            raise UserError(f'{path} is an adapter that does not say which network it is of, so it was not exported.')
        said = {name: content[name] for name in (KEY, TUNED)}
    else:
        described = isinstance(content.get(KEY), Mapping)
        restorer = load(source, network=None if described or not values else options)
        if priors is not None and not restorer.prior_fields:
            raise UserError(f'{path} takes no priors, so it has no use for {priors}.')
        trained, meant = restorer.description['network']['type'], (values.get('network_g') or {}).get('type')
        if given is not None and meant is not None and meant != trained:
            raise UserError(f'{path} is {trained}, and {given} is about {meant}.')
        record = dict(restorer.description)
        network = with_defaults(record.pop('network'))
        said, weights = {KEY: {'network': network, 'scale': restorer.scale, **record}}, restorer.net.state_dict()
    said |= {name: content[name] for name in OF_CHECKPOINTS if name in content}
    if (extractor := _extractor(values, priors)) is not None:
        kind = said.setdefault('prior_kind', extractor['kind'])
        if kind == extractor['kind']:
            said['extractor'] = extractor
        elif priors is not None:
            raise UserError(f'{path} was trained with priors of {kind!r}, and {priors} has those of another kind, '
                            f'{extractor["kind"]!r}.')  # fmt: skip
    before = {name: content[name] for name in NOTES if isinstance(content.get(name), str)}
    said |= before | {name: note for name, note in notes.items() if note is not None}
    write_safetensors({**said, 'params': weights}, out, half)
    return {name: value for name, value in said.items() if name != BASE}


def _weights_of(values: Mapping[str, Any], path: Path) -> str | Path:
    """The checkpoint that an option file is about."""
    name, pretrained = values.get('name'), (values.get('path') or {}).get('pretrain_network_g')
    if isinstance(name, str) and (EXPERIMENTS / name / 'models').is_dir():
        return EXPERIMENTS / name
    if not isinstance(pretrained, str):
        raise UserError(
            f'{path} names no weights: {EXPERIMENTS}/{shown(name)} is not here, and path:pretrain_network_g is empty. '
            'Give a checkpoint and this file as its options.'
        )
    return pretrained


def _options_next_to(path: Path) -> Path | None:
    """The option file that BasicSR copies into the folder of a training."""
    folder = path.parent.parent if path.parent.name == 'models' else path.parent
    files = sorted(folder.glob('*.yml'))
    return files[0] if len(files) == 1 else None


def _extractor(values: Mapping[str, Any], priors: str | Path | None) -> dict[str, Any] | None:
    """Kind, options and weights of the extractor that made the priors; None where no store is known or here."""
    if priors is None:
        sets = (values.get('datasets') or {}).values()
        found = [one['dataroot_priors'] for one in sets if isinstance(one, Mapping) and one.get('dataroot_priors')]
        priors = next((one for one in found if isinstance(one, str) and Path(one).exists()), None)
    if priors is None:
        return None
    meta = PriorStore(priors).meta
    return {name: meta.get(name) for name in ('kind', 'parameters', 'checkpoint', 'order', 'max_masks')}
