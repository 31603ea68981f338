"""An option file against what it configures: every problem at once, with its line, before anything runs."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any, cast, get_args

import torch
from pydantic import ValidationError

from ..utils.errors import MissingError, UserError, shown
from ..utils.nearest import nearest
from ..utils.signatures import wrong_signature
from . import sections
from .components import KINDS, components, find
from .declared import Declared, declared, metric_arguments, with_options
from .files import missing_files, shipped_meta_info
from .option_file import KeyPath, OptionFile
from .problems import Problem, problem_of
from .section import Built, NeededInTraining, Section, subsection, wrong_values
from .signatures import arguments_of, package_of

_VERY_NEAR = 0.85
"""Similarity of names from which a key that may be unknown is taken for a misspelling."""
_ONE_LETTER = 0.95
"""The same where the right name is present as well: one letter of a long name."""
GIVEN = {'extractor': {'device'}, 'optimiser': {'params'}, 'schedule': {'optimizer', 'last_epoch'}}
GIVEN |= {'io_backend': {'db_paths', 'client_keys'}}
"""Arguments that an option file does not contain."""
_PARTS: list[tuple[str, str | None, type[Section]]] = [('logger', None, sections.LoggerOptions)]
_PARTS += [('wandb', 'logger', sections.WandbOptions), ('dist_params', None, sections.DistOptions)]


@dataclass
class Checked:
    """The outcome of a check."""

    problems: list[Problem]
    values: dict[str, Any]
    """The options with their values as declared: tuples, floats, defaults of the loops."""
    classes: dict[KeyPath, Any]
    """What is built of each section: path -> class, for those sections that are in order."""

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop a run, apart from missing files."""
        return [one for one in self.problems if not one.warning and not one.missing_file]


def check_options(file: OptionFile, is_train: bool) -> Checked:
    """Find everything that is wrong with the options of a file, without building anything.

    Plugins must have been loaded.

    Args:
        file: The options, with overrides applied; left as it is.
        is_train: Whether the options are for training (else for a test).
    """
    return _Checker(file, is_train).run()


class _Checker:
    def __init__(self, file: OptionFile, is_train: bool) -> None:
        self.file, self.is_train, self.opt = file, is_train, deepcopy(file.values)
        self.found: list[Problem] = []
        self.classes: dict[KeyPath, Any] = {}
        self.homes: dict[str, str] = {}
        """Key -> section it belongs to, to help with a key in the wrong one."""

    def run(self) -> Checked:
        opt = self.opt
        model = self.component('model', (), opt, 'model_type')
        known = {name: declared(model, name) for name in ('train', 'val', 'path', 'top')}
        for name in known:
            where = 'the top level' if name == 'top' else f'section {name}'
            self.homes |= dict.fromkeys(known[name].options.model_fields, where)
        self.homes |= dict.fromkeys(sections.LoggerOptions.model_fields, 'section logger')
        if model is not None and self.is_train and (wrong := wrong_signature(model)) is not None:
            self.add(('model_type',), wrong, warning=True)  # the training script of its own project can
        self.top(known['top'])
        self.datasets(opt.get('datasets'))
        self.names_of_tests(opt.get('datasets'), package_of(model) != 'basicsr_semantic')
        for name in ('train', 'val', 'path') if self.is_train else ('val', 'path'):
            if opt.get(name) is not None:
                self.keys((name,), opt[name], known[name], sections.PREPARED if name == 'path' else ())
        if self.is_train and isinstance(opt.get('train'), dict):
            self.parts_of_train(opt['train'], model)
        for name, metric in subsection(subsection(opt, 'val'), 'metrics').items():
            self.built(('val', 'metrics', str(name)), metric, Built('metric'))
        unknown = 'error' if known['top'].unknown == 'error' else 'warning'
        for name, parent, options in _PARTS if self.is_train else _PARTS[2:]:
            section = opt.get(name) if parent is None else subsection(opt, parent).get(name)
            if section is not None:
                path = (name,) if parent is None else (parent, name)
                self.keys(path, section, Declared(options, name, unknown, options))
        if hasattr(model, 'problems'):
            for keys, said in cast(Any, model).problems(opt, self.is_train):
                self.add(keys, said)
        said = {one.key for one in self.found}
        for path, message in wrong_numbers(self.file.values):
            if ':'.join(path) not in said:
                self.add(path, message)
        once = {str(one): one for one in self.found}
        ordered = sorted(once.values(), key=lambda p: (p.line is None, p.line or 0))
        return Checked(ordered, opt, self.classes)

    def add(
        self,
        path: KeyPath,
        message: str | UserError,
        advice: str = '',
        missing_file: bool = False,
        warning: bool = False,
    ):
        """Add a problem with the key at ``path``, which need not exist."""
        self.found.append(problem_of(self.file, path, message, advice, missing_file, warning))

    def is_section(self, path: KeyPath, value: Any) -> bool:
        """Whether ``value`` is a section; a problem if it is something else."""
        if not isinstance(value, Mapping) and all(problem.key != ':'.join(path) for problem in self.found):
            self.add(path, f'A section of keys is expected, but it is {shown(value)}.')
        return isinstance(value, Mapping)

    def component(self, kind: str, path: KeyPath, section: Mapping[str, Any], key: str = 'type') -> Any:
        """What a section names; a problem and None if it names nothing that is there."""
        name, listing = section.get(key), OTHERS.get(kind)
        known: Any = listing() if listing else components(kind)
        if isinstance(name, str) and name in known:
            return known[name] if listing else known[name].target
        path, near = (*path, key), nearest(name, known)
        if name is None:
            self.add(path, f"The key '{key}' is missing: the name of {_a(kind)}.")
        elif listing:
            advice = f'Did you mean {near}?' if near else f'There are: {", ".join(known)}.'
            self.add(path, f'{shown(name)} is not {_a(kind)}.', advice)
        else:
            others = [other for other in KINDS if other != kind and find(other, name)]
            message = f'No {kind} is registered as {shown(name)}; {_a(kind)} is needed here.'
            advice = f'{name} is {_a(others[0])}.' if others else f'Did you mean {near}?' if near else ''
            self.add(path, message if advice else MissingError(message, 'component', kind=kind), advice)
        return None

    def keys(self, path: KeyPath, section: Any, known: Declared, given: Iterable[str] = ()) -> bool:
        """Check the keys and values of a section and put the declared values in their place.

        Args:
            path: Where the section is.
            section: The section.
            known: The keys it may hold.
            given: Keys that somebody else sets.

        Returns:
            Whether the section is in order.
        """
        if not self.is_section(path, section):
            return False
        before, options, fields = len(self.found), known.options, known.options.model_fields
        meant = self.strangers(path, [key for key in section if key not in {*fields, *given}], known)
        for below, message, advice in wrong_values(options, section):
            if below or known.sure is options:  # a subclass may have other rules about several keys together
                doubtful = bool(below) and below[0] not in known.sure.model_fields
                self.add((*path, *below), message, advice, warning=doubtful)
        training = self.is_train and (path[:1] != ('datasets',) or section.get('phase') == 'train')
        for key, one in fields.items():
            marked = training and any(isinstance(mark, NeededInTraining) for mark in one.metadata)
            lacks = key not in section if one.is_required() else marked and section.get(key) is None
            if lacks and key in known.sure.model_fields and key not in {*given, *meant}:
                said = f"The key '{key}', which {known.owner} needs, is missing."
                self.add((*path, key), f'{said} {one.description or ""}'.strip())
            mark = next((mark for mark in marks(one) if isinstance(mark, Built)), None)
            # an optimiser is checked with the parts of train: a model may make its own
            if mark is not None and mark.kind != 'optimiser' and isinstance(section.get(key), Mapping):
                self.built((*path, key), section[key], mark)
        for key, message in missing_files(path, section, options):  # a list that may not be read stops no run
            doubtful = key not in fields and path[:1] == ('datasets',) and not key.startswith('dataroot')
            self.add((*path, key), message, missing_file=message.endswith('exist.'), warning=doubtful)
        in_order = all(problem.warning or problem.missing_file for problem in self.found[before:])
        if in_order:
            _put_values(section, options)
        return in_order

    def strangers(self, path: KeyPath, keys: list[Any], known: Declared) -> set[str]:
        """Report keys that are not known; returns the names that errors say were meant."""
        meant, left, present = set(), [], self.file.value(path) if path else self.opt
        names, strict, here = [*known.options.model_fields], known.unknown == 'error', f'section {":".join(path)}'
        for key in map(str, keys):
            # a name that is present as well is not what was meant, at least where the key does no harm
            free = [name for name in names if strict or name not in present]
            very_near = nearest(key, free, _VERY_NEAR) or nearest(key, names, _ONE_LETTER)
            near = very_near if known.unknown in ('its own', 'taken') else nearest(key, free)
            if known.unknown in ('its own', 'taken') and near is None:
                left.append(key)
                continue
            advice = f'It has: {", ".join(names)}.' if 0 < len(names) <= 12 else ''
            if self.homes.get(key, here) != here and very_near is None:
                advice = f'It belongs into {self.homes[key]}.'
            elif near:
                advice = f'Did you mean {near}?'
                meant |= {near} if strict else set()
            elif owners := models_with(path[0] if len(path) == 1 else '', key):
                advice = f'It is a key of {" and ".join(owners)} (model_type).'
            message = f"{known.owner} has no key '{key}' (its value here is {shown(self.file.value((*path, key)))})."
            self.add((*path, key), message, advice, warning=not strict)
        if left and known.unknown == 'its own':
            what = f'The key {left[0]} is' if len(left) == 1 else f'The keys {", ".join(left)} are'
            message = f'{what} not known here; {known.owner} may read more than it declares.'
            self.add((*path, left[0]), message, warning=True)
        return meant

    def top(self, known: Declared) -> None:
        given = sections.PREPARED | {'model_type'}
        if known.owner == 'The option file':  # neither the model nor its keys are known
            given = given | set(self.opt)
        if not self.is_train:
            given = given | {'train', 'logger'}  # what a training file had; nothing reads it
        networks = {key for key in self.opt if str(key).startswith('network_')} - known.options.model_fields.keys()
        self.keys((), self.opt, known, given | networks)
        for name in [name for name in ('train', 'logger') if self.is_train and self.opt.get(name) is None]:
            self.add((name,), f"The section '{name}', which a training needs, is missing.")
        for key in networks:
            self.built((key,), self.opt[key], Built('arch'))

    def built(self, path: KeyPath, section: Any, mark: Built) -> None:
        """Check a section of which something is built."""
        if not self.is_section(path, section):
            return
        named = mark.kind in (*KINDS, *OTHERS)
        target = self.component(mark.kind, path, section) if named else mark.target
        unfit = target.not_for_models() if target is not None and mark.kind == 'extractor' else None
        if unfit is not None:
            fit = [name for name, one in components('extractor').items() if one.target.not_for_models() is None]
            self.add((*path, 'type'), unfit, f'There are: {", ".join(fit)}.')
        elif mark.kind == 'optimiser' and target is not None and section.get('lr') is None:
            message = f"The key 'lr', which {target.__name__} needs, is missing."  # BasicSR hands it on by name
            self.add((*path, 'lr'), message, 'It is the learning rate.')
        elif target is not None:
            own = arguments_of(target, frozenset(GIVEN.get(mark.kind, ())))
            metric = find('metric', section['type']) if mark.kind == 'metric' else None
            taken = metric_arguments(metric) if metric else with_options(own, mark.options, mark.kind != 'extractor')
            owner = path[-1] if mark.options is not None else getattr(target, '__name__', path[-1])
            given = {'type'} if named else ()
            known = Declared(taken, owner, 'taken' if taken.takes_more else 'error', taken)
            if self.keys(path, section, known, given) and mark.kind in _BUILT:
                self.classes[path] = target

    def datasets(self, datasets: Any) -> None:
        if datasets is None or not self.is_section(('datasets',), datasets):
            return
        if self.is_train and 'train' not in datasets:
            self.add(('datasets', 'train'), 'The data set to train on, datasets:train, is missing.')
        elif not datasets:
            self.add(('datasets',), 'There is no data set to test on.', 'Add a section datasets:test_1.')
        for name, dataset in datasets.items():
            path, phase = ('datasets', str(name)), str(name).split('_')[0]
            if phase not in ('train', 'val', 'test'):
                phase = nearest(phase, ('train', 'val', 'test')) or ('train' if self.is_train else 'test')
                message = 'Data sets are called train, val or test, the last two also val_1, test_2, ....'
                self.add(path, message, f'Say {phase}.')
            if not self.is_section(path, dataset):
                continue
            found = self.component('dataset', path, dataset)
            dataset['phase'] = phase
            if isinstance(self.opt.get('scale'), int) and not any(one.key == 'scale' for one in self.found):
                dataset['scale'] = self.opt['scale']
            for key, value in dataset.items():
                if isinstance(value, str) and (ours := shipped_meta_info(value)) is not None:
                    dataset[key] = str(ours)
            given = {'type'} | ({'scale'} if 'scale' in self.opt else set())
            if self.keys(path, dataset, declared(found, 'dataset'), given) and found is not None:
                self.classes[path] = found

    def names_of_tests(self, datasets: Any, foreign: bool) -> None:
        """Figures and pictures of a test go by the name of its data set; of two with one name the first are lost."""
        first: dict[str, str] = {}
        for key, dataset in datasets.items() if isinstance(datasets, Mapping) else ():
            phase, name = str(key).split('_')[0], dataset.get('name') if isinstance(dataset, Mapping) else None
            if phase == ('val' if self.is_train else 'test') and isinstance(name, str):
                if name in first:
                    message = f'datasets:{first[name]} is called {shown(name)}, too; its results would be replaced.'
                    self.add(('datasets', str(key), 'name'), message, 'Give it another name.', warning=foreign)
                first.setdefault(name, str(key))

    def parts_of_train(self, train: Mapping[str, Any], model: type | None) -> None:
        """Losses, optimisers and the schedule."""
        from basicsr.models.base_model import BaseModel as Base

        foreign = package_of(model) not in ('basicsr', 'basicsr_semantic')
        own = {name for name in ('get_optimizer', 'setup_schedulers') if hasattr(model, name)}
        own = {name for name in own if getattr(model, name) is not getattr(Base, name)}
        fields = declared(model, 'train').options.model_fields
        for name, value in train.items():
            path, name = ('train', str(name)), str(name)
            if name.startswith('optim_') and 'get_optimizer' not in own:
                kind = 'optimiser'
            elif name == 'scheduler' and 'setup_schedulers' not in own:
                kind, length = 'schedule', 0
                if subsection(train, name).get('type') == 'CosineAnnealingRestartLR':
                    with contextlib.suppress(KeyError, TypeError):  # which is reported elsewhere
                        length = sum(value['periods'])
                if isinstance(total := train.get('total_iter'), int | float) and 0 < length < total:
                    message = f'They add up to {length:g}, but train:total_iter is {total:g}'
                    # BasicSR's cosine schedule ends the run with an exception there
                    self.add(
                        (*path, 'periods'), f'{message}; after that there is no learning rate.', 'Make them equal.'
                    )
            elif name.endswith('_opt') and (not foreign or 'type' in subsection(train, name)):
                kind = 'loss'
                if foreign and find('loss', value['type']) is None:
                    message = f'No loss is registered as {shown(value["type"])}.'
                    self.add((*path, 'type'), message, warning=True)
                    continue
            else:
                continue
            if value is not None:
                found = marks(fields[name]) if name in fields else ()
                self.built(path, value, next((mark for mark in found if isinstance(mark, Built)), Built(kind)))


def models_with(section: str, key: str) -> list[str]:
    """Models of ours that have a key in that section, for an option file that names another model."""
    if section not in ('train', 'val', 'path'):
        return []
    ours = {
        name: one.target for name, one in components('model').items() if package_of(one.target) == 'basicsr_semantic'
    }
    return [name for name, cls in ours.items() if key in declared(cls, section).options.model_fields]


def wrong_numbers(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Refuse numbers that nothing can compute with: NaN, or beyond 64 bits; networks may take infinity."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from wrong_numbers(one, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from ((path, message) for _, message in wrong_numbers(one, path))
    elif isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value) or not path[:1] or not path[0].startswith('network_'):
            yield path, f'A finite number is expected, but it is {value}.'
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield path, f'A number of at most 64 bits is expected, but it is {shown(value)}.'


_BUILT = ('arch', 'loss', 'optimiser', 'schedule')
"""Kinds of which `check_building` builds one; the others need files or devices."""


@cache
def optimizers() -> dict[str, type]:
    """The optimisers of torch, by name."""
    base = torch.optim.Optimizer
    known = {k: c for k, c in vars(torch.optim).items() if inspect.isclass(c) and issubclass(c, base) and c is not base}
    return {name: known[name] for name in sorted(known)}


def schedules() -> dict[str, type]:
    """The learning-rate schedules that BasicSR's models can build, by name."""
    from basicsr.models import lr_scheduler

    both = (lr_scheduler.MultiStepRestartLR, lr_scheduler.CosineAnnealingRestartLR)
    return {'MultiStepLR': both[0]} | {cls.__name__: cls for cls in both}


def backends() -> dict[str, type]:
    """What BasicSR can read files by, by name."""
    from basicsr.utils.file_client import FileClient

    return dict(FileClient._backends)


OTHERS: dict[str, Callable[[], dict[str, type]]] = {'optimiser': optimizers, 'schedule': schedules}
OTHERS |= {'io_backend': backends}
"""What a ``type`` may name apart from what is registered."""


def marks(one: Any) -> list[Any]:
    """Marks of a field, including those inside a union."""
    return [*one.metadata, *(mark for part in get_args(one.annotation) for mark in getattr(part, '__metadata__', ()))]


def _put_values(section: dict[str, Any], options: type[Section]) -> None:
    """Replace values by the declared ones, and fill in the defaults of what a loop reads."""
    for cls in options.__mro__:  # only what is certain, for a class that may read less
        known = {key: value for key, value in section.items() if key in getattr(cls, 'model_fields', ())}
        with contextlib.suppress(ValidationError, AttributeError):
            typed = cast(Any, cls).model_validate(known)
            section.update({key: getattr(typed, key) for key in known if not _has_keys(known[key])})
            break
    for loop in {sections.ValOptions, sections.LoaderOptions, sections.LoggerOptions}.intersection(options.__mro__):
        for key in loop.model_fields.keys() - {'phase', 'scale', 'io_backend'}:
            if not (one := options.model_fields[key]).is_required():
                section.setdefault(key, one.default)


def _has_keys(value: Any) -> bool:
    """Whether a value is a section or a list of some, which stay what the file has."""
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(one, Mapping) for one in value))


def _a(kind: str) -> str:
    """'an arch', 'a model'."""
    return f'{"an" if kind[0] in "aeiou" else "a"} {kind}'
