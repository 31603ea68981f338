"""The benchmark of SeeClear: what each side runs, and the bridge to the released code of ResShift."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import benchmark
import pytest
import released_code
import resshift as peer
import seeclear_runs as runs
import torch
from helpers.released_checkouts import imports_forgotten, write_checkout

CPU = torch.device('cpu')


@pytest.fixture
def released(tmp_path) -> Path:
    return write_checkout('resshift', tmp_path)


@pytest.fixture(autouse=True)
def imports():
    with imports_forgotten():
        yield


def tiny(released: Path, precision: str = 'float32') -> runs.Setting:
    options = Namespace(released=str(released), quick=True, size=64, steps=3, precision=precision)
    return replace(runs.setting_of(options, CPU), size=16, small=8)


def test_by_default_everything_has_its_full_size(released):
    options, _ = benchmark.read_arguments(['seeclear', '--released', str(released)])
    setting = runs.setting_of(options, CPU)
    assert (setting.size, setting.small, setting.steps, setting.network, setting.tiny) == (128, 64, 15, {}, False)
    assert setting.core is runs.lens.FULL and setting.released == released


@pytest.mark.parametrize(
    ('case', 'side', 'expected'),
    [
        ('sampling', 'reference', {'unet': 3, 'encode': 1, 'decode': 1, 'frames': 5}),
        ('sampling', 'measured', {'condition': 1, 'denoise': 3, 'update_memory': 1}),
        ('unet', 'reference', {'unet': 3, 'frames': 5}),
        ('unet', 'measured', {'condition': 1, 'denoise': 3, 'update_memory': 1}),
        ('once', 'reference', {'encode': 1, 'decode': 1, 'frames': 1}),
        ('once', 'measured', {'condition': 1, 'update_memory': 1}),
        ('step', 'reference', {'unet': 1, 'frames': 1}),
        ('step', 'measured', {'denoise': 1}),
        ('core', 'reference', {'lens': 1}),
        ('core', 'measured', {'denoise': 1}),
        ('condition', 'reference', {'denoise': 1}),
        ('condition', 'measured', {'condition': 1}),
        ('training', 'reference', {'condition': 1, 'denoise': 1, 'trains': 1}),
        ('training', 'measured', {'condition': 1, 'denoise': 1, 'trains': 1, 'checkpointing': 1}),
    ],
)
def test_each_side_runs_what_its_name_says(released, monkeypatch, case, side, expected):
    seen: dict[str, int] = {}
    run = runs.make_run(case, side, tiny(released))

    def watch(owner, name, key):
        inner = getattr(owner, name)

        def counted(self, *arguments, **options):
            seen[key] = seen.get(key, 0) + 1
            if key in ('unet', 'encode'):
                seen['frames'] = len(arguments[0])
            if key == 'denoise' and torch.is_grad_enabled():
                seen['trains'] = int(self.training)
                seen['checkpointing'] = int(self.checkpointing)
            return inner(self, *arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    for name in ('condition', 'denoise', 'update_memory'):
        watch(runs.SeeClear, name, name)
    watch(sys.modules['basicsr_semantic.archs.semantic_lens_arch'].SemanticLens, 'forward', 'lens')
    if 'models.unet' in sys.modules:
        watch(sys.modules['models.unet'].UNetModelSwin, 'forward', 'unet')
        watch(sys.modules['ldm.models.autoencoder'].VQModelTorch, 'encode', 'encode')
        watch(sys.modules['ldm.models.autoencoder'].VQModelTorch, 'decode', 'decode')
    run()
    assert {key: value for key, value in seen.items() if value} == expected


def test_both_sides_run_in_mixed_precision(released):
    setting = tiny(released, 'bfloat16')
    for case in ('sampling', 'unet', 'once', 'step', 'core', 'condition', 'training'):
        for side in ('reference', 'measured'):
            runs.make_run(case, side, setting)()


@pytest.mark.parametrize(
    ('pattern', 'shape', 'sizes', 'expected'),
    [
        ('b c h w -> b h w c', (2, 3, 4, 5), {}, (2, 4, 5, 3)),
        ('b c h w -> b (h w) c', (2, 3, 4, 5), {}, (2, 20, 3)),
        ('b (h w) c -> b c h w', (2, 20, 3), {'b': 2, 'h': 4, 'w': 5, 'c': 3}, (2, 3, 4, 5)),
        ('n d -> d n', (2, 3), {}, (3, 2)),
    ],
)
def test_the_stand_in_of_rearrange(pattern, shape, sizes, expected):
    x = torch.arange(float(torch.Size(shape).numel())).view(shape)
    found = peer.rearrange(x, pattern, **sizes)
    assert found.shape == expected
    order = {'b h w c': (0, 2, 3, 1), 'b (h w) c': (0, 2, 3, 1), 'b c h w': (0, 2, 1), 'd n': (1, 0)}
    assert torch.equal(found.flatten(), x.permute(order[pattern.split(' -> ')[1]]).flatten())


def test_a_stand_in_takes_no_real_modules_place():
    released_code.stand_in('torch.nn', Linear='not this')
    assert torch.nn.Linear is not None and not isinstance(torch.nn.Linear, str)
    released_code.stand_in('xformers.ops', first=1)
    released_code.stand_in('xformers.ops', second=2)
    import xformers  # type: ignore[import-not-found]

    assert (xformers.ops.first, xformers.ops.second) == (1, 2)


def test_the_released_networks_have_the_size_of_their_configuration(released):
    full, small = (peer.ResShift(released, 3, narrow, CPU) for narrow in (False, True))
    assert (full.unet.width, full.autoencoder.width) == ((160, 192, 8), (8192, 128, 2))
    assert (small.unet.width, small.autoencoder.width) == ((32, 32, 4), (16, 32, 1))


def test_a_folder_without_the_released_code_is_told(tmp_path):
    with pytest.raises(SystemExit, match='no checkout of ResShift'):
        peer.released_parts(tmp_path)
