"""An option file against what it configures: every problem at once, with its line, before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from pydantic import ValidationError

from ..utils.errors import full_stop
from ..utils.nearest import nearest
from . import sections
from .components import KINDS, components, find
from .declared import LOOPS, Declared, declared, metric_arguments, with_options
from .files import check_dataset_files, check_weight_files, shipped_meta_info
from .option_file import KeyPath, OptionFile
from .problems import Problem
from .section import Built, NeededInTraining, Section, shown, wrong_values
from .signatures import Arguments, arguments_of, package_of, wrong_signature

_VERY_NEAR = 0.85
"""Similarity of names from which a key that nobody may know of is taken for a slip of the pen."""


@dataclass
class Checked:
    """The outcome of a check."""

    problems: list[Problem] = field(default_factory=list)
    """In the order of the lines."""
    values: dict[str, Any] = field(default_factory=dict)
    """The options with their values as declared: tuples, floats, defaults of the loops."""
    classes: dict[KeyPath, Any] = field(default_factory=dict)
    """What each section names: path -> class or function, for those whose section is in order."""

    @property
    def errors(self) -> list[Problem]:
        """The problems that a run does not survive, missing files aside."""
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
        self.file, self.is_train = file, is_train
        self.found: list[Problem] = []
        self.opt: dict[str, Any] = _copy(file.values)
        self.classes: dict[KeyPath, Any] = {}
        self.homes: dict[str, str] = {}
        """Key -> section it belongs to, to help with a key in the wrong one."""

    def run(self) -> Checked:
        opt = self.opt
        model = self.component('model', (), opt, 'model_type')
        known = {name: declared(model, name) for name in ('top', 'train', 'val', 'path')}
        for name, where in (('train', 'section train'), ('val', 'section val'), ('path', 'section path')):
            self.homes |= dict.fromkeys(known[name].options.model_fields, where)
        self.homes |= dict.fromkeys(sections.LoggerOptions.model_fields, 'section logger')
        self.homes |= dict.fromkeys(sections.TopOptions.model_fields, 'the top level')
        self.top(known['top'])
        if model is not None and self.is_train and (wrong := wrong_signature(model)) is not None:
            self.add(('model_type',), wrong)
        for key in [
            key for key in opt if str(key).startswith('network_') and key not in known['top'].options.model_fields
        ]:
            self.built((str(key),), opt[key], Built('arch'))
        self.datasets(opt.get('datasets'))
        self.files(('path',), opt.get('path'))
        for name in ('train', 'val', 'path'):
            if (name != 'train' or self.is_train) and opt.get(name) is not None:
                self.declared((name,), opt[name], known[name])
        if self.is_train and self.is_section(('train',), opt.get('train'), quiet=True):
            self.parts_of_train(opt['train'], model)
        if self.is_section(('val',), opt.get('val'), quiet=True):
            self.metrics(opt['val'].get('metrics'))
        strict = 'error' if known['top'].unknown == 'error' else 'warning'
        for path, options in _OF_THE_LOOPS.items():
            if (section := self.file.value(path)) is not None and (self.is_train or path[0] != 'logger'):
                self.keys(path, section if len(path) > 1 else opt[path[0]], options, path[-1], strict)
        if model is not None and hasattr(model, 'problems'):
            for keys, sentence in cast(Any, model).problems(opt, self.is_train):
                self.add(keys, sentence)
        once = {str(one): one for one in self.found}
        ordered = sorted(once.values(), key=lambda p: (p.line is None, p.line or 0))
        return Checked(ordered, opt, self.classes)

    # ------------------------------------------------------------------------------------------------------ problems

    def add(
        self, path: KeyPath, message: str, advice: str = '', *, missing_file: bool = False, warning: bool = False
    ) -> None:
        """Add a problem with the key at ``path``, which need not exist."""
        place, value = self.file.place(path), self.file.value(path)
        self.found.append(Problem(*place, ':'.join(path), value, message, advice, missing_file, warning))

    def is_section(self, path: KeyPath, value: Any, quiet: bool = False) -> bool:
        """Whether ``value`` is a section; a problem if it is something else."""
        said = quiet or any(problem.key == ':'.join(path) for problem in self.found)
        if not isinstance(value, Mapping) and not said:
            self.add(path, f'A section of keys is expected, but it is {shown(value)}.')
        return isinstance(value, Mapping)

    def component(self, kind: str, path: KeyPath, section: Mapping[str, Any], key: str = 'type') -> Any:
        """What a section names; a problem and None if it names nothing that is registered."""
        name = section.get(key)
        if name is None:
            self.add((*path, key), f"The key '{key}' is missing: the name of a registered {kind}.")
            return None
        if (found := find(kind, name)) is not None:
            return found.target
        others = [other for other in KINDS if other != kind and find(other, name)]
        near = nearest(name, components(kind))
        if others:
            advice = f'{name} is {_a(others[0])}.'
        elif near:
            advice = f'Did you mean {near}?'
        else:
            advice = f'"basicsr components --kind {kind}" lists all; --import brings in those of your own modules.'
        self.add((*path, key), f'No {kind} is registered as {shown(name)}; {_a(kind)} is needed here.', advice)
        return None

    # ---------------------------------------------------------------------------------------------------------- keys

    def declared(self, path: KeyPath, section: Any, known: Declared, given: Iterable[str] = ()) -> bool:
        """Check a section that a model or a data set class reads."""
        name = 'top' if not path else 'dataset' if path[0] == 'datasets' else path[0]
        return self.keys(path, section, known.options, known.owner, known.unknown, given, LOOPS[name], known.sure)

    def keys(
        self,
        path: KeyPath,
        section: Any,
        options: type[Section],
        owner: str,
        unknown: str = 'error',
        given: Iterable[str] = (),
        loop: type[Section] | None = None,
        sure: type[Section] | None = None,
    ) -> bool:
        """Check the keys and values of a section and put the declared values in their place.

        Args:
            path: Where the section is.
            section: The section.
            options: The keys it may hold.
            owner: Who reads them, for messages.
            unknown: See `Declared`; ``its own``: what only ``options`` know is no more than a hint.
            given: Keys that somebody else sets.
            loop: Those of ``options`` that a loop reads, whose defaults are filled in.
            sure: Those of ``options`` that are certain; about the others there are warnings only.

        Returns:
            Whether the section is in order.
        """
        if not self.is_section(path, section):
            return False
        before, certain = len(self.found), (sure or options).model_fields
        strangers = [k for k in section if k not in options.model_fields and k not in given]
        misspelt = self.strangers(path, strangers, options, owner, unknown)
        for below, message, advice in wrong_values(options, section):
            self.add((*path, *below), message, advice, warning=bool(below) and below[0] not in certain)
        training = self.is_train and (path[:1] != ('datasets',) or path[1].split('_')[0] == 'train')
        for key, one in options.model_fields.items():
            marked = training and any(isinstance(mark, NeededInTraining) for mark in one.metadata)
            lacks = key not in section if one.is_required() else marked and section.get(key) is None
            if key in certain and lacks and key not in {*given, *misspelt}:
                what = f' {one.description}' if one.description else ''
                self.add((*path, key), f"The key '{key}', which {owner} needs, is missing.{what}")
        if all(problem.warning for problem in self.found[before:]):
            _put_values(section, options, loop)
        return len(self.found) == before

    def strangers(self, path: KeyPath, keys: list[Any], options: type[Section], owner: str, unknown: str) -> set[str]:
        """Report keys that are not known; returns the names that errors say were meant."""
        meant, left = set(), []
        known, there = [*options.model_fields], self.file.value(path) if path else self.opt
        for key in map(str, keys):
            if not path and key.startswith('network_'):
                continue
            # a name that is there as well is not what was meant, at least where the key does no harm
            free = known if unknown == 'error' else [name for name in known if name not in there]
            very_near = nearest(key, free, _VERY_NEAR)
            near = very_near if unknown in ('its own', 'taken') else nearest(key, free)
            home = self.homes.get(key)
            if unknown in ('its own', 'taken') and near is None:
                left.append(key)
                continue
            message = f"{owner} has no key '{key}' (its value here is {shown(self.file.value((*path, key)))})."
            advice = ''
            if home and home != f'section {":".join(path)}' and very_near is None:
                advice = f'It belongs into {home}.'
            elif near:
                advice = f'Did you mean {near}?'
                meant |= {near} if unknown == 'error' else set()
            elif len(known) <= 12:
                advice = f'It has: {", ".join(known)}.'
            self.add((*path, key), message, advice, warning=unknown != 'error')
        if left and unknown == 'its own':
            what = f'The key {left[0]} is' if len(left) == 1 else f'The keys {", ".join(left)} are'
            self.add(
                (*path, left[0]), f'{what} not known here; whether {owner} reads them cannot be told.', warning=True
            )
        return meant

    # ------------------------------------------------------------------------------------------------------ sections

    def top(self, known: Declared) -> None:
        prepared = sections.PREPARED['top']
        if known.owner == 'The option file':  # the model is not known, nor are its keys
            prepared = prepared | set(self.opt)
        needed = {'train', 'logger'} if self.is_train else set()
        if not self.is_train:
            prepared = prepared | {'train', 'logger'}  # what a training file had; nothing reads it
        self.declared((), self.opt, known, prepared | {'model_type'})
        for name in needed - self.opt.keys():
            self.add((name,), f"The section '{name}', which a training needs, is missing.")
        for key, one in known.options.model_fields.items():
            mark = next((mark for mark in marks(one) if isinstance(mark, Built)), None)
            if mark is not None and isinstance(self.opt.get(key), Mapping):
                self.built((key,), self.opt[key], mark)

    def built(self, path: KeyPath, section: Any, mark: Built) -> None:
        """Check a section of which something is built."""
        if not self.is_section(path, section):
            return
        target = mark.target
        if mark.kind in KINDS:
            target = self.component(mark.kind, path, section)
            if target is not None and mark.kind == 'extractor' and not hasattr(target, 'describe'):
                fit = [name for name, one in components('extractor').items() if hasattr(one.target, 'describe')]
                self.add((*path, 'type'), f'{section["type"]} gives no tokens.', f'There are: {", ".join(fit)}.')
                target = None
        if target is not None:
            without = frozenset({'device'}) if mark.kind == 'extractor' else frozenset()
            taken = with_options(arguments_of(target, without), mark.options)
            owner = path[-1] if mark.options is not None else getattr(target, '__name__', path[-1])
            if mark.kind == 'extractor':
                _let_out(taken)  # not every mode needs all files
            if (
                self.arguments(path, section, taken, owner, {'type'} if mark.kind in KINDS else ())
                and mark.kind == 'arch'
            ):
                self.classes[path] = target
            if mark.kind == 'extractor':
                self.extractor(path, section, target)
        self.files(path, section)

    def extractor(self, path: KeyPath, section: Mapping[str, Any], target: Any) -> None:
        """What a mode that runs the extractor cannot do without."""
        online = str(section.get('extract_mode', 'cached')).startswith('online')
        for key, what in {'checkpoint': 'weights', 'text_embeddings': 'text embeddings'}.items():
            if online and key in inspect.signature(target).parameters and section.get(key) is None:
                said = f'extract_mode: {section["extract_mode"]} needs the {what} of {section["type"]}.'
                self.add((*path, key), said)

    def arguments(
        self, path: KeyPath, section: Any, taken: type[Arguments], owner: str, given: Iterable[str] = ('type',)
    ) -> bool:
        """Check a section that goes into a constructor or a function."""
        return self.keys(path, section, taken, owner, 'taken' if taken.takes_more else 'error', given)

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
                near = nearest(phase, ('train', 'val', 'test')) or ('train' if self.is_train else 'test')
                said = 'Data sets are called train, val or test, the last two also val_1, test_2, ....'
                self.add(path, said, f'Say {near}.')
                phase = near
            if not self.is_section(path, dataset):
                continue
            found = self.component('dataset', path, dataset)
            dataset['phase'] = phase
            given = {'type'} | ({'scale'} if 'scale' in self.opt else set())
            if isinstance(self.opt.get('scale'), int) and not any(one.key == 'scale' for one in self.found):
                dataset['scale'] = self.opt['scale']
            for key, value in dataset.items():
                if isinstance(value, str) and (ours := shipped_meta_info(value)) is not None:
                    dataset[key] = str(ours)
            if self.declared(path, dataset, declared(found, 'dataset'), given) and found is not None:
                self.classes[path] = found
            self.backend((*path, 'io_backend'), dataset.get('io_backend'))
            check_dataset_files(self.add, self.opt, path, dataset)

    def backend(self, path: KeyPath, backend: Any) -> None:
        from basicsr.utils.file_client import FileClient

        if not isinstance(backend, Mapping):
            return
        types, name = FileClient._backends, backend.get('type')
        if name is None:
            self.add((*path, 'type'), "The key 'type' is missing.", f'There are: {", ".join(types)}.')
        elif not isinstance(name, str) or name not in types:
            near = nearest(name, types)
            said = f'It is {shown(name)}, but must be one of {", ".join(types)}.'
            self.add((*path, 'type'), said, f'Did you mean {near}?' if near else '')
        else:
            self.arguments(path, backend, arguments_of(types[name]), f'io_backend {name}', _GIVEN_TO_BACKENDS)

    def parts_of_train(self, train: Mapping[str, Any], model: type | None) -> None:
        """Losses, optimisers and the schedule."""
        from basicsr.models.base_model import BaseModel

        own = package_of(model) not in ('basicsr', 'basicsr_semantic')
        for name, value in train.items():
            path, name = ('train', str(name)), str(name)
            is_loss = name.endswith('_opt') and (not own or (isinstance(value, Mapping) and 'type' in value))
            if value is None or not (name.startswith('optim_') or name == 'scheduler' or is_loss):
                continue
            if not self.is_section(path, value):
                continue
            if name.startswith('optim_'):
                if getattr(model, 'get_optimizer', BaseModel.get_optimizer) is BaseModel.get_optimizer:
                    self.by_type(path, value, optimizers(), 'optimiser')
            elif name == 'scheduler':
                if getattr(model, 'setup_schedulers', BaseModel.setup_schedulers) is BaseModel.setup_schedulers:
                    self.by_type(path, value, schedules(), 'learning-rate schedule')
                self.periods(train, value)
            elif own and find('loss', value.get('type')) is None:
                self.add((*path, 'type'), f'No loss is registered as {shown(value.get("type"))}.', warning=True)
            elif (loss := self.component('loss', path, value)) is not None:
                if self.arguments(path, value, arguments_of(loss), loss.__name__):
                    self.classes[path] = loss

    def periods(self, train: Mapping[str, Any], schedule: Mapping[str, Any]) -> None:
        """BasicSR's cosine schedule has no learning rate beyond its periods and ends the run with an exception."""
        periods, length = schedule.get('periods'), train.get('total_iter')
        if schedule.get('type') != 'CosineAnnealingRestartLR' or not isinstance(periods, list):
            return
        if all(isinstance(n, int | float) for n in (*periods, length)) and sum(periods) < cast(int, length):
            said = f'They add up to {sum(periods):g}, but train:total_iter is {length:g}; there is no learning rate beyond.'
            self.add(('train', 'scheduler', 'periods'), said, 'Make them as long.')

    def by_type(self, path: KeyPath, section: Any, types: Mapping[str, type], what: str) -> None:
        """Check a section against the class it names, then what the class itself says about the values."""
        name = section.get('type')
        if not isinstance(name, str) or name not in types:
            if name is None:
                said, near = f"The key 'type', the {what}, is missing.", None
            else:
                said, near = f'{shown(name)} is no {what} that this model can build.', nearest(name, types)
            self.add((*path, 'type'), said, f'Did you mean {near}?' if near else f'There are: {", ".join(types)}.')
            return
        taken = arguments_of(types[name], frozenset({'params', 'optimizer', 'last_epoch'}))
        if what == 'optimiser' and 'lr' not in section:  # BasicSR hands it on by name
            self.add((*path, 'lr'), f"The key 'lr', which {name} needs, is missing. It is the learning rate.")
        elif self.arguments(path, section, taken, types[name].__name__):
            self.trial(path, types[name], {key: value for key, value in section.items() if key != 'type'})

    def trial(self, path: KeyPath, cls: type, arguments: dict[str, Any]) -> None:
        """Build an optimiser or schedule for one dummy parameter: what it refuses, it says."""
        import torch

        parameter = torch.nn.Parameter(torch.zeros(1))
        first = [parameter] if issubclass(cls, torch.optim.Optimizer) else torch.optim.SGD([parameter], lr=1.0)
        if {'fused', 'capturable', 'foreach'} & arguments.keys():
            return  # whether these work depends on the device of the run
        try:
            cls(first, **arguments)
        except (ValueError, TypeError, AssertionError) as error:
            self.add(path, f'{cls.__name__} refuses these values: {full_stop(error)}')

    def metrics(self, metrics: Any) -> None:
        for name, metric in metrics.items() if isinstance(metrics, Mapping) else ():
            path = ('val', 'metrics', str(name))
            if not self.is_section(path, metric) or self.component('metric', path, metric) is None:
                continue
            found = find('metric', metric['type'])
            assert found is not None
            taken = metric_arguments(found)
            self.keys(path, metric, taken, found.name, 'taken' if taken.takes_more else 'error')
            self.files(path, metric)
            if isinstance(flow := metric.get('flow'), Mapping):  # an arch, and the file with its weights
                arch = self.component('arch', (*path, 'flow'), flow)
                if arch is not None:
                    self.arguments((*path, 'flow'), flow, arguments_of(arch), arch.__name__, ('type', 'load_path'))
                self.files((*path, 'flow'), flow)

    def files(self, path: KeyPath, section: Any) -> None:
        if isinstance(section, Mapping):
            check_weight_files(self.add, self.file.file, path, section)


_OF_THE_LOOPS: dict[KeyPath, type[Section]] = {
    ('logger',): sections.LoggerOptions,
    ('logger', 'wandb'): sections.WandbOptions,
    ('dist_params',): sections.DistOptions,
}

_GIVEN_TO_BACKENDS = ('type', 'db_paths', 'client_keys')


def optimizers() -> dict[str, type]:
    """The optimisers of torch, by name."""
    import torch

    known = {name: cls for name, cls in vars(torch.optim).items() if inspect.isclass(cls)}
    base = torch.optim.Optimizer
    return {name: known[name] for name in sorted(known) if issubclass(known[name], base) and known[name] is not base}


def schedules() -> dict[str, type]:
    """The learning-rate schedules that BasicSR's models can build, by name."""
    from basicsr.models import lr_scheduler

    both = (lr_scheduler.MultiStepRestartLR, lr_scheduler.CosineAnnealingRestartLR)
    return {'MultiStepLR': both[0]} | {cls.__name__: cls for cls in both}


def _put_values(section: dict[str, Any], options: type[Section], loop: type[Section] | None) -> None:
    """Replace values by the declared ones, and fill in the defaults of what a loop reads."""
    for cls in options.__mro__:  # of a class that reads more than it must, what is certain
        if not (issubclass(cls, Section) and cls.model_fields):
            continue
        known = {key: value for key, value in section.items() if key in cls.model_fields}
        try:
            typed = cls.model_validate(known)
        except ValidationError:
            continue
        section.update({key: getattr(typed, key) for key in known if not isinstance(known[key], Mapping)})
        break
    if loop in (sections.ValOptions, sections.LoaderOptions, sections.LoggerOptions):
        for key, one in (loop.model_fields if loop is not None else {}).items():
            if key not in section and not one.is_required() and key not in ('phase', 'scale', 'io_backend'):
                section[key] = one.get_default(call_default_factory=True)


def marks(one: Any) -> list[Any]:
    """Marks of a field, those inside of a union included."""
    inner = [mark for part in get_args(one.annotation) for mark in getattr(part, '__metadata__', ())]
    return [*one.metadata, *inner]


def _let_out(taken: type[Arguments]) -> None:
    for one in taken.model_fields.values():
        if one.is_required() and one.annotation is not None:
            one.default = None


def _copy(value: Any) -> Any:
    """Plain containers, copied."""
    if isinstance(value, Mapping):
        return {key: _copy(one) for key, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list) else value


def _a(kind: str) -> str:
    """'an arch', 'a model'."""
    return f'{"an" if kind[0] in "aeiou" else "a"} {kind}'
