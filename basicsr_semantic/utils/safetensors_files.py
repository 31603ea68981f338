"""Checkpoints as safetensors: one set of weights and, as JSON in the header, what a file of torch.save says besides.

Tensors of ``params`` keep their names. Those of another part, as the network that makes SeeClear's base, are called
``PART/NAME``; names of parameters have no slash. A file of other projects, without our header, holds weights alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .errors import UserError, full_stop
from .files import left_by_a_download, why_no_file, write_whole

SUFFIX = '.safetensors'
HEADER = 'basicsr_semantic'
"""Name in the header under which the JSON is."""
_PARAMS = 'params'


def read_safetensors(path: Path) -> dict[str, Any]:
    """Read a file as the dict that torch.save would have written; half precision becomes float32.

    Raises:
        UserError: The file is missing, cut short, damaged, or of another format.
    """
    if (wrong := why_no_file(path)) is not None:
        raise UserError(f'The checkpoint {path} cannot be used: {wrong}.')
    try:
        with safe_open(path, framework='pt') as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        content = {} if header is None else json.loads(header)
    except (SafetensorError, OSError, ValueError) as error:
        why = full_stop(left_by_a_download(path) or error)
        raise UserError(f'{path} could not be read as safetensors: {why} It was not loaded.') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} has a header {HEADER} that is no JSON object; it was not loaded.')
    content[_PARAMS] = {}
    for name, tensor in tensors.items():
        *parts, last = name.split('/')
        place = content
        for part in parts or (_PARAMS,):
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UserError(f'{path} has a tensor {name} where its header has a value; it was not loaded.')
        place[last] = tensor.float() if tensor.dtype in (torch.half, torch.bfloat16) else tensor
    return content


def write_safetensors(content: Mapping[str, Any], path: str | Path, half: bool = False) -> None:
    """Write a file whole or not at all.

    Args:
        content: ``params``, a state dict, and plain values or dicts that may hold further tensors.
        path: Destination; an existing file is replaced.
        half: Floating point tensors become float16.

    Raises:
        UserError: A value that JSON cannot hold, weights too large for float16, or a file that cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = _without_tensors({name: value for name, value in content.items() if name != _PARAMS}, '', tensors)
    for name, value in content[_PARAMS].items():
        tensors[name] = value
    for name, value in tensors.items():
        tensor = value.detach().cpu().contiguous().clone()  # shared memory would be refused
        if half and tensor.is_floating_point():
            tensor = tensor.half()
            if not torch.isfinite(tensor).all() and torch.isfinite(value).all():
                raise UserError(f'{name} has values beyond the range of float16; export it without half precision.')
        tensors[name] = tensor
    try:
        header = json.dumps(plain, ensure_ascii=False)
    except TypeError as error:
        raise UserError(f'{path} was not written: {full_stop(error)}') from error
    write_whole(path, save(tensors, {'format': 'pt', HEADER: header}))


def _without_tensors(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The plain part of a value; its tensors go into ``tensors`` under their place."""
    if not isinstance(value, Mapping):
        return value
    rest = {}
    for name, one in value.items():
        inner = f'{place}{name}'
        if torch.is_tensor(one):
            tensors[inner] = one
        else:
            rest[name] = _without_tensors(one, f'{inner}/', tensors)
    return rest
