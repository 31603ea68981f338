"""What `mkdocs build` does apart from reading docs/: pages from elsewhere in the repository, and links that lead there.

Every page is written so that its links work where the repository is browsed. On the site, README.md is the first page,
and a few others that are not in docs/ have an address of their own; option files and whatever else a page links to are
copied. The pages of the reference are made here, of what each room of the package says is public, and so is the list of
option files.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = 'basicsr_semantic'

PAGES = {
    'README.md': 'index.md',
    'CONTRIBUTING.md': 'contributing.md',
    'CHANGELOG.md': 'changelog.md',
    'datasets/README.md': 'datasets.md',
}
"""Page in the repository, outside of docs/ -> its place on the site."""

COPIES = 'repository'
"""Where the site keeps files that a page links to and that are not pages."""

ROOMS = {
    'inference': ('exporting.export',),
    'video': (),
    'priors': (),
    'extractors': (),
    'archs': ('semantic_arch.SemanticArch', 'layers.size_requirements.SizeRequirements', 'seem_arch.SEEM'),
    'diffusion': (),
    'models': ('semantic_source.SemanticSource', 'semantic_vsr_options', 'seeclear_options', 'video_instance_options'),
    'data': ('dataset_options',),
    'losses': (),
    'metrics': (),
    'config': ('section', 'sections', 'option_file', 'check', 'plugins'),
    'engine': ('pipeline', 'validation', 'evaluator', 'freezing', 'checkpoint'),
    'utils': ('errors', 'files'),
}
"""Room with a page in the reference -> what belongs there in addition to the names in its ``__all__``."""

_CODE_OR_LINK = re.compile(r'(```.*?```|`[^`\n]*`)|\]\(([^)\s]+)\)', re.DOTALL)
_SPHINX_ROLE = re.compile(r':(?:attr|class|data|exc|func|meth|mod|ref):<code>~?([^<]*)</code>')


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/, and the files that any page links to."""
    for source, target in PAGES.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, 'options.md', content=options_page()))
    files.append(File.generated(config, 'reference/index.md', content=public_page()))
    for room, others in ROOMS.items():
        files.append(File.generated(config, f'reference/{room}.md', content=room_page(room, others)))
    for path in sorted({path for file in files.documentation_pages() for path in _copied(file)}):
        files.append(File.generated(config, f'{COPIES}/{path}', abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to the places on the site."""
    return map_links(markdown, lambda link: site_link(link, page.file.src_uri))


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name things by roles of Sphinx; show the names alone."""
    return _SPHINX_ROLE.sub(lambda found: f'<code>{found.group(1).rsplit(".", 1)[-1]}</code>', html)


def map_links(markdown: str, change: Callable[[str], str]) -> str:
    """Change the targets of all links and pictures of a text that are not code."""

    def replace(found: re.Match[str]) -> str:
        return found.group(0) if found.group(1) else f']({change(found.group(2))})'

    return _CODE_OR_LINK.sub(replace, markdown)


def site_link(link: str, page: str) -> str:
    """Where a link leads on the site.

    Args:
        link: As it is written, relative to the file that it is written in.
        page: Place of the page on the site.

    Returns:
        The link from the page's place; unchanged where it leads out of the repository or to nothing that is there.
    """
    path, mark, anchor = link.partition('#')
    target = _in_repository(path, page)
    if target is None:
        return link
    if target in PAGES:
        place = PAGES[target]
    elif target.startswith('docs/'):
        place = target.removeprefix('docs/')
    else:
        place = f'{COPIES}/{target}'
    return posixpath.relpath(place, posixpath.dirname(page) or '.') + mark + anchor


def _in_repository(path: str, page: str) -> str | None:
    """The file that a link leads to, from the root of the repository; None for an address or what is not a file."""
    if not path or re.match(r'[a-z]+:', path):
        return None
    origin = next((source for source, target in PAGES.items() if target == page), f'docs/{page}')
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    return target if (ROOT / target).is_file() else None


def _copied(file: File) -> Iterator[str]:
    """Files outside of docs/ that a page links to and that are not pages of the site."""
    found: list[str] = []
    map_links(file.content_string, lambda link: found.append(link) or link)
    for link in found:
        target = _in_repository(link.partition('#')[0], file.src_uri)
        if target is not None and target not in PAGES and not target.startswith('docs/'):
            yield target


def options_page() -> str:
    """A table of the option files of each folder, with what each says of itself in its first lines."""
    lines = [
        '# Option files',
        '',
        'Each is complete in itself. `basicsr check -opt FILE` says what is wrong with one.',
        '',
    ]
    folders = {path.parent for path in (ROOT / 'options').rglob('*.yml')}
    for folder in sorted(folders):
        lines += [f'## {folder.relative_to(ROOT).as_posix()}', '', '| file | what it is for |', '|---|---|']
        for path in sorted(folder.glob('*.yml')):
            place = path.relative_to(ROOT).as_posix()
            lines.append(f'| [`{path.name}`](../{place}) | {_comment(path)} |')
        lines.append('')
    return '\n'.join(lines)


def _comment(path: Path) -> str:
    """The comment at the head of an option file, without the line for editors."""
    said = []
    for line in path.read_text(encoding='utf-8').splitlines():
        if not line.startswith('#'):
            break
        if not line.startswith('# yaml-language-server'):
            said.append(line.removeprefix('#').strip())
    return ' '.join(said).replace('|', '\\|').replace('*', '\\*')


def public_page() -> str:
    """The public names of the package, each with a link to its room's page."""
    places = _assigned(ROOT / PACKAGE / '__init__.py', '_PUBLIC')
    lines = ['# Reference', '', f'The names that `{PACKAGE}` has itself, and where each comes from.', '']
    lines += ['| name | room |', '|---|---|']
    lines += [f'| [`{name}`][{PACKAGE}.{room}.{name}] | `{room}` |' for name, room in places.items()]
    return '\n'.join([*lines, '', f'::: {PACKAGE}.register', ''])


def room_page(room: str, others: tuple[str, ...]) -> str:
    """The page of a room: its own docstring, then what is public in it."""
    package = ROOT / PACKAGE / room
    docstring = ast.get_docstring(ast.parse((package / '__init__.py').read_text(encoding='utf-8'))) or ''
    names = [name for name in _public_names(package) if not (package / f'{name}.py').is_file()]
    parts = [f'::: {PACKAGE}.{room}.{name}\n' for name in (*names, *others)]
    return '\n'.join([f'# {room}', '', docstring, '', *parts])


def _public_names(package: Path) -> list[str]:
    """``__all__`` of a package; empty where it has none."""
    return _assigned(package / '__init__.py', '__all__') or []


def _assigned(file: Path, name: str) -> Any:
    """The value of a plain assignment at the top of a file, read without importing it; None without."""
    for node in ast.parse(file.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return ast.literal_eval(node.value)
    return None
