"""Reads the source of one function for the option keys that it uses; see reads.py for what that is good for."""

from __future__ import annotations

import ast
import contextlib
import inspect
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from .keys import REQUIRED, module_of, parse_source

Path = tuple[str, ...]
"""Place in the options: () is the dict itself, ('val', 'metrics') a section of a section."""

SELF: Path = ('<self>',)
"""Path that stands for the object itself."""

FOREIGN = {'builtins', 'torch', 'typing', 'abc', 'collections'}
"""Packages whose classes know nothing of options."""

_COPIES = {'deepcopy', 'copy', 'dict', 'OrderedDict'}
_WHOLE = {'items', 'keys', 'values', 'update', 'popitem', 'clear'}


@dataclass
class Reads:
    """What a class reads of its options."""

    defaults: dict[Path, Any] = field(default_factory=dict)
    """Every key read, with its default where the source names one, else `REQUIRED`."""
    optional: set[Path] = field(default_factory=set)
    """Keys asked for with ``get`` or ``in``, or set by the class itself."""
    whole: set[Path] = field(default_factory=set)
    """Sections that went where the source does not tell."""
    required: set[Path] = field(default_factory=set)
    """Keys without which construction (or the first step) fails with a KeyError."""


class Reader(ast.NodeVisitor):
    """Walks one function, and those it calls with options in hand."""

    def __init__(
        self,
        cls: type,
        owner: type | None,
        function: Any,
        attributes: dict[str, Path],
        result: Reads,
        *,
        always: bool = False,
        names: dict[str, Path] | None = None,
        stack: tuple[Any, ...] = (),
    ) -> None:
        self.cls, self.owner, self.attributes, self.result = cls, owner, attributes, result
        self.function = inspect.unwrap(function)
        self.always = always
        self.names = dict(names or {})
        self.stack = (*stack, self.function)
        self.given_names = names is not None

    def run(self) -> None:
        tree = parse_source(self.function)
        if tree is None or not isinstance(tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef):
            self.result.whole.update(path for path in (self.names.values() or [()]) if path != SELF)
            return
        definition = tree.body[0]
        if not self.given_names:
            parameters = [a.arg for a in (*definition.args.posonlyargs, *definition.args.args)]
            if parameters:
                self.names[parameters[0]] = SELF
            if self.function.__name__ == '__init__' and len(parameters) > 1:
                self.names[parameters[1]] = ()
        self.block(definition.body)

    # ---------------------------------------------------------------------------------------------- statements

    def block(self, statements: list[ast.stmt]) -> None:
        """Visit statements in order; what follows a conditional return is conditional."""
        before = self.always
        for statement in statements:
            self.visit(statement)
            if any(isinstance(n, ast.Return | ast.Continue | ast.Break) for n in ast.walk(statement)):
                self.always = False
        self.always = before

    def maybe(self, *parts: Any) -> None:
        """Visit what may not run."""
        before, self.always = self.always, False
        for part in parts:
            for node in part if isinstance(part, list) else [part]:
                self.visit(node)
        self.always = before

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.maybe(node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self.maybe(node.body, node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        self.maybe(node.values[1:])

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.bind(node.target, None)
        self.maybe(node.body, node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self.maybe(node.test, node.body, node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        self.maybe(node.body, *(handler.body for handler in node.handlers), node.orelse)
        self.block(node.finalbody)

    visit_TryStar = visit_Try  # noqa: N815

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            self.visit(item.context_expr)
        self.maybe(node.body)  # the context may swallow a KeyError

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        self.maybe(*(case.body for case in node.cases))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.maybe(node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.maybe(node.body)

    def comprehension(self, node: Any) -> None:
        for generator in node.generators:
            self.visit(generator.iter)
            self.bind(generator.target, None)
            self.maybe(generator.ifs)
        self.maybe([node.key, node.value] if isinstance(node, ast.DictComp) else node.elt)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comprehension  # noqa: N815

    def visit_Assign(self, node: ast.Assign) -> None:
        pairs = [(target, node.value) for target in node.targets]
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(node.targets[0].elts, node.value.elts, strict=False))
        for target, value in pairs:
            path = self.path(value)
            # a name for a section is no use of it; what is done with the name will be seen
            self.touch(value) if path is not None else self.visit(value)
            self.bind(target, path)
            if not isinstance(target, ast.Name):
                self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit_Assign(ast.Assign(targets=[node.target], value=node.value))

    def bind(self, target: ast.expr, path: Path | None) -> None:
        """Let a name or attribute stand for a place in the options, or for something else."""
        if isinstance(target, ast.Name):
            if path is None:
                self.names.pop(target.id, None)
            else:
                self.names[target.id] = path
        elif isinstance(target, ast.Attribute) and self.path(target.value) == SELF and path not in (None, SELF):
            self.attributes.setdefault(target.attr, path)
        elif isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self.bind(element, None)

    # --------------------------------------------------------------------------------------------- expressions

    def path(self, node: ast.AST) -> Path | None:
        """The place in the options that an expression stands for, None for anything else."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self.path(node.value)
            return self.attributes.get(node.attr) if base == SELF else None
        if isinstance(node, ast.Subscript):
            return self.below(node.value, node.slice)
        if isinstance(node, ast.BoolOp):
            return self.path(node.values[0])
        if isinstance(node, ast.IfExp):
            found = self.path(node.body)
            return found if found is not None else self.path(node.orelse)
        if isinstance(node, ast.NamedExpr):
            return self.path(node.value)
        if isinstance(node, ast.Call):
            return self.path_of_call(node)
        return None

    def path_of_call(self, node: ast.Call) -> Path | None:
        called = node.func
        if isinstance(called, ast.Attribute):
            if called.attr in ('get', 'pop', 'setdefault') and node.args:
                return self.below(called.value, node.args[0])
            if called.attr == 'copy' and not node.args:
                return self.path(called.value)
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, 'id', '')
        return self.path(node.args[0]) if name in _COPIES and len(node.args) == 1 and not node.keywords else None

    def below(self, base: ast.AST, key: ast.AST) -> Path | None:
        path = self.path(base)
        if path is None or path == SELF or not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            return None
        return (*path, key.value)

    def touch(self, node: ast.AST) -> None:
        """Record the keys that an expression with a path passes on its way, without calling its end "taken whole"."""
        if isinstance(node, ast.Subscript):
            self.record(node, self.path(node), optional=False)
            self.touch(node.value)
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr in ('get', 'pop', 'setdefault') and node.args:
                path = self.below(called.value, node.args[0])
                default = node.args[1] if len(node.args) > 1 else None
                if path is not None:
                    bare_pop = called.attr == 'pop' and default is None
                    self.record(node, path, optional=not bare_pop, default=default)
                self.touch(called.value)
                self.maybe(node.args[1:])
            elif isinstance(called, ast.Attribute) and not node.args:
                self.touch(called.value)
            else:
                self.touch(node.args[0])
        elif isinstance(node, ast.BoolOp):
            self.touch(node.values[0])
            self.maybe(node.values[1:])
        elif isinstance(node, ast.IfExp):
            self.visit(node.test)
            before, self.always = self.always, False
            for branch in (node.body, node.orelse):
                self.touch(branch) if self.path(branch) is not None else self.visit(branch)
            self.always = before
        elif isinstance(node, ast.NamedExpr):
            self.touch(node.value)
            self.bind(node.target, self.path(node.value))

    def record(self, node: ast.AST, path: Path | None, *, optional: bool, default: ast.expr | None = None) -> None:
        if not path:
            return
        value: Any = REQUIRED
        if default is not None:
            with contextlib.suppress(ValueError):  # a default that is computed stays unknown
                value = ast.literal_eval(default)
        if self.result.defaults.get(path, REQUIRED) is REQUIRED:
            self.result.defaults[path] = value
        if optional:
            self.result.optional.add(path)
        elif self.always:
            self.result.required.add(path)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        path, base = self.path(node), self.path(node.value)
        if path is None:
            if base not in (None, SELF):
                self.result.whole.add(base)  # a key that only the run knows
            self.generic_visit(node)
        elif isinstance(node.ctx, ast.Load):
            self.escape(node)
        else:
            self.record(node, path, optional=True)
            self.touch(node.value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self.path(node) is not None and isinstance(node.ctx, ast.Load):
            self.escape(node)
        elif self.path(node.value) != SELF:
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and self.path(node) is not None:
            self.escape(node)

    def escape(self, node: ast.AST) -> None:
        """A section goes where we do not look."""
        path = self.path(node)
        self.touch(node)
        if path is not None and path != SELF:
            self.result.whole.add(path)

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, node.comparators, strict=False):
            if isinstance(operator, ast.In | ast.NotIn) and self.path(right) not in (None, SELF):
                path = self.below(right, left)
                self.record(left, path, optional=True)
                if path is None and not isinstance(left, ast.Constant):
                    self.result.whole.add(self.path(right) or ())
        for side in sides:
            # comparing (is None, == 'x', in) uses no key below
            self.touch(side) if self.path(side) is not None else self.visit(side)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        if self.path_of_call(node) is not None:
            return self.escape(node)
        if isinstance(called, ast.Attribute):
            base = self.path(called.value)
            if base not in (None, SELF):
                self.touch(called.value)
                if called.attr in _WHOLE or called.attr in ('get', 'pop', 'setdefault'):
                    self.result.whole.add(base)
                for argument in (*node.args, *(k.value for k in node.keywords)):
                    self.visit(argument)
                return None
        if not self.is_base_call(node):
            self.follow(node)
        self.visit(called)
        return None

    def is_base_call(self, node: ast.Call) -> bool:
        """``super().method(opt)``, ``Base.method(self, opt)``: read as methods anyway, here for what always runs."""
        called = node.func
        if not isinstance(called, ast.Attribute) or self.owner is None:
            return False
        arguments = list(node.args)
        start = None
        if isinstance(called.value, ast.Call) and getattr(called.value.func, 'id', '') == 'super':
            start = self.cls.__mro__.index(self.owner) + 1
        elif arguments and self.path(arguments[0]) == SELF:
            base = self.lookup(called.value)
            if inspect.isclass(base) and base in self.cls.__mro__:
                start, arguments = self.cls.__mro__.index(base), arguments[1:]
        if start is None:
            return False
        owner = next((b for b in self.cls.__mro__[start:] if called.attr in vars(b)), None)
        function = vars(owner)[called.attr] if owner else None
        if self.always and isinstance(function, FunctionType) and module_of(owner) not in FOREIGN:
            Reader(self.cls, owner, function, self.attributes, self.result, always=True, stack=self.stack).run()
        for argument in arguments:
            path = self.path(argument)
            self.touch(argument) if path is not None else self.visit(argument)
        for keyword in node.keywords:
            self.touch(keyword.value) if self.path(keyword.value) is not None else self.visit(keyword.value)
        return True

    def follow(self, node: ast.Call) -> None:
        """A call with options or the object among its arguments: read the function called, if there is source."""
        function = self.lookup(node.func)
        if inspect.isclass(function) and module_of(function) not in FOREIGN:
            function = vars(function).get('__init__')
            offset = 1
        else:
            offset = 0
        names: dict[str, Path] = {}
        parameters: list[str] = []
        if isinstance(function, FunctionType) and len(self.stack) < 6 and inspect.unwrap(function) not in self.stack:
            parameters = list(inspect.signature(function).parameters)[offset:]
        places = [*zip(node.args, [*parameters, *[''] * len(node.args)], strict=False)]
        places += [(k.value, k.arg if k.arg in parameters else '') for k in node.keywords]
        for argument, name in places:
            path = self.path(argument)
            if path is None:
                self.visit(argument)
            elif name and (path == SELF or offset == 0):
                names[name] = path
                self.touch(argument)
            else:
                self.escape(argument)
        if names:
            stack, owner = self.stack, self.owner
            reader = Reader(self.cls, owner, function, self.attributes, self.result, names=names, stack=stack)
            reader.always = self.always
            reader.run()

    def lookup(self, node: ast.AST) -> Any:
        """What a dotted name in the source stands for at run time, None if that is not plain."""
        if isinstance(node, ast.Name):
            return self.function.__globals__.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self.lookup(node.value)
            return getattr(base, node.attr, None) if inspect.ismodule(base) or inspect.isclass(base) else None
        return None
