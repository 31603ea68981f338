"""Which option keys a class reads that takes all its options as one dict, as BasicSR's data sets and models do.

The sources of the class and its bases are read, not run: ``opt['k']``, ``opt.get('k', default)``, ``'k' in opt``,
``self.opt['val']['k']``, and the same through names (``train_opt = self.opt['train']``), attributes
(``self.io_backend_opt = opt['io_backend']``), and functions that are given the options or the object. Where options
go to code that cannot be read this way, the section counts as taken whole, and no key of it is ever called unknown.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from .keys import REQUIRED, Key, KeySet, argument_docs, module_of
from .reader import FOREIGN, Path, Reader, Reads
from .value_types import hint_from_default


def keys_read(cls: type, path: Path = (), entries: tuple[str, ...] = ('__init__',)) -> KeySet:
    """The keys that a class reads directly below a place in its options.

    Args:
        cls: A class whose constructor takes one dict.
        path: The place: () for the dict itself, ('train',) for a section.
        entries: Methods that always run, see `reads`.
    """
    found = reads(cls, entries)
    names = dict.fromkeys(p[len(path)] for p in found.defaults if len(p) > len(path) and p[: len(path)] == path)
    docs = argument_docs(cls, names)
    keys = {}
    for name in names:
        full = (*path, name)
        default = found.defaults.get(full, REQUIRED)
        hint = Any if default is REQUIRED else hint_from_default(default)
        needed = full in found.required and full not in found.optional
        keys[name] = Key(name, hint, needed, default, docs.get(name, ''))
    taken = any(path[: len(whole)] == whole for whole in found.whole)
    return KeySet(cls.__name__, keys, 'taken' if taken else 'refused')


@functools.lru_cache(maxsize=256)
def reads(cls: type, entries: tuple[str, ...] = ('__init__',)) -> Reads:
    """Find the keys that a class reads.

    Args:
        cls: A class whose constructor takes one dict.
        entries: Methods that always run; a key that one of them reads unconditionally is required.
    """
    result = Reads()
    attributes: dict[str, Path] = {}
    # attributes first, to a fixed point: a method may read through an attribute that a later one sets
    known = -1
    while known != len(attributes):
        known = len(attributes)
        for function, owner in _methods(cls):
            Reader(cls, owner, function, attributes, Reads()).run()
    for function, owner in _methods(cls):
        Reader(cls, owner, function, attributes, result).run()
    for entry in entries:
        owner = next((base for base in cls.__mro__ if entry in vars(base)), None)
        function = vars(owner).get(entry) if owner else None
        if isinstance(function, FunctionType) and module_of(owner) not in FOREIGN:
            Reader(cls, owner, function, attributes, result, always=True).run()
    return result


def _methods(cls: type) -> Iterator[tuple[FunctionType, type]]:
    for owner in cls.__mro__:
        if module_of(owner) in FOREIGN:
            continue
        for value in vars(owner).values():
            function = value.fget if isinstance(value, property) else getattr(value, '__func__', value)
            if isinstance(function, FunctionType):
                yield function, owner
