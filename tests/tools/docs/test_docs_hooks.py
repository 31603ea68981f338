"""The site: links of pages lead to the same things as in the repository, and it builds strictly without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import docs_hooks
import pytest
import yaml
from helpers.project import ROOT

import basicsr_semantic


@pytest.mark.parametrize(
    ('link', 'page', 'there'),
    [
        ('docs/seem.md', 'index.md', 'seem.md'),
        ('docs/images/demo.png', 'index.md', 'images/demo.png'),
        ('datasets/README.md#reds', 'index.md', 'datasets.md#reds'),
        ('../README.md#methods', 'seeclear.md', 'index.md#methods'),
        ('../seeclear.md', 'results/seeclear.md', '../seeclear.md'),
        ('../../CONTRIBUTING.md', 'results/seem.md', '../contributing.md'),
        ('../README.md', 'datasets.md', 'index.md'),
        ('../options/semlens_ytvis.yml', 'semantic_lens.md', 'repository/options/semlens_ytvis.yml'),
        ('LICENSE', 'index.md', 'repository/LICENSE'),
        ('https://example.org/a.md', 'seem.md', 'https://example.org/a.md'),
        ('#methods', 'index.md', '#methods'),
        ('../nothing.md', 'seem.md', '../nothing.md'),
    ],
)
def test_a_link_leads_to_the_same_thing(link, page, there):
    assert docs_hooks.site_link(link, page) == there


def test_links_in_code_stay():
    text = 'a [b](x.md), ![c](y.png), `[d](x.md)`\n```sh\n[e](x.md)\n```\n[`f`](x.md)'
    expected = 'a [b](X.MD), ![c](Y.PNG), `[d](x.md)`\n```sh\n[e](x.md)\n```\n[`f`](X.MD)'
    assert docs_hooks.map_links(text, str.upper) == expected


def test_roles_of_sphinx_become_names():
    html = 'see :class:<code>~a.b.Store</code> and <code>x</code>'
    assert docs_hooks.on_page_content(html) == 'see <code>Store</code> and <code>x</code>'


def test_every_option_file_is_listed_with_what_it_says():
    text = docs_hooks.options_page()
    for path in (ROOT / 'options').rglob('*.yml'):
        (row,) = re.findall(rf'^\| \[`{re.escape(path.name)}`\]\((.*?)\) \| (.*) \|$', text, re.MULTILINE)
        assert (ROOT / 'docs' / row[0]).resolve() == path and len(row[1]) > 20


def test_every_room_with_public_names_has_a_page():
    package = ROOT / 'basicsr_semantic'
    public = {file.parent.name for file in package.glob('*/__init__.py') if '\n__all__ = ' in file.read_text()}
    assert public <= docs_hooks.ROOMS.keys()
    names = set(re.findall(r'\[`(\w+)`\]', docs_hooks.public_page()))
    assert names == set(basicsr_semantic.__all__) - {'__version__', 'register'}


class _Targets(HTMLParser):
    """Addresses of links and pictures of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(file.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ('href', 'src') and value]


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """The site, built strictly where every address of a network is refused."""
    out = tmp_path_factory.mktemp('site')
    code = 'import socket; socket.socket.connect = None; from mkdocs.__main__ import cli; cli()'
    command = [sys.executable, '-c', code, 'build', '--strict', '--site-dir', str(out)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return out


@pytest.mark.slow(15)
def test_the_site_builds_and_no_page_links_to_nothing(site):
    pages = [page for page in site.rglob('*.html') if page.name != '404.html']
    assert {'index.html', 'seem.html', 'semantic_lens.html', 'architecture.html'} <= {page.name for page in pages}
    for page in pages:
        for target in _Targets(page).found:
            if not re.match(r'[a-z]+:|#', target):
                file = page.parent / target.partition('#')[0].partition('?')[0]
                assert file.exists(), f'{page.relative_to(site)} links to {target}'


@pytest.mark.slow(15)
def test_formulas_are_marked_for_the_script_that_draws_them(site):
    text = (site / 'seeclear.html').read_text(encoding='utf-8')
    assert '<span class="arithmatex">\\(\\eta_t\\)</span>' in text and '$\\' not in text
    assert 'javascripts/mathjax.js' in text


@pytest.mark.slow(15)
def test_the_reference_has_arguments_from_docstrings(site):
    text = (site / 'reference/archs.html').read_text(encoding='utf-8')
    assert 'id="basicsr_semantic.archs.BasicVSRSEEM"' in text and 'Pass the feature after the second SEEM on' in text
    assert ':class:' not in text


def test_the_nav_names_pages_that_there_are():
    nav = yaml.safe_load((ROOT / 'mkdocs.yml').read_text(encoding='utf-8'))['nav']
    made = {*docs_hooks.PAGES.values(), 'options.md', 'reference/index.md'}
    made |= {f'reference/{room}.md' for room in docs_hooks.ROOMS}
    named = set(re.findall(r'[\w/]+\.md', str(nav)))
    assert made <= named
    assert all((ROOT / 'docs' / page).is_file() for page in named - made)
