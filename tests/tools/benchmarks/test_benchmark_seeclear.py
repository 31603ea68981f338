"""The benchmark of SeeClear: what each side runs, how times are worked out, and that it runs on tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import benchmark_seeclear
import benchmark_seeclear_peer as peer
import benchmark_seeclear_worker as worker
import benchmarking_released as released_code
import pytest
import torch
from helpers.project import ROOT

TOOLS = ROOT / 'tools' / 'benchmarks'
CPU = torch.device('cpu')

# A stand-in for the checkout: it imports what the released code imports, and answers to the same names.
CONFIGURATION = """
model:
  target: models.unet.UNetModelSwin
  params: {image_size: 64, model_channels: 160, swin_embed_dim: 192, num_res_blocks: [2, 2, 2, 2]}
diffusion:
  params: {steps: 15, kappa: 2.0}
autoencoder:
  params: {embed_dim: 3, n_embed: 8192, ddconfig: {ch: 128, num_res_blocks: 2}}
train: {val_freq: "${train.save_freq}"}
"""
UNET = """
import torch
from .basic_ops import scale
from timm.models.layers import DropPath, to_2tuple, trunc_normal_

class UNetModelSwin(torch.nn.Module):
    def __init__(self, image_size, model_channels, swin_embed_dim, num_res_blocks):
        super().__init__()
        self.width = model_channels, swin_embed_dim, sum(num_res_blocks)
        self.weight = torch.nn.Parameter(torch.empty(to_2tuple(3)))
        trunc_normal_(self.weight, std=0.02)

    def forward(self, x, timesteps, lq=None):
        assert x.shape == lq.shape and timesteps.shape == x.shape[:1]
        return scale * x
"""
AUTOENCODER = """
import torch
import torch.nn.functional as F
import xformers
import xformers.ops
from einops import rearrange, repeat

class VQModelTorch(torch.nn.Module):
    def __init__(self, embed_dim, n_embed, ddconfig):
        super().__init__()
        self.width = n_embed, ddconfig['ch'], ddconfig['num_res_blocks']
        self.weight = torch.nn.Parameter(torch.ones(()))

    def encode(self, x):
        return F.avg_pool2d(x, 4)

    def decode(self, z):
        tokens = rearrange(z, 'b c h w -> b (h w) c')
        mixed = xformers.ops.memory_efficient_attention(tokens, tokens, tokens, attn_bias=None, op=None)
        return F.interpolate(rearrange(mixed, 'b (h w) c -> b c h w', h=z.size(2)), scale_factor=4)
"""
DIFFUSION = """
import torch
import torch.nn.functional as F
from ldm.models.autoencoder import VQModelTorch

class Diffusion:
    def __init__(self, steps, kappa):
        self.steps = steps

    def encode_first_stage(self, y, first_stage_model, up_sample=False):
        assert up_sample
        return first_stage_model.encode(F.interpolate(y, scale_factor=4, mode='bicubic'))

    def decode_first_stage(self, z, first_stage_model=None):
        return first_stage_model.decode(z)

    def prior_sample(self, y, noise=None):
        return y + noise

    def p_sample(self, model, x, y, t, clip_denoised=True, model_kwargs=None):
        assert not clip_denoised and 0 <= int(t[0]) < self.steps
        return {'sample': model(x, t, **model_kwargs)}

    def p_sample_loop(self, y, model, first_stage_model=None, clip_denoised=True, model_kwargs=None):
        z = self.encode_first_stage(y, first_stage_model, up_sample=True)
        for t in reversed(range(self.steps)):
            z = self.p_sample(model, z, y, torch.full((len(y),), t), clip_denoised, model_kwargs)['sample']
        return self.decode_first_stage(z, first_stage_model)

create_gaussian_diffusion = Diffusion
"""


@pytest.fixture
def released(tmp_path) -> Path:
    files = {
        'configs/realsr_swinunet_realesrgan256.yaml': CONFIGURATION,
        'models/__init__.py': 'raise ImportError("is not run")',
        'models/basic_ops.py': 'scale = 0.5',
        'models/unet.py': UNET,
        'models/script_util.py': DIFFUSION,
        'ldm/models/autoencoder.py': AUTOENCODER,
        'basicsr/__init__.py': 'raise ImportError("hides the real one")',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture(autouse=True)
def imports():
    """Forget what a test imported by other names."""
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if name.split('.')[0] in ('timm', 'einops', 'xformers', 'models', 'ldm'):
            del sys.modules[name]


def tiny(released: Path | None = None) -> worker.Setting:
    setting = worker.quick(worker.Setting(CPU, released, steps=3))
    return replace(setting, size=16, small=8)


def test_both_files_agree():
    assert set(benchmark_seeclear.PARTS) | {case.name for case in benchmark_seeclear.CASES} == set(worker.CASES)
    targets = {case.name: (case.time_target, case.memory_target) for case in benchmark_seeclear.CASES}
    assert targets.pop('sampling') == (1.0, None) and set(targets.values()) == {(None, None)}
    assert pytest.approx(24e9) == benchmark_seeclear.BUDGET * 2**20


def test_by_default_everything_has_its_full_size():
    setting = worker.Setting(CPU)
    assert (setting.size, setting.small, setting.steps, setting.network, setting.tiny) == (128, 64, 15, {}, False)
    assert setting.core is worker.lens.FULL


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
    run = worker.make_run(case, side, tiny(released))

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
        watch(worker.SeeClear, name, name)
    watch(sys.modules['basicsr_semantic.archs.semantic_lens_arch'].SemanticLens, 'forward', 'lens')
    if 'models.unet' in sys.modules:
        watch(sys.modules['models.unet'].UNetModelSwin, 'forward', 'unet')
        watch(sys.modules['ldm.models.autoencoder'].VQModelTorch, 'encode', 'encode')
        watch(sys.modules['ldm.models.autoencoder'].VQModelTorch, 'decode', 'decode')
    run()
    assert {key: value for key, value in seen.items() if value} == expected


def test_both_sides_run_in_mixed_precision(released):
    setting = replace(tiny(released), precision='bfloat16')
    for case in worker.CASES:
        for side in ('reference', 'measured'):
            worker.make_run(case, side, setting)()


def test_a_frame_is_worked_out_from_its_parts():
    seconds = {
        'once': {'reference': [2.0, 3.0], 'measured': [10.0, 20.0]},
        'step': {'reference': [1.0, 2.0], 'measured': [5.0, 10.0]},
    }
    whole = benchmark_seeclear.frame_seconds('sampling', seconds, 15, 5)
    assert whole == {'reference': [17.0, 33.0], 'measured': [17.0, 34.0]}
    alone = benchmark_seeclear.frame_seconds('unet', seconds, 15, 5)
    assert alone == {'reference': [15.0, 30.0], 'measured': [17.0, 34.0]}
    clip = {'sampling': {'reference': [10.0], 'measured': [5.0]}}
    assert benchmark_seeclear.frame_seconds('sampling', clip, 15, 5) == {'reference': [2.0], 'measured': [1.0]}


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
    with pytest.raises(SystemExit, match='not a checkout of ResShift'):
        peer.released_parts(tmp_path)


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--cases', 'sampling'], 'zsyOAOA/ResShift'),
        (['--cases', 'core', '--size', '100'], 'multiple of 64'),
        (['--cases', 'core', '--steps', '0'], '--steps at least 1'),
    ],
)
def test_wrong_arguments_are_sentences(capsys, arguments, says):
    with pytest.raises(SystemExit):
        benchmark_seeclear.main([*arguments, '--device', 'cpu'])
    assert says in capsys.readouterr().err


@pytest.mark.slow(150)
@pytest.mark.parametrize('full', [False, True])
def test_quick_mode_runs_and_writes_its_figures(tmp_path, released, full):
    out = tmp_path / 'figures.json'
    command = [sys.executable, str(TOOLS / 'benchmark_seeclear.py'), '--quick', '--released-resshift', str(released)]
    command += ['--pairs', '1', '--threads', '1', '--device', 'cpu', '--steps', '2', '--json', str(out)]
    command += ['--full', '--cases', 'sampling', 'unet'] if full else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    rows = [(row['input'], row['quantity']) for row in figures['rows']]
    sampled = [('5x64x64', 'time')] * 2
    assert figures['computed'] is not full and ('(computed)' in done.stdout) is not full
    if full:
        assert rows == sampled and set(figures['seconds']) == {'sampling', 'unet'}
        return
    assert rows == [
        *sampled,
        *[('5x16x16', 'time')] * 3,
        *[('5x16x16', 'memory')] * 2,
    ]
    assert set(figures['seconds']) == {'once', 'step', 'core', 'condition', 'training'}
    assert figures['precision'] == 'float32' and figures['steps'] == 2
    assert 'Computed: what is done once + 2 x a step' in done.stdout and 'only show that' in done.stdout
