"""Networks that read priors, under a model class that passes on frames only: they would train and never see a mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ..archs.semantic_arch import arch_of
from ..utils.errors import MissingError, UserError
from .components import find
from .signatures import package_of

_OURS = 'basicsr_semantic'
_MENDED = """Write
  model_type: SemanticVSRModel
  datasets:
    train: {type: SemanticClipDataset, dataroot_priors: STORE, ...}
    val: {type: SemanticClipTestDataset, dataroot_priors: STORE, ...}
with a STORE of priors; or, to train without priors, network_g: {missing_priors: neutral}."""


def lost_priors(model: type | None, opt: Mapping[str, Any], net: nn.Module) -> tuple[str | UserError, bool] | None:
    """What is wrong where a network needs priors and the model class does not pass them on.

    Frames may carry masks as further channels: data sets that are neither BasicSR's nor ours may give such frames.

    Args:
        model: The model class.
        opt: The options.
        net: The network.

    Returns:
        A sentence, or an error with the lines that resolve it, and whether it is a warning only; None where nothing is
        wrong.
    """
    arch = arch_of(net)
    if not arch.prior_fields or arch.missing_priors == 'neutral':
        return None
    if model is None or any(package_of(base) == _OURS for base in model.__mro__):
        return None
    kinds = [find('dataset', one.get('type')) for one in (opt.get('datasets') or {}).values()]
    known = all(kind is not None and package_of(kind.target) in ('basicsr', _OURS) for kind in kinds)
    network, what = type(net).__name__, ' and '.join(arch.prior_fields)
    if package_of(model) == 'basicsr' and known:
        message = f"BasicSR's {model.__name__} passes on frames only, so this {network} would never see {what}."
        return MissingError(f'{message} {_MENDED}', 'priors'), False
    return f'{network} needs {what} with its frames; make sure that {model.__name__} passes them on.', True
