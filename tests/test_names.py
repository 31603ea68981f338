"""Names: no two classes of the package share one, except those that a class publishes inside itself."""

from __future__ import annotations

import ast
from collections import defaultdict

from helpers.project import ROOT


def test_no_two_classes_have_one_name():
    places = defaultdict(list)
    for file in sorted((ROOT / 'basicsr_semantic').rglob('*.py')):
        for node in ast.parse(file.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(file.relative_to(ROOT).as_posix())
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert len(places) > 100 and not twice
