"""Nothing loads early: what `import basicsr_semantic` leaves alone, and what the first `import basicsr` does."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.project import environment, python, script

import basicsr_semantic
from basicsr_semantic.compat import repairs
from basicsr_semantic.extractors import EXTRACTOR_REGISTRY, EXTRACTORS
from basicsr_semantic.extractors.names import summaries

HEAVY = ('torch', 'torchvision', 'basicsr', 'numpy', 'cv2', 'scipy', 'pydantic')
IN_PLACE = (
    'from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY\n'
    'from basicsr.utils.registry import MODEL_REGISTRY\n'
    "assert 'BasicVSRSEEM' in ARCH_REGISTRY and 'SemanticClipDataset' in DATASET_REGISTRY\n"
    "assert 'VideoInstanceLoss' in LOSS_REGISTRY and 'calculate_lpips' in METRIC_REGISTRY\n"
    "assert 'SemanticVSRModel' in MODEL_REGISTRY\n"
    'from basicsr.models.base_model import BaseModel\n'
    "print('repaired' if BaseModel.save_network.__module__.startswith('basicsr_semantic') else 'as it was')\n"
)
"""A script's last lines: everything is registered; prints whether BasicSR is repaired."""
STAND_IN = (
    'import sys, types, torchvision.transforms.functional as f\n'
    "sys.modules['torchvision.transforms.functional_tensor'] = m = types.ModuleType('m')\n"
    'm.rgb_to_grayscale = f.rgb_to_grayscale\n'
)
"""What BasicSR 1.4.2 needs, which current versions of torchvision do not have."""


def say(text: str, folder: Path) -> str:
    """What a script in a process of its own prints."""
    (folder / 'script.py').write_text(text)
    done = python('script.py', cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def say_in_time(text: str, folder: Path) -> str:
    """The same, in a process that has imported libraries already, but nothing of BasicSR and of ours."""
    (folder / 'script.py').write_text(text)
    done = script('script.py', cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_loads_nothing(tmp_path):
    text = f'import sys, basicsr_semantic\nprint(sorted(set({HEAVY}) & set(sys.modules)))'
    assert say(text, tmp_path) == '[]'


@pytest.mark.slow
def test_public_names_load_on_first_use(tmp_path):
    names = [name for name in basicsr_semantic.__all__ if name != '__version__']
    text = f'import basicsr_semantic as b\nfor n in {names}:\n    print(getattr(b, n).__name__, n in dir(b))'
    text += '\nprint(b.extractors.__name__)'  # rooms, too
    expected = [f'{name} True' for name in names]
    assert 8 <= len(basicsr_semantic.__all__) <= 16
    assert say(text, tmp_path).splitlines() == [*expected, 'basicsr_semantic.extractors']
    with pytest.raises(AttributeError, match="no attribute 'no_such'"):
        basicsr_semantic.no_such  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize(
    'first',
    [
        'import basicsr_semantic, basicsr',
        'import basicsr_semantic, basicsr.archs',
        'import basicsr_semantic\nfrom basicsr.utils.registry import ARCH_REGISTRY',
        f'{STAND_IN}import basicsr, basicsr_semantic',
        'import basicsr_semantic.engine.checkpoint',
        'from basicsr_semantic.models import SemanticVSRModel',
        'import basicsr_semantic.compat.base_model',
        'import basicsr_semantic\nbasicsr_semantic.register()',
    ],
)
def test_everything_is_in_place_whatever_comes_first(tmp_path, first):
    tidy = (
        'import importlib, sys\n'
        "assert not [one for one in sys.meta_path if 'basicsr_semantic' in type(one).__module__]\n"
        'import basicsr, basicsr_semantic.engine.checkpoint as ours\n'
        'for module in (basicsr, ours):\n'
        '    assert module.__spec__.loader is module.__loader__\n'
        "    assert type(module.__loader__).__module__ != 'basicsr_semantic.compat.hook'\n"
        'importlib.reload(basicsr)\n'
    )
    assert say_in_time(f'{first}\n{IN_PLACE}{tidy}', tmp_path) == 'repaired'


def test_looking_for_basicsr_starts_nothing(tmp_path):
    text = (
        'import sys, importlib.util, basicsr_semantic\n'
        "spec = importlib.util.find_spec('basicsr')\n"
        "print(spec.origin.endswith('__init__.py'), spec.loader.is_package('basicsr'), 'torch' in sys.modules)"
    )
    assert say(text, tmp_path) == 'True True False'


@pytest.mark.slow
def test_threads_that_import_at_once_all_find_it_whole(tmp_path):
    text = (
        'import threading, basicsr_semantic\n'
        'found, together = [], threading.Barrier(6)\n'
        'def look():\n'
        '    together.wait()\n'  # one that began later could meet modules of BasicSR that are whole before the rest is
        '    from basicsr.utils.registry import ARCH_REGISTRY\n'
        "    found.append('SemanticLens' in ARCH_REGISTRY)\n"
        'threads = [threading.Thread(target=look) for _ in range(6)]\n'
        '[one.start() for one in threads], [one.join() for one in threads]\n'
        'print(found == [True] * 6)\n'
    )
    assert say_in_time(text, tmp_path) == 'True'


@pytest.mark.slow
def test_an_import_that_fails_shows_its_error_and_can_be_tried_again(tmp_path):
    text = (
        'import sys, basicsr_semantic\n'
        "sys.modules['cv2'] = None\n"
        'for _ in range(2):\n'
        '    try:\n'
        '        import basicsr\n'
        '    except ModuleNotFoundError as error:\n'
        "        print(error.name, ' '.join(getattr(error, '__notes__', [])))\n"
        "    print([name for name in sys.modules if name.split('.')[0] == 'basicsr'])\n"
        "del sys.modules['cv2']\n"
        'import basicsr\n'
    )
    *message, last = say_in_time(text + IN_PLACE, tmp_path).splitlines()
    note = 'basicsr needs the package cv2, which is not installed: pip install opencv-python.'
    assert message == [f'cv2 {note}' if sys.version_info >= (3, 11) else 'cv2 ', '[]'] * 2
    assert last == 'repaired'


@pytest.mark.slow
def test_a_repair_that_fails_leaves_no_half_of_them(tmp_path):
    text = (
        'import sys, basicsr_semantic\n'
        'from basicsr_semantic.compat import repairs\n'
        'right = repairs._repair_metrics\n'
        'def wrong():\n'
        "    raise ImportError('no such part')\n"
        'repairs._repair_metrics = wrong\n'
        'try:\n'
        '    import basicsr\n'
        'except ImportError as error:\n'
        '    print(type(error).__name__, error)\n'
        'heavy = [name for name in sys.modules if name.split(".")[0] == "basicsr" or "semantic.engine." in name]\n'
        'print(heavy, repairs.applied())\n'
        'repairs._repair_metrics = right\n'
        'import basicsr\n'
    )
    first, second, last = say_in_time(text + IN_PLACE, tmp_path).splitlines()
    assert first.startswith('UnusableBasicSRError BasicSR cannot be imported (no such part).')
    assert (second, last) == ('[] ()', 'repaired')


@pytest.mark.slow
def test_the_repairs_can_be_left_out(tmp_path):
    text = f'import basicsr_semantic as ours\n{STAND_IN}ours.register(repairs=False)\n{IN_PLACE}'
    assert say_in_time(
        f'{text}from basicsr_semantic.compat import repairs\nprint(repairs.applied())', tmp_path
    ).split() == [
        *['as', 'it', 'was'],
        '()',
    ]
    again = 'ours.register()\nours.register(False)\nprint("fine")\n'  # neither changes anything
    assert say_in_time(f'{text}{again}{IN_PLACE}', tmp_path).splitlines() == ['as it was', 'fine', 'as it was']


def test_the_repairs_cannot_be_left_out_any_more():
    basicsr_semantic.register()
    with pytest.warns(UserWarning, match=r'repairs=False\) comes too late: .* base_model, .*before the first import'):
        basicsr_semantic.register(repairs=False)
    basicsr_semantic.register(repairs=True)
    assert 'base_model' in repairs.applied()


@pytest.mark.slow
def test_each_repair_is_logged_once_with_its_place(tmp_path):
    text = (
        'import logging, sys, basicsr_semantic as ours\n'
        "log = logging.getLogger('basicsr_semantic')\n"
        'log.setLevel(logging.DEBUG)\n'
        'log.addHandler(logging.StreamHandler(sys.stdout))\n'
        'import basicsr\n'
        'ours.register()\n'
        'from basicsr_semantic.compat import repairs\n'
        "print(*repairs.applied(), sep='\\n')"
    )
    lines = say_in_time(text, tmp_path).splitlines()
    half = len(lines) // 2
    assert half > 10 and [line.split(':')[0] for line in lines[:half]] == [f'Repair {name}' for name in lines[half:]]
    assert all('.py' in line or 'basicsr/ops' in line for line in lines[:half])


COMMANDS = [
    '--version', '--help', 'train --help', 'test --help', 'extract --help', 'prepare --help', 'prepare clips --help',
    'prepare ytvis --help', 'check --help', 'components --help', 'convert --help',
]  # fmt: skip


@pytest.mark.parametrize('words', COMMANDS)
def test_help_imports_nothing_heavy(tmp_path, words):
    text = (
        'import sys\n'
        'from basicsr_semantic.cli import main\n'
        'try:\n'
        '    main(sys.argv[1:])\n'
        'except SystemExit as ended:\n'
        f'    print(ended.code, sorted(set({HEAVY}) & set(sys.modules)))\n'
    )
    (tmp_path / 'script.py').write_text(text)
    assert python('script.py', *words.split(), cwd=tmp_path).stdout.splitlines()[-1] == '0 []'


@pytest.mark.slow
def test_help_answers_in_less_than_half_of_the_time_of_pytorch(tmp_path):
    def seconds(*words: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment(), check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        return min(times)

    torch = seconds('-c', 'import torch')
    assert max(seconds('-m', 'basicsr_semantic', *words.split()) for words in COMMANDS) < torch / 2


def test_extractors_are_described_as_their_classes_say():
    known = {name: cls for name, cls in EXTRACTOR_REGISTRY if name in EXTRACTORS and cls.fills_stores()}
    assert summaries() == {name: inspect.getdoc(cls).split('\n\n')[0].replace('\n', ' ') for name, cls in known.items()}


@pytest.mark.slow
def test_spawned_workers_find_their_data_set(tmp_path):
    (tmp_path / 'script.py').write_text(
        'import multiprocessing\n'
        'import basicsr_semantic\n'
        'if __name__ == "__main__":\n'
        '    from basicsr_semantic.data import SemanticClipDataset\n'
        '    from basicsr.archs.edvr_arch import EDVR\n'
        '    with multiprocessing.get_context("spawn").Pool(1) as pool:\n'
        '        print(pool.map(str, [SemanticClipDataset, EDVR]))\n'
    )
    done = python('script.py', cwd=tmp_path)
    assert 'semantic_clip_dataset.SemanticClipDataset' in done.stdout and 'edvr_arch.EDVR' in done.stdout, done.stderr


@pytest.mark.slow
def test_scipy_is_imported_when_it_is_first_used(tmp_path):
    text = (
        'import sys, types, basicsr_semantic\n'
        'import numpy as np\n'
        'from basicsr.data import degradations, realesrgan_dataset\n'
        'from basicsr.metrics import calculate_niqe\n'
        "parts = ['scipy.stats', 'scipy.special', 'scipy.ndimage']\n"
        'print([part in sys.modules for part in parts])\n'
        'from basicsr_semantic.compat import late\n'
        'late.load_for(types.SimpleNamespace())\n'
        "print('scipy.stats' in sys.modules)\n"
        'late.load_for(object.__new__(realesrgan_dataset.RealESRGANDataset))\n'
        "print('scipy.stats' in sys.modules)\n"
        'import scipy.stats, scipy.special\n'
        'from scipy.ndimage import convolve\n'
        'print(isinstance(scipy.stats, late._LateModule), convolve.__module__.startswith("scipy"))\n'
        'print(scipy.special.j1(2.0) == degradations.special.j1(2.0))\n'
        'print(degradations.cdf2(np.eye(2), degradations.mesh_grid(7)[0]).shape)\n'
        'frame = np.random.default_rng(0).integers(0, 256, (192, 192, 3), dtype=np.uint8)\n'
        'print(calculate_niqe(frame, crop_border=0) > 0, degradations.circular_lowpass_kernel(2, 7).shape)\n'
    )
    assert say(text, tmp_path).splitlines() == [
        '[False, False, False]',
        'False',
        'True',
        'False True',
        'True',
        '(7, 7)',
        'True (7, 7)',
    ]
