"""A trained network from its checkpoint alone."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.models.video_base_model import VideoBaseModel
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
from torch import nn

from ..archs.layers.instance_transformer import InstanceTransformer
from ..archs.layers.mask_input import MissingPriors
from ..archs.seeclear_arch import SeeClear
from ..archs.seem_configuration import read_configuration
from ..archs.semantic_arch import SemanticArch, restores_images
from ..config.named_weights import named_weights, nearest_name, weights_file
from ..config.option_file import OptionFile
from ..diffusion import BlurringResShift
from ..engine.checkpoint import holders, load_file, load_weights, read_once, read_weights
from ..engine.network_record import KEY
from ..models.adapter_files import Tuning, adapter_alone, merge_files
from ..models.base_upsamplers import BASE, BicubicUpsampler, NetworkUpsampler, make_base_upsampler
from ..models.networks import make_network
from ..utils.devices import usable_device
from ..utils.errors import UserError, full_stop, reason, shown
from ..utils.nearest import nearest
from ..utils.printing import short
from .restorer import Restorer, SeeClearRestorer

_SAID = ('extractor', 'degradation', 'licence', 'card')
"""What an exported file says besides; see `exporting`."""
EXPERIMENTS = Path('experiments')
"""Where BasicSR's trainings are, relative to the folder in which they were started."""


def load(
    name_or_path: str | Path,
    *,
    adapter: str | Path | None = None,
    network: Mapping[str, Any] | str | Path | None = None,
    param_key: str | None = None,
    missing_priors: MissingPriors | None = None,
    device: str | torch.device = 'cpu',
) -> Restorer:
    """Load a trained network, ready to restore frames.

    Checkpoints of this version name their network, whichever model class wrote them, BasicSR's own included. No code
    of the file runs, and nothing but the file is read.

    Args:
        name_or_path: A checkpoint; the folder of a training, whose newest ``net_g_*.pth`` is taken; the name of a
            training under ``experiments``; or the name of weights that ``basicsr models`` lists, ``lite`` for example.
            The name of an adapter brings its base with it.
        adapter: What tuning a part of that network has written (``net_g_seem_*.pth``, say), or the name of one. It goes
            onto no other base than that of its training.
        network: For older checkpoints: the section ``network_g`` of their training, ``type`` and arguments, or the
            option file that has it. It has priority over what the checkpoint says.
        param_key: Which weights of the file; None: their moving average, ``params_ema``, where there is one.
        missing_priors: ``neutral`` lets a network that was trained with priors work without them; None: as it was
            trained.
        device: Where it is to run.

    Returns:
        An `nn.Module` in evaluation mode, without gradients: LR frames (b, t, 3, h, w) in [0, 1], and priors where it
        takes some, to HR frames (b, t, 3, H, W). See :class:`Restorer`.

    Raises:
        UserError: No such file, released weights that are not here or have a wrong checksum, a file that cannot be
            read or does not say its network, a network that is not registered or does not restore frames, weights
            that do not fit it, an adapter of another base, or a device that this machine does not have.
    """
    device = usable_device(device)
    named = named_weights(str(name_or_path))
    if named is not None and named.base and adapter is None:
        name_or_path, adapter = named.base, named.name
    path = find_checkpoint(name_or_path)
    if adapter is not None:
        with merged(path, adapter) as whole:
            return load(whole, network=network, param_key=param_key, missing_priors=missing_priors, device=device)
    if named is not None and network is None:
        network = named.network or None
    with read_once(path.parent):
        return _load(path, {} if network is None else _given(network), param_key, missing_priors).to(device)


def _load(
    path: Path, options: Mapping[str, Any], param_key: str | None, missing_priors: MissingPriors | None
) -> Restorer:
    """The network of a file; what options say about it has priority over what the file says."""
    content = load_file(path)
    content = content if isinstance(content, dict) else {}
    record = content.get(KEY)
    description = dict(record) if isinstance(record, Mapping) else {}
    section = options.get('network_g', description.get('network'))
    if not isinstance(section, Mapping):
        raise UserError(
            f'{path} does not say which network it belongs to, like files of earlier versions and other projects. '
            f'Give it: load(FILE, network={_guess(path, param_key)}), or network=OPTION_FILE.'
        )
    if missing_priors is not None:
        section = {**section, 'missing_priors': missing_priors}
    if param_key is None:
        averages = holders(content)['params_ema'] if 'meta' in content else ('params_ema',)  # MMEngine's files
        param_key = 'params_ema' if any(name in content for name in averages) else 'params'
    net = _build(section, path)
    load_weights(net, path, True, param_key, role=None)
    kind = content.get('prior_kind')
    details: dict[str, Any] = {
        'description': description
        | {name: content[name] for name in _SAID if name in content}
        | {'network': dict(section)},
        'prior_kind': kind if isinstance(kind, str) else None,
    }
    if isinstance(net, SeeClear):
        process, upsample = _diffusion(content, options, path), _base(content, options, net.scale, path)
        return SeeClearRestorer(net, process, upsample, content.get('stage') != 'condenser', **details)
    return Restorer(net, single_frames=_takes_images(net, description.get('model_type')), **details)


@contextlib.contextmanager
def merged(base: Path, adapter: str | Path) -> Iterator[Path]:
    """A file of a base network and its adapter, for as long as it is wanted.

    Raises:
        UserError: They do not belong together.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / f'{base.stem}_merged.pth'
        merge_files(base, weights_file(str(adapter)), whole)
        yield whole


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The file that is meant by a path, a training or a name, see `load`.

    Raises:
        UserError: There is none.
    """
    path = Path(weights_file(str(name_or_path))).expanduser()
    try:
        path.exists()
    except OSError as error:  # a name longer than names may be
        raise UserError(f'There is no checkpoint {short(path)}: {error.strerror}.') from error
    if not path.exists() and len(path.parts) == 1 and (EXPERIMENTS / path).is_dir():
        path = EXPERIMENTS / path
    if not path.is_dir():
        if not path.exists() and len(path.parts) == 1 and not path.suffix:
            trainings = [one.name for one in EXPERIMENTS.iterdir() if one.is_dir()] if EXPERIMENTS.is_dir() else []
            near = nearest(path.name, trainings)
            hint = f' Did you mean {near}?' if near else ''
            hint = hint or nearest_name(str(path))
            raise UserError(f'There is no checkpoint {path}, and no training {path} under {EXPERIMENTS}/.{hint}')
        return path
    folder = path / 'models' if (path / 'models').is_dir() else path
    latest = folder / 'net_g_latest.pth'
    if latest.is_file():
        return latest
    numbered = {file.stem.removeprefix('net_g_'): file for file in folder.glob('net_g_*.pth')}
    steps = [name for name in numbered if name.isdecimal()]
    if not steps:
        raise UserError(f'{path} has no checkpoint net_g_*.pth. Give the file, or the folder of a training.')
    return numbered[max(steps, key=int)]


def _given(network: Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """The sections of an option file that matter here."""
    if isinstance(network, Mapping):
        return {'network_g': dict(network)}
    values = OptionFile.read(network).values
    if not isinstance(values.get('network_g'), Mapping):
        raise UserError(f'{network} has no section network_g.')
    return values


def _guess(path: Path, param_key: str | None) -> str:
    """What the weights of SEEM, BasicVSR and EDVR show about their network, as an example; else any."""
    try:
        found = read_configuration(read_weights(path, param_key or 'params'))
    except (ValueError, IndexError):
        return "{'type': 'BasicVSR', 'num_feat': 64, 'num_block': 30}"
    if not found.get('branches', found.get('positions')):  # a baseline without SEEM
        found = {key: value for key, value in found.items() if key not in ('branches', 'share_branches', 'positions')}
        found['type'] = found['type'].removesuffix('SEEM')
    return repr(found)


def _build(section: Mapping[str, Any], path: Path) -> nn.Module:
    """A network that a file names, whatever else the file says about it."""
    name = section.get('type')
    if not isinstance(name, str) or name not in ARCH_REGISTRY:
        near = nearest(name, ARCH_REGISTRY.keys())
        hint = f' Did you mean {near}?' if near else ' Import the module that registers it first.'
        raise UserError(f'{path} is of a network {shown(name)}, which is not registered.{hint}')
    _check_outline(section, path)
    try:
        net = make_network(dict(section), None)
    except UserError:
        raise
    except Exception as error:  # arguments of a file may be anything, and constructors of others raise anything
        raise UserError(f'{path}: {name} cannot be built as the file says: {reason(error)}') from error
    if isinstance(net, InstanceTransformer):
        raise UserError(f'{path} is of {name}, stage 1 of Semantic Lens, which makes tokens of instances, not frames.')
    return net


def _check_outline(section: Mapping[str, Any], path: Path) -> None:
    """Refuse adapters, and a network that is larger than its file before memory is asked for it."""
    arguments = {name: value for name, value in section.items() if name != 'type'}
    try:
        with torch.device('meta'), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            net = ARCH_REGISTRY.get(section['type'])(**arguments)
    except Exception:  # it needs values while it is built, or refuses its arguments, which is reported later
        return
    name, content = type(net).__name__, load_file(path)
    tuning = Tuning.read(content) if adapter_alone(content) is not None else None
    if tuning is not None and set(tuning.keys) < set(net.state_dict()):
        base = tuning.base_file or 'a base network'
        raise UserError(
            f'{path} is an adapter, a part of a {name}, trained on {base}. Load that with adapter={path.name!r}, or '
            'merge the two files first.'
        )
    wanted = sum(parameter.numel() for parameter in net.parameters())
    if wanted * 0.5 > path.stat().st_size:  # half a byte a value: no type of PyTorch's is smaller
        raise UserError(f'{path} says that its {name} has {wanted:,} parameters, which is more than the file can hold.')


def _takes_images(net: nn.Module, model_type: Any) -> bool:
    """Whether a network takes frames one by one: its model class decides, else its own class."""
    if isinstance(net, SemanticArch):
        return False
    model = MODEL_REGISTRY.get(model_type) if isinstance(model_type, str) and model_type in MODEL_REGISTRY else None
    if isinstance(model, type) and model.__module__.split('.')[0] not in ('basicsr', 'basicsr_semantic'):
        return not issubclass(model, VideoBaseModel)
    return restores_images(net)


def _diffusion(content: Mapping[str, Any], options: Mapping[str, Any], path: Path) -> BlurringResShift:
    section = options.get('diffusion', content.get('diffusion'))
    if not isinstance(section, Mapping):
        raise UserError(f'{path} does not say its diffusion. Give the option file of its training as network.')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the log of its training has these lines
            return BlurringResShift(**{str(name): value for name, value in section.items()})
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise UserError(f'{path}: diffusion: {full_stop(error)}') from error


def _base(
    content: Mapping[str, Any], options: Mapping[str, Any], scale: int, path: Path
) -> BicubicUpsampler | NetworkUpsampler:
    """What makes the base of SeeClear: from the option file, from the checkpoint, or bicubic."""
    if 'base_upsampler' in options:
        paths = options.get('path') or {}
        weights, key = paths.get('pretrain_base_upsampler'), paths.get('param_key_base_upsampler', 'params')
        return make_base_upsampler(options['base_upsampler'], scale, weights, key)
    name, stored = content.get('base_upsampler', 'bicubic'), content.get(BASE)
    if isinstance(stored, Mapping) and isinstance(stored.get('network'), Mapping):
        upsampler = NetworkUpsampler(_build(stored['network'], path))
        try:
            upsampler.net.load_state_dict(stored.get('params'))  # pyright: ignore[reportArgumentType]
        except (TypeError, RuntimeError, AttributeError) as error:
            raise UserError(f'{path}: the weights under {BASE} do not fit: {full_stop(error)}') from error
        return upsampler
    if name != 'bicubic':
        raise UserError(
            f'{path} was trained on frames of {name}, whose weights it does not hold. Give the option file of its '
            'training as network.'
        )
    return BicubicUpsampler(scale)
