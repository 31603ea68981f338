"""What the class of a model or a data set says about its sections, and how reliable that is.

A class of ours says everything, and so does one of BasicSR's own, for which we say it. A class of somebody else's may
read keys that are not known here: what it inherits from one of the former is known, the rest is not checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from . import sections
from .components import Component, better_of
from .section import Section
from .signatures import Arguments, arguments_of, package_of

LOOPS: dict[str, type[Section]] = {'top': sections.TopOptions, 'train': sections.TrainOptions}
LOOPS |= {'val': sections.ValOptions, 'path': sections.PathOptions, 'dataset': sections.LoaderOptions}
"""Section -> the keys that the loops read."""


@dataclass(frozen=True)
class Declared:
    """The keys of one section."""

    options: type[Section]
    """All keys that are known, those of the loops included."""
    owner: str
    """Class that reads them, for messages."""
    unknown: str
    """What an unknown key is: ``error`` (a class of ours), ``warning`` (BasicSR's), ``its own`` (a class of somebody
    else's, which may read it), ``taken`` by ``**kwargs``."""
    sure: type[Section]
    """Those of the keys that are certain: a class of somebody else's may not need what its base in BasicSR reads."""


def declared(cls: type | None, section: str) -> Declared:
    """The keys of a section of the option file.

    Args:
        cls: Class of the model; of the data set for section ``dataset``; None for one that is not known.
        section: A key of `LOOPS`.
    """
    loop, package = LOOPS[section], package_of(cls)
    unknown = {'basicsr_semantic': 'error', 'basicsr': 'warning'}.get(package, 'its own')
    for base in cls.__mro__ if cls is not None else ():
        options = vars(base).get('Options' if section == 'dataset' else f'{section.capitalize()}Options')
        if isinstance(options, type) and issubclass(options, Section):
            inherited = package_of(base) == 'basicsr' != package
            return Declared(options, str(getattr(cls, '__name__', '')), unknown, loop if inherited else options)
    return Declared(loop, getattr(cls, '__name__', 'The option file'), 'its own', loop)


def metric_arguments(metric: Component) -> type[Arguments]:
    """The keys of a metric's section: the arguments that the validation does not give."""
    own = arguments_of(metric.target, frozenset(('img', 'img2', 'previous', 'previous2')))
    result = with_options(own, sections.MetricOptions)
    result.model_fields['better'].default = better_of(metric)
    return result


def with_options(own: type[Arguments], options: type[Section] | None, needs: bool = True) -> type[Arguments]:
    """The arguments of a callable, whether or not it ``needs`` them, and the keys that a model reads there too."""
    if options is None:
        return own
    bases: Any = (options, own)
    result = cast(type[Arguments], type(own.__name__, bases, {'__module__': own.__module__}))
    result.takes_more = own.takes_more
    for name in () if needs else own.model_fields:
        if result.model_fields[name].is_required():
            result.model_fields[name].default = None
    return result
