"""MMEngine's registries under the scope ``basicsr_semantic``, filled from BasicSR's.

A component that is registered in BasicSR's way, by this package, a plugin or a project, is found here by its name
without being registered again, also one that comes later.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry

from ..config.components import Component, components
from ..config.files import shipped_meta_info
from ..utils.errors import UserError

SCOPE = 'basicsr_semantic'

Adapt = Callable[[Component], Any]


class MirroredRegistry(Registry):
    """A registry of MMEngine's under our scope that also finds what BasicSR's registries hold.

    Args:
        name: Of the registry in `mmengine.registry` whose child it is.
        kinds: Kinds of components that it mirrors, see :data:`..config.components.KINDS`.
        adapt: Makes of a component what MMEngine calls with the keys of a configuration.

    Raises:
        UserError: Another package has the scope already.
    """

    def __init__(self, name: str, kinds: Sequence[str] = (), adapt: Adapt = lambda component: component.target) -> None:
        parent = getattr(root, name)
        if SCOPE in parent.children:
            raise UserError(
                f'Another package has registered the scope {SCOPE} in mmengine.registry.{name}, so the names of this '
                'one would be its. Import one of the two.'
            )
        self._kinds, self._adapt = tuple(kinds), adapt
        super().__init__(parent.name, build_func=parent.build_func, parent=parent, scope=SCOPE)

    def import_from_location(self) -> None:
        """Look for what has been registered since; MMEngine calls it before each search."""
        for kind in self._kinds:
            for name, component in components(kind).items():
                if name not in self._module_dict:
                    self._module_dict[name] = self._adapt(component)


def from_options(build: Callable[[dict[str, Any]], Any], component: Component) -> Any:
    """What MMEngine calls with keys, for what takes one dict of options.

    Args:
        build: Called with the options, ``type`` among them.
        component: What it builds.
    """

    @functools.wraps(component.target, updated=())
    def made(**options: Any) -> Any:
        return build({'type': component.name, **options})

    return made


def _model_part(component: Component) -> Any:
    if component.kind != 'extractor':
        return component.target
    from ..extractors import build_extractor

    return from_options(lambda options: build_extractor(options.pop('type'), **options), component)


def _dataset(component: Component) -> Any:
    def build(options: dict[str, Any]) -> Any:
        listed = options.get('meta_info_file')
        if isinstance(listed, str):  # lists that come with this package are named as BasicSR's checkout has them
            options['meta_info_file'] = shipped_meta_info(listed) or listed
        return component.target(options)

    return from_options(build, component)


def _metric(component: Component) -> Any:
    from .metrics import FrameMetric

    @functools.wraps(component.target, updated=())
    def made(**options: Any) -> FrameMetric:
        return FrameMetric(component.name, **options)

    return made


MODELS = MirroredRegistry('MODELS', ('arch', 'loss', 'extractor'), _model_part)
DATASETS = MirroredRegistry('DATASETS', ('dataset',), _dataset)
METRICS = MirroredRegistry('METRICS', ('metric',), _metric)
HOOKS = MirroredRegistry('HOOKS')
LOOPS = MirroredRegistry('LOOPS')
FUNCTIONS = MirroredRegistry('FUNCTIONS')
DATA_SAMPLERS = MirroredRegistry('DATA_SAMPLERS')
PARAM_SCHEDULERS = MirroredRegistry('PARAM_SCHEDULERS')
OPTIM_WRAPPER_CONSTRUCTORS = MirroredRegistry('OPTIM_WRAPPER_CONSTRUCTORS')
