"""What can be called how: models that BasicSR's training loop cannot drive, and the arguments of constructors."""

from __future__ import annotations

import inspect

NAME = 'optimize_parameters'


def wrong_signature(model: type) -> str | None:
    """Tell whether a model's ``optimize_parameters`` can be called as the training loop does, with the iteration alone.

    Args:
        model: The class of the model.

    Returns:
        None where it can, else a sentence that says what it takes.
    """
    method = getattr(model, NAME, None)
    if not callable(method):
        return f'{model.__name__} of {model.__module__} has no {NAME}, so it cannot be trained.'
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return None  # it has no signature, as functions compiled from C
    try:
        is_bound = isinstance(inspect.getattr_static(model, NAME), staticmethod | classmethod)
        signature.bind(*[1] if is_bound else [model, 1])
    except TypeError:
        return (
            f'{model.__name__} of {model.__module__} cannot be trained by BasicSR: it calls {NAME}(current_iter), but '
            f'this one is {NAME}{signature}. Train it with the script of its own project.'
        )
    return None


def constructor_arguments(cls: type) -> tuple[set[str], bool]:
    """The names that a constructor takes, including those of the bases to which it may pass ``**kwargs`` on.

    Args:
        cls: A class.

    Returns:
        The names, and whether it may take others.
    """
    names: set[str] = set()
    for owner in cls.__mro__:
        if '__init__' not in vars(owner):
            continue
        try:
            parameters = list(inspect.signature(vars(owner)['__init__']).parameters.values())[1:]
        except (TypeError, ValueError):
            return names, True
        names |= {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            return names, False
    return names, True
