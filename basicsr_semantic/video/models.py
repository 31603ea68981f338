"""The model of ``--model``: by name, by path, from the hub, or a single-image network of another project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..inference import Restorer, load
from ..inference.loading import find_checkpoint
from ..utils.errors import UserError, full_stop

HUB = 'hf:'


def model_file(name: str) -> str:
    """What `load` takes: the name as it is, or the file that ``hf:owner/repo/path`` names, fetched where it is missing.

    Raises:
        UserError: The name has another form, huggingface_hub is not installed, or the file cannot be had.
    """
    if not name.startswith(HUB):
        return name
    owner, _, rest = name.removeprefix(HUB).partition('/')
    repository, _, file = rest.partition('/')
    if not (owner and repository and file):
        raise UserError(f'{name} is not of the form hf:owner/repository/file.')
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UserError(f'{name} needs huggingface_hub: pip install huggingface_hub.') from None
    try:
        return hf_hub_download(f'{owner}/{repository}', file)
    except Exception as error:  # it raises a dozen types: no such file, no network, no permission
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'{name} could not be fetched: {full_stop(first)}') from error


def open_model(
    name: str, adapter: str | Path | None = None, no_priors: bool = False, device: str | torch.device = 'cpu'
) -> Restorer:
    """Load a model.

    Args:
        name: A name of `NAMED`, a path, a training, or ``hf:owner/repository/file``. A file that does not say its
            network is given to spandrel, which knows single-image networks of many projects by their weights.
        adapter: Tuned part that goes onto it.
        no_priors: A network that takes priors is to go on without.
        device: Where it runs.

    Raises:
        UserError: See `load`; or spandrel does not know the network either.
    """
    name = model_file(name)
    try:
        restorer = load(name, adapter=adapter, device=device)
        if no_priors and restorer.prior_fields:
            restorer = load(name, adapter=adapter, missing_priors='neutral', device=device)
        return restorer
    except UserError as error:
        if 'does not say which network' not in str(error) or adapter is not None:
            raise
        return _open_with_spandrel(find_checkpoint(name), error, device)


class _SingleImageNetwork(nn.Module):
    """A network that spandrel has recognised, as BasicSR's are: frames (b, 3, h, w) to (b, 3, H, W).

    Args:
        descriptor: What spandrel gives.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.descriptor, self.net = descriptor, descriptor.model

    def forward(self, x: Tensor) -> Tensor:
        """Restore frames, padded to what the network needs."""
        return self.descriptor(x)


def _open_with_spandrel(path: Path, error: UserError, device: str | torch.device) -> Restorer:
    try:
        from spandrel import ImageModelDescriptor, ModelLoader
    except ImportError:
        raise UserError(f'{error} For networks of single images: pip install spandrel.') from error
    try:
        descriptor = ModelLoader(device=torch.device(device)).load_from_file(path)
    except Exception as unknown:  # it raises types of its own, and whatever a network raises
        raise UserError(f'{error} spandrel does not know it either.') from unknown
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != 3:
        raise UserError(f'{path} holds {descriptor.architecture.name}, which does not restore RGB images.')
    about = {'network': {'type': descriptor.architecture.name}, 'scale': descriptor.scale}
    return Restorer(_SingleImageNetwork(descriptor.eval()), single_frames=True, description=about).to(device)
