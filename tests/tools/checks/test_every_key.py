"""What `basicsr check` passes is trained: every key of some option files removed, spoilt and absurd."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers.project import ROOT, environment

FILES = ('seem/tune',)
"""What fits into a minute; the tool by itself tries all of its files."""


@pytest.mark.slow(60)
def test_what_check_passes_is_trained(tmp_path):
    out = tmp_path / 'found.json'
    command = [sys.executable, ROOT / 'tools/checks/every_key.py', '--files', *FILES, '--json', out]
    done = subprocess.run(
        [*map(str, command)], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert out.is_file(), done.stderr[-2000:]
    found = json.loads(out.read_text())
    failed = [one for one in found if one['outcome'] == 'failed']
    assert [(one['file'], one['key'], one['way'], one['said']) for one in failed] == []
    assert len(found) > 100 and {one['outcome'] for one in found if one['way'] == 'removed'} >= {'refused', 'trained'}
    priors = [one for one in found if one['key'] == 'datasets:train:dataroot_priors' and one['way'] == 'removed']
    assert priors and all(one['outcome'] == 'refused' for one in priors)
    assert done.returncode == 0
