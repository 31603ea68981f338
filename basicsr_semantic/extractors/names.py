"""The extractors of this package by name, and what each is in a line, without importing what it needs."""

from __future__ import annotations

import ast
from pathlib import Path

#: name, as in ``basicsr extract --extractor NAME`` -> 'module:Class', for the extractors of this package
EXTRACTORS: dict[str, str] = {
    'sam': 'basicsr_semantic.extractors.sam:SAMExtractor',
    'regions': 'basicsr_semantic.extractors.regions:RegionsExtractor',
    'annotations': 'basicsr_semantic.extractors.annotations:AnnotationsExtractor',
    'xdecoder': 'basicsr_semantic.extractors.xdecoder.extractor:XDecoderExtractor',
    'openseed': 'basicsr_semantic.extractors.openseed.extractor:OpenSeeDExtractor',
    'stored_tokens': 'basicsr_semantic.extractors.stored_tokens:StoredTokens',
}
_FILLS = {'__call__', 'describe_clip', 'describe_frame'}


def summaries() -> dict[str, str]:
    """The first line of the docstring of each that fills stores, read off the source: an import would load PyTorch."""
    found = {}
    for name, place in EXTRACTORS.items():
        module, _, class_name = place.partition(':')
        path = Path(__file__).parent.joinpath(*module.split('.')[2:]).with_suffix('.py')
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.ClassDef) and node.name == class_name:
                methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
                if methods & _FILLS:
                    found[name] = (ast.get_docstring(node) or '').split('\n\n')[0].replace('\n', ' ')
    return found
