"""The parameters of extractors, read off their source: an import would load PyTorch to show a help text."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import operator
from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any

from . import EXTRACTORS, extractor_class

_KINDS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def parameters_of(name: str) -> Mapping[str, Parameter]:
    """The parameters of an extractor's constructor, with their defaults but without annotations.

    Parameters of every extractor alone, whose default is a name such as ``MAX_MASKS``, are left out. Where the source
    says too little, the extractor is imported.

    Args:
        name: A key of ``EXTRACTORS``.

    Raises:
        UserError: There is no extractor of this name.
    """
    try:
        return _read(*EXTRACTORS[name].split(':'))
    except (KeyError, LookupError, OSError, SyntaxError, ValueError):
        return inspect.signature(extractor_class(name)).parameters


def _read(module: str, class_name: str) -> dict[str, Parameter]:
    package, *rest = module.split('.')
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise LookupError(package)
    tree = ast.parse(Path(spec.origin).parent.joinpath(*rest).with_suffix('.py').read_text(encoding='utf-8'))
    found = next((one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == class_name), None)
    methods = [] if found is None else [one for one in found.body if isinstance(one, ast.FunctionDef)]
    init = next((one.args for one in methods if one.name == '__init__'), None)
    if init is None or init.vararg or init.kwarg or init.kwonlyargs or init.posonlyargs:
        raise LookupError(class_name)
    names = [one.arg for one in init.args]
    defaults = dict(zip(names[len(names) - len(init.defaults) :], init.defaults, strict=True))
    return {
        one: Parameter(
            one,
            Parameter.POSITIONAL_OR_KEYWORD,
            default=_value(defaults[one]) if one in defaults else Parameter.empty,
        )
        for one in names[1:]
        if not isinstance(defaults.get(one), ast.Name)
    }


def _value(node: ast.expr) -> Any:
    """What a default is: a literal, or a sum, product or quotient of literals; else a ValueError."""
    if isinstance(node, ast.BinOp) and type(node.op) in _KINDS:
        return _KINDS[type(node.op)](_value(node.left), _value(node.right))
    return ast.literal_eval(node)
