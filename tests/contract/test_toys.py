"""A network and a model of somebody's own, each one new file, from an option file and the command line."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from helpers.project import ROOT, basicsr, write_options

from basicsr_semantic.priors.store import PriorStoreWriter
from basicsr_semantic.priors.store_meta import store_metadata

IMPORTS = ('--import', 'toy_arch', 'toy_model')


@pytest.fixture
def project(tmp_path, clips, options):
    """Their folder: two modules, a store of masks, an option file."""
    for name in ('toy_arch.py', 'toy_model.py'):
        shutil.copy(ROOT / 'tests/toys' / name, tmp_path / name)
    with PriorStoreWriter(tmp_path / 'masks.lmdb', store_metadata('regions')) as store:
        for clip in ('000', '001', '002'):
            for number in range(7):
                store.put(f'{clip}/{number:08d}', np.eye(24, dtype=bool)[None])
    opt = options(model_type='ToyModel', network_g={'type': 'ToyArch'})
    opt['datasets']['train'] |= {'dataroot_priors': str(tmp_path / 'masks.lmdb'), 'num_masks': 2}
    opt['train']['greetings'] = 2
    write_options(opt, tmp_path / 'toy.yml')
    return tmp_path


@pytest.mark.slow(12)
def test_check_train_and_components_know_them(project):
    checked = basicsr('check', '-opt', 'toy.yml', *IMPORTS, cwd=project)
    assert checked.returncode == 0 and 'warning' not in checked.stdout, checked.stdout
    trained = basicsr('train', '-opt', 'toy.yml', '--dry-run', *IMPORTS, cwd=project)
    assert trained.returncode == 0, trained.stderr
    assert 'Good morning. Good morning.' in trained.stderr and 'ToyArch: ' in trained.stderr
    shown = basicsr('components', 'ToyArch', *IMPORTS, cwd=project)
    assert 'How many times it enlarges' in shown.stdout


@pytest.mark.slow(12)
@pytest.mark.parametrize(
    ('entry', 'said'),
    [
        ('train:greetings=7', 'train:greetings: It is 7, but must be at most 3'),
        ('network_g:upscales=4', "ToyArch has no key 'upscales'.*upscale"),
        ('scale=2', 'ToyArch enlarges 4 times, but scale is 2'),
    ],
)
def test_their_mistakes_are_sentences_with_the_key(project, entry, said):
    checked = basicsr('check', '-opt', 'toy.yml', '--force_yml', entry, *IMPORTS, cwd=project)
    assert checked.returncode == 1 and re.search(said, checked.stdout), checked.stdout
