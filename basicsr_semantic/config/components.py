"""What is registered: the five registries of BasicSR under the names that people use for them, and the extractors."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

KINDS = ('arch', 'model', 'dataset', 'loss', 'metric', 'extractor')

_SUFFIX = '_basicsr'
"""BasicSR registers four classes under such a name and finds them without it, so that others can use the plain one."""


@dataclass(frozen=True)
class Component:
    """One registered class or function."""

    kind: str
    """One of `KINDS`."""
    name: str
    """What an option file writes as ``type`` (models: ``model_type``); extractors also ``basicsr extract``."""
    target: Any
    """The class, or the function of a metric."""

    @property
    def file(self) -> str:
        """Source file, '' for something that has none."""
        try:
            return inspect.getsourcefile(inspect.unwrap(self.target)) or ''
        except TypeError:
            return ''

    @property
    def summary(self) -> str:
        """First line of its own docstring, '' without one."""
        text = inspect.cleandoc(self.target.__doc__ or '').strip()
        return text.splitlines()[0].strip() if text else ''


def components(kind: str) -> dict[str, Component]:
    """All components of one of the `KINDS`, sorted by name."""
    found: dict[str, Component] = {}
    for name, target in _registry(kind):
        plain = name.removesuffix(_SUFFIX)
        # a component of the plain name hides the one with the suffix, as in Registry.get
        if plain == name or plain not in found:
            found[plain] = Component(kind, plain, target)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def find(kind: str, name: Any) -> Component | None:
    """The component of that kind and name, or None."""
    return components(kind).get(name) if isinstance(name, str) else None


def better_of(metric: Component) -> str:
    """Which value of a metric is the better one where the option file does not say: 'higher' or 'lower'.

    A metric says it by the default of its argument ``better``; BasicSR's own have none, and NIQE is a distance.
    """
    try:
        parameter = inspect.signature(metric.target).parameters.get('better')
    except (TypeError, ValueError):
        parameter = None
    if parameter is not None and parameter.default in ('higher', 'lower'):
        return str(parameter.default)
    return 'lower' if metric.name == 'calculate_niqe' else 'higher'


def _registry(kind: str) -> Iterable[tuple[str, Any]]:
    if kind == 'extractor':
        from ..extractors import EXTRACTOR_REGISTRY

        return EXTRACTOR_REGISTRY
    # importing these packages is what registers BasicSR's own components
    import basicsr.archs
    import basicsr.data
    import basicsr.losses
    import basicsr.metrics
    import basicsr.models  # noqa: F401
    from basicsr.utils import registry

    return getattr(registry, f'{kind.upper()}_REGISTRY')
