"""Checkpoints: written next to their place and renamed, read without running code from the file, ours or others'."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import nn

from ..archs.semantic_arch import arch_of
from ..utils.errors import UserError, shown
from ..utils.files import check_free, check_not_read, whole_file
from ..utils.safetensors_files import SUFFIX
from ..utils.torch_files import load_plain
from .key_names import in_basicsr_names, without_generator

HOLDERS = ('params', 'state_dict', 'model_state_dict', 'model', 'net', 'network', 'net_g', 'generator', 'weights')
"""Keys under which files hold a state dict: BasicSR's, MMagic's and Lightning's, KAIR's, and those of plain scripts."""
AVERAGES = ('params_ema', 'state_dict_ema', 'model_ema', 'ema_state_dict', 'ema')
"""The same for the moving average."""
_WITHIN = ('_orig_mod.', '_fsdp_wrapped_module.', '_checkpoint_wrapped_module.')
"""What torch.compile, FSDP and checkpointing wrappers put into names, at any place."""
_COUNTERS = ('step_counter', 'n_averaged', 'steps')
COMPANIONS = (*_COUNTERS, 'generator', 'discriminator', 'data_preprocessor', 'perceptual_loss', 'gan_loss')
COMPANIONS += ('pixel_loss', 'generator_ema', 'net_g', 'net_g_ema', 'net_d', 'ema', 'model_ema', 'loss')
"""First names of what a checkpoint holds with a network but is not part of it, of MMagic and of torch's averages."""


def save_atomic(content: Any, path: str | Path) -> None:
    """``torch.save`` to a file that is either whole or not there.

    Args:
        content: What to save; plain containers and tensors, so that ``weights_only`` loading takes it back.
        path: Destination; an existing file is replaced only once the new one is whole and on disk.

    Raises:
        UserError: The file could not be written (full disk, read-only folder). An older file of that name stays.
    """
    with whole_file(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # in which torch wraps a failed write
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            raise OSError(str(cause)) from error


def check_checkpoint_place(out: str | Path, force: bool, *sources: str | Path) -> None:
    """Whether ``save_atomic`` may write a checkpoint that is made of others.

    Args:
        out: File to write.
        force: Replace an existing one.
        sources: What it is made of.

    Raises:
        UserError: It is one of them, it exists and may not be replaced, or its name promises safetensors.
    """
    if Path(out).suffix == SUFFIX:
        raise UserError(f'{out} would be a file of PyTorch, not of safetensors. Give it a name that ends in .pth.')
    check_not_read(out, *(source for source in sources if Path(source).is_file()))
    check_free(out, force)


_held: dict[Path, dict[Path, Any]] = {}
"""Folder -> what was read of its files, see `read_once`."""


@contextlib.contextmanager
def read_once(*folders: str | Path) -> Iterator[None]:
    """Within it, `load_file` reads a file of these folders once and gives the same content again; do not change it.

    Weights are checked with their training state before the model is built, which then loads them.
    """
    before = dict(_held)
    _held.update({Path(folder): {} for folder in folders})
    try:
        yield
    finally:
        _held.clear()
        _held.update(before)


def load_file(path: str | Path) -> Any:
    """Read a checkpoint on the CPU with ``weights_only=True``.

    numpy's scalars, which BasicSR's own files may hold, come as Python's.

    Raises:
        UserError: The file is missing, cut short, damaged, or holds more than tensors and plain containers.
    """
    path = Path(path)
    held = _held.get(path.parent, {})
    if path in held:
        return held[path]
    if path.is_dir():
        raise UserError(f'The checkpoint {path} is a folder. Give a file in it.')
    if not path.exists():
        near = sorted(p.name for p in path.parent.glob('*.pth'))[:8] if path.parent.is_dir() else []
        hint = f' The folder has {", ".join(near)}.' if near else ''
        raise UserError(f'The checkpoint {path} does not exist.{hint}')
    content = load_plain(path)
    if path.parent in _held:
        held[path] = content
    return content


def read_weights(
    path: str | Path, param_key: str | None = 'params', role: str | None = 'g', names: Collection[str] = ()
) -> dict[str, torch.Tensor]:
    """Return the state dict in a checkpoint, in BasicSR's names, without what wrappers have added to them.

    MMagic's names of a network that BasicSR has too are read as BasicSR's, with a log line: see `key_names`.

    Args:
        path: A file of BasicSR, ``{'params': state dict, 'params_ema': ...}``, a bare state dict, or one under another
            key that is in use (`HOLDERS`, `AVERAGES`), as in MMagic's, KAIR's and Lightning's files.
        param_key: Which of them. Where ``params`` or ``params_ema`` is missing, a key that is in use for the same is
            taken, with a log line; for any other missing key ``params`` is taken. None: the file itself.
        role: Ending of the options in section ``path`` that are about this file, as of ``param_key_g``; None where
            there are none.
        names: Names that the network knows. With them the beginning that a wrapper has added is recognised, whatever
            it is, and parts of the checkpoint that belong to no network (a discriminator, a counter) are left out.

    Raises:
        UserError: Unreadable file, no state dict under that key, or a tensor without data.
    """
    content = load_file(path)
    if param_key is not None and isinstance(content, dict) and param_key not in content:
        if is_state_dict(content):
            get_root_logger().info(f'{path} is a bare state dict and is loaded as it is.')
        else:
            kinds = holders(content)
            wanted = kinds | {'params_ema': kinds['params_ema'] + kinds['params']}
            wanted = wanted.get(param_key, ('params',))
            stored = [key for key, value in content.items() if is_state_dict(value)]
            found = next((key for key in wanted if key in stored), None)
            if found is None:
                listed = ', '.join(map(str, stored))
                advice = f' Set path:param_key_{role} to one of them: {listed}.' if role and stored else ''
                raise UserError(f'{path} has no {param_key!r}; its keys are {list(content)[:8]}.{advice}')
            # as BasicSR does, but whoever asks for one of several names should see that another is used
            tell = get_root_logger().info if param_key in ('params', 'params_ema') else get_root_logger().warning
            tell(f'{path} has no {param_key}; its {found} is used.')
            content = content[found]
    elif param_key is not None and isinstance(content, dict):
        content = content[param_key]
    if not isinstance(content, dict) or not all(torch.is_tensor(value) for value in content.values()):
        raise UserError(f'{path} does not hold a state dict (a mapping of names to tensors) under {param_key!r}.')
    check_tensors(content, path)
    return _without_wrappers(content, names, param_key == 'params_ema', path)


def check_tensors(state: Mapping[Any, torch.Tensor], path: str | Path) -> None:
    """Refuse what no network could take.

    Raises:
        UserError: A name that is no text, or a tensor without data.
    """
    for name, value in state.items():
        if not isinstance(name, str):
            raise UserError(f'{path} does not hold a state dict: one of its names is {shown(name)}, which is no text.')
        if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_nested:
            raise UserError(f'{path} holds no data for {name}, or none that a network could take: {value.layout}.')


def holders(content: Mapping[Any, Any]) -> dict[str, tuple[str, ...]]:
    """Keys under which a file may hold the weights, ``params``, and their moving average, ``params_ema``.

    MMEngine's EMAHook saves the average under ``state_dict`` and the weights in training under ``ema_state_dict``.
    """
    if {'meta', 'state_dict', 'ema_state_dict'} <= content.keys():
        return {'params': ('ema_state_dict',), 'params_ema': ('state_dict',)}
    return {'params': HOLDERS, 'params_ema': AVERAGES}


def is_state_dict(value: Any) -> bool:
    """Whether a value maps names to tensors."""
    return isinstance(value, dict) and bool(value) and all(torch.is_tensor(one) for one in value.values())


def without_wrappers(name: str, names: Collection[str] = ()) -> str:
    """A name without what torch.compile, FSDP and DataParallel put into it; a name that the network knows ends that."""
    for added in _WITHIN:
        name = name.replace(added, '')
    return name if name in names else name.removeprefix('module.')


def _without_wrappers(
    state: Mapping[str, torch.Tensor], names: Collection[str], average: bool, path: str | Path
) -> dict[str, torch.Tensor]:
    """The state dict with the names of the network alone, of the moving average where it is asked for."""
    clean = {name: value for name, value in state.items() if name in names}
    for name, value in state.items():
        clean[name if name in names else without_wrappers(name, names)] = value
    translated = in_basicsr_names(clean, names)
    if translated is not None:
        key_map, new = translated
        get_root_logger().info(f"{path} has MMagic's names of {key_map.mmagic}; they are read as BasicSR's.")
        clean = {name if new.get(name) in clean else new.get(name, name): value for name, value in clean.items()}
        names = names or {without_generator(name) for name in new.values()}
    begins: Counter[str] = Counter()
    for name in clean:
        ends = [k + 1 for k, letter in enumerate(name) if letter == '.' and name[k + 1 :] in names]
        begins.update([name[: ends[0]]] if ends else [])
    most = max(begins.values(), default=0)
    if most <= max(sum(name in names for name in clean), len(names) // 2):
        return {name: value for name, value in clean.items() if not names or name in names or name not in _COUNTERS}
    equal = [begin for begin, count in begins.items() if count == most]
    begin = next((one for one in equal if ('ema' in one) == average), equal[0])
    kept = {name.removeprefix(begin): value for name, value in clean.items() if name.startswith(begin)}
    others = [name for name in clean if not name.startswith(begin)]
    kept |= {name: clean[name] for name in others if name.split('.')[0] not in COMPANIONS}
    left = [name for name in others if name not in kept]
    get_root_logger().info(f"The names in {path} begin with '{begin}', which was removed; left out: {_summary(left)}.")
    return kept


def load_weights(
    net: nn.Module, path: str | Path, strict: bool = True, param_key: str | None = 'params', role: str | None = 'g'
) -> tuple[list[str], list[str]]:
    """Load a checkpoint into a network and say what did not match.

    A network that does not use everything in its checkpoints has a method ``filter_checkpoint(state)``. It returns the
    rest of the state dict and the keys left out; those are logged and count as known.

    Args:
        net: The bare network (not wrapped).
        path: See :func:`read_weights`.
        strict: Every key must match, in name and size. False: what matches is loaded, the rest is logged.
        param_key: See :func:`read_weights`.
        role: See :func:`read_weights`.

    Returns:
        (missing, unexpected): keys of the network that kept their values, keys of the file that were not used.

    Raises:
        UserError: Strict and something does not match, or not strict and nothing does: the wrong checkpoint.
    """
    current = net.state_dict()
    loaded = read_weights(path, param_key, role, current.keys())
    loaded, left_out = arch_of(net).filter_checkpoint(loaded)
    if left_out:
        get_root_logger().info(f'{type(net).__name__} works without {_summary(left_out)} of {path}.')
    both = sorted(loaded.keys() & current.keys())
    wrong_size = [k for k in both if loaded[k].shape != current[k].shape]
    for key in both:
        if current[key].is_floating_point() != loaded[key].is_floating_point():
            raise UserError(f'{path} has {key} as {loaded[key].dtype}, which is no weight of {type(net).__name__}.')
    not_finite = [k for k in both if not torch.isfinite(loaded[k]).all()]
    if not_finite:
        get_root_logger().warning(f'{path} holds values that are not finite: {_summary(not_finite)}.')
    missing = sorted(k for k in current if k not in loaded) + wrong_size
    unexpected = sorted(k for k in loaded if k not in current) + wrong_size
    if missing or unexpected:
        sizes = ''.join(
            f' {k} is {tuple(loaded[k].shape)} in the file and {tuple(current[k].shape)} in the network.'
            for k in wrong_size[:3]
        )
        differ = [f'the network lacks values for {_summary(missing)}'] * bool(missing)
        differ += [f'the file has unused {_summary(unexpected)}'] * bool(unexpected)
        message = f'{path} and {type(net).__name__} differ: {"; ".join(differ)}.{sizes}'
        if strict:
            advice = ''
            if wrong_size:
                advice = ' A network needs the arguments that its weights were trained with.'
            elif role == 'g':
                advice = ' Set path:strict_load_g: false if this is meant (new modules on a baseline).'
            raise UserError(f'{message}{advice}')
        if len(missing) == len(current):
            raise UserError(f'{message} Not one tensor fits: this is the checkpoint of another network.')
        get_root_logger().warning(message)
    net.load_state_dict({k: v for k, v in loaded.items() if k not in unexpected}, strict=False)
    get_root_logger().info(f'Loaded {type(net).__name__} from {path} [{param_key}].')
    return missing, unexpected


def _summary(keys: list[str]) -> str:
    """'nothing', or counts by first name: '36 tensors (sam_embed 12, seem_forward_pre 24)'."""
    if not keys:
        return 'nothing'
    parts = Counter(k.split('.')[0] for k in keys)
    shown_parts = [f'{name} {n}' for name, n in list(parts.items())[:12]] + ['...'] * (len(parts) > 12)
    return f'{len(keys)} tensors ({", ".join(shown_parts)})'
