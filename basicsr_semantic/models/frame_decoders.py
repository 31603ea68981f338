"""The frame decoder of stage 1 from its section of the option file, and the classes that it scores."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch.nn import functional as F

from ..engine.checkpoint import load_file, read_weights
from ..extractors.xdecoder import XDecoder, build_xdecoder, load_xdecoder
from ..utils.errors import MissingError, UserError
from ..utils.nearest import nearest

_NOT_IN_WEIGHTS = ('drop_path',)
"""Arguments that matter in training only and may differ from those of the checkpoint."""
_CLASS_SEED = 20240


def build_frame_decoder(options: dict[str, Any], checkpoint: str | None, param_key: str | None = 'params') -> XDecoder:
    """Build the frame decoder.

    Args:
        options: Section ``frame_decoder`` of the option file.
        checkpoint: Its weights, which decide its sizes; None: fresh ones.
        param_key: Which weights of a file of ours.

    Raises:
        UserError: An unknown type or argument, or sizes other than those of the checkpoint.
    """
    sizes = {k: v for k, v in options.items() if k not in ('type', 'preset', 'text_embeddings')}
    if options.get('type') != 'xdecoder':
        raise UserError(f'frame_decoder:type is {options.get("type")!r}; there is xdecoder.')
    known = set(inspect.signature(XDecoder.__init__).parameters) - {'self'}
    for name in sizes.keys() - known:
        near = nearest(name, known)
        raise UserError(f'frame_decoder:{name} is not an argument of X-Decoder.' + (f' Is it {near}?' if near else ''))
    if checkpoint is None:
        return build_xdecoder(options.get('preset', 'focal_t'), **sizes)
    net = load_xdecoder(checkpoint)
    for name, value in sizes.items():
        has = net.config[name]
        if name not in _NOT_IN_WEIGHTS and (list(value) if isinstance(value, list | tuple) else value) != has:
            raise UserError(f'frame_decoder:{name} is {value}, but {checkpoint} has {has}. Leave it out or correct it.')
    changed = {name: sizes[name] for name in _NOT_IN_WEIGHTS if name in sizes}
    if changed:
        other = XDecoder(**(net.config | changed))
        other.load_state_dict(net.state_dict())
        net = other
    content = load_file(checkpoint)
    if 'params' in content and 'params_ema' in content:  # of the two, the extractor takes the average
        net.load_state_dict(read_weights(checkpoint, param_key))
    return net


def class_embeddings(path: str | None, num_classes: int, width: int, trains: bool) -> torch.Tensor:
    """The embedding of each class by which the frame decoder names its queries.

    Args:
        path: File of ``basicsr prepare text``, a dict with ``embeddings`` (num_classes, width) and
            ``background`` (width,); or a tensor alone, the embedding of "background" last or missing. None: fixed
            random directions, orthogonal and the same in every run, for a frame decoder that trains.
        num_classes: Classes without "no object".
        width: Width of the frame decoder's class embeddings.
        trains: Whether the frame decoder trains; then "background" is needed.

    Returns:
        (num_classes or num_classes + 1, width), rows of unit length.

    Raises:
        UserError: No such tensor in the file, or too narrow for so many orthogonal directions.
    """
    if path is None:
        if num_classes + 1 > width:
            raise UserError(
                f'{num_classes} classes and "no object" need a projection_dim of at least {num_classes + 1} in '
                f'frame_decoder, but it is {width}. Enlarge it, or give frame_decoder:text_embeddings.'
            )
        generator = torch.Generator().manual_seed(_CLASS_SEED)
        return torch.linalg.qr(torch.randn(width, num_classes + 1, generator=generator)).Q.T.contiguous()
    content = load_file(path)
    rows = content.get('embeddings') if isinstance(content, dict) else content
    if not torch.is_tensor(rows) or rows.dim() != 2:
        raise MissingError(f'{path} holds no text embeddings.', 'xdecoder text')
    names: list[str] = []
    if isinstance(content, dict):
        names = [str(name) for name in content.get('names') or ()]
        if torch.is_tensor(content.get('background')):
            rows = torch.cat([rows, content['background'].view(1, -1)])
    count, columns = rows.shape
    wanted = (num_classes + 1,) if trains else (num_classes, num_classes + 1)
    if count not in wanted or columns != width:
        raise UserError(
            f'The text embeddings in {path} are {count}x{columns}; for {num_classes} classes '
            f'{" or ".join(map(str, wanted))} rows of {width} are needed, number {num_classes + 1} for "background".'
        )
    get_root_logger().info(f'Classes by their text embeddings: {", ".join(names) or f"{num_classes} without names"}.')
    return F.normalize(rows.float(), dim=1)
