"""CITATION.cff is of this version, and names the papers that the README names."""

from __future__ import annotations

import re

import yaml
from helpers.project import ROOT

import basicsr_semantic

CITATION = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))


def test_the_version_is_that_of_the_package():
    assert CITATION['version'] == basicsr_semantic.__version__


def test_every_paper_of_the_readme_is_cited_with_its_authors():
    papers = set(re.findall(r'https://arxiv\.org/abs/[\d.]+', (ROOT / 'README.md').read_text(encoding='utf-8')))
    assert papers == {one['url'] for one in CITATION['references']}
    for one in CITATION['references']:
        assert len(one['authors']) > 3
        assert all(author.keys() == {'given-names', 'family-names'} for author in one['authors'])
