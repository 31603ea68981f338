"""What tools/benchmarks/memory.py counts on fake tensors is what a real step on a CPU has in memory."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import memory  # pyright: ignore[reportMissingImports]  (a tool)
import memory_counting  # pyright: ignore[reportMissingImports]
import pytest
import torch
import yaml
from helpers.instances import FRAMES, INSTANCES
from helpers.project import ROOT
from helpers.seeclear import TINY as SEECLEAR
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile, record_function

from basicsr_semantic.config.option_file import OptionFile, load_yaml

BEGIN = 'the backward pass begins'
LENS = {
    'type': 'SemanticLens', 'mid_channels': 24, 'embed_dim': 24, 'depths': [2, 2], 'num_heads': [2, 2],
    'window_size': [3, 8, 8], 'image_window': 5, 'token_dim': 16, 'global_dim': 16,
}  # fmt: skip
SEEM = {'num_feat': 16, 'num_masks': 4, 'reduction': 2}
EDVR = {'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 2, 'num_reconstruct_block': 4}


def of(network: dict[str, Any], data: dict[str, Any], train: dict[str, Any], **top: Any) -> OptionFile:
    """An option file of a small training, whose data do not exist."""
    clips = {
        'name': 'none', 'type': 'SemanticClipDataset', 'dataroot_gt': 'nowhere', 'dataroot_lq': 'nowhere',
        'dataroot_priors': 'nowhere', 'io_backend': {'type': 'disk'}, 'num_masks': 4, 'num_frame': 3, 'gt_size': 160,
        'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'dataset_enlarge_ratio': 1,
    }  # fmt: skip
    training = {
        'total_iter': 6, 'ema_decay': 0.9, 'optim_g': {'type': 'Adam', 'lr': 1e-3},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [5]},
        'pixel_opt': {'type': 'CharbonnierLoss', 'loss_weight': 1.0, 'reduction': 'mean'},
    }  # fmt: skip
    values = {
        'name': 'small', 'model_type': 'SemanticVSRModel', 'scale': 4, 'num_gpu': 0, 'manual_seed': 0,
        'datasets': {'train': clips | data}, 'network_g': network, 'path': {}, 'train': training | train,
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': False},
    } | top  # fmt: skip
    values['datasets']['train'] = {k: v for k, v in values['datasets']['train'].items() if v is not ...}
    values['train'] = {k: v for k, v in values['train'].items() if v is not ...}
    return OptionFile(deepcopy(values), 'small.yml')


def seeclear(stage: str, checkpointing: bool) -> OptionFile:
    return of(
        {'type': 'SeeClear', **SEECLEAR, 'checkpointing': checkpointing},
        {'num_frame': 6, 'gt_size': 128, 'num_masks': ...},
        {'stage': stage},
        model_type='SeeClearModel',
        diffusion={'steps': 4},
        path={'pretrain_network_g': 'nowhere.pth'},
    )


def stage_one(trainable: list[str]) -> OptionFile:
    nothing = dict.fromkeys(('dataroot_lq', 'dataroot_priors', 'num_masks', 'gt_size'), ...)
    data = {'type': 'VideoInstanceDataset', 'annotation_file': 'nowhere.json', 'short_sides': [96, 128]}
    data |= {'max_long_side': 160, **nothing}
    loss = {'type': 'VideoInstanceLoss', 'num_points': 200}
    return of(
        INSTANCES,
        data,
        {'trainable': trainable, 'instance_opt': loss, 'pixel_opt': ...},
        model_type='VideoInstanceModel',
        frame_decoder=FRAMES | {'text_embeddings': 'nowhere.pt'},
        path={'pretrain_frame_decoder': 'nowhere.pth'},
    )


CASES = {
    'BasicVSRSEEM': of({'type': 'BasicVSRSEEM', 'num_block': 2, **SEEM}, {}, {}),
    'BasicVSRSEEM, bf16': of({'type': 'BasicVSRSEEM', 'num_block': 2, **SEEM}, {}, {'amp': 'bf16'}),
    'BasicVSRSEEM, in parts': of({'type': 'BasicVSRSEEM', 'num_block': 2, **SEEM}, {}, {'accumulate': 2}),
    'EDVRSEEM, adapter alone': of(
        {'type': 'EDVRSEEM', **EDVR, **SEEM},
        {'center_frame_only': True, 'center_masks_only': True},
        {'trainable': ['sam_embed', 'seem_']},
    ),
    'SemanticLens, checkpointing': of(LENS | {'checkpointing': True}, {'gt_size': 96}, {}),
    'SeeClear, checkpointing': seeclear('joint', True),
    'stage 1': stage_one(['instance']),
    'stage 1 with frames': stage_one(['frame_decoder', 'instance']),
}


def real_step(file: OptionFile, precision: str) -> tuple[int, int]:
    """What a real step adds to the memory: bytes when the first backward pass begins, and at the most."""
    model, _ = memory.build(file, precision)
    backward = torch.Tensor.backward

    def marked(loss: torch.Tensor) -> None:
        with record_function(BEGIN):
            pass
        backward(loss)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, 'backward', marked)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            model.optimize_parameters(6)
    kineto: Any = profiled.profiler
    events = kineto.kineto_results.events()
    begin = min(one.start_ns() for one in events if one.name() == BEGIN)
    now = most = at_begin = 0
    for one in sorted((one for one in events if one.name() == '[memory]'), key=lambda one: one.start_ns()):
        now += one.nbytes()
        most = max(most, now)
        at_begin = now if one.start_ns() < begin else at_begin
    return at_begin, most


@pytest.mark.slow(8)
@pytest.mark.parametrize('name', CASES)
def test_it_counts_what_a_real_step_keeps(name):
    """Where the backward pass begins, to 10 % (4 at the most here: on CUDA, heads are filled up to eight numbers)."""
    file = CASES[name]
    counted = memory.measure(file, 'bf16' if file.values['train'].get('amp') else 'float32')
    kept, most = real_step(file, counted.precision)
    assert counted.saved + counted.held == pytest.approx(kept, rel=0.1)
    assert counted.saved + counted.held + counted.again <= 1.05 * most
    assert (counted.again > 0) == (name == 'SeeClear, checkpointing')
    assert (counted.clips, counted.frames) == (1 if 'parts' in name else 2, 6 if 'SeeClear' in name else 3)


def test_what_does_not_depend_on_the_batch():
    """Weights once, and again for the average; gradients once and Adam's state twice of what trains."""
    counted = memory.measure(CASES['EDVRSEEM, adapter alone'], 'float32')
    model, batch = memory.build(CASES['EDVRSEEM, adapter alone'], 'float32')
    parameters = list(model.net_g.parameters())
    weights = 4 * sum(one.numel() for one in [*parameters, *model.net_g.buffers()])
    trains = 4 * sum(one.numel() for one in parameters if one.requires_grad)
    assert (counted.weights, counted.average, counted.gradients) == (weights, weights, trains)
    assert 0 < trains < weights and 2 * trains <= counted.optimizer < 2.1 * trains
    assert counted.batch == sum(one.numel() * one.element_size() for one in batch.values())
    assert counted.total == 2 * weights + trains + counted.optimizer + counted.batch + counted.saved + counted.held


@pytest.mark.parametrize('mask', [None, torch.bool, torch.float32])
def test_attention_saves_what_the_fused_kernel_saves(mask):
    """Queries, keys, values, result, a number a query, and the mask; plain attention saves every score."""
    with FakeTensorMode():
        q, k, v = (torch.empty(2, 4, 512, 16, device='cuda', requires_grad=True) for _ in range(3))
        added = None if mask is None else torch.empty(512, 512, dtype=mask, device='cuda')
        with memory_counting.SavedForBackward([]) as saved, memory_counting.as_on_a_gpu():
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=added)
        assert out.shape == q.shape and out.is_cuda
        fused = 4 * (4 * q.numel() + 2 * 4 * 512 + (0 if added is None else added.numel()))
        assert saved.bytes() == pytest.approx(fused, rel=0.01)
        with memory_counting.SavedForBackward([]) as saved:
            kept = functional.scaled_dot_product_attention(q, k, v, attn_mask=added)
        assert saved.bytes() > 3 * fused and kept.shape == q.shape


def test_what_cannot_be_counted_is_refused_in_a_sentence(tmp_path, capsys):
    path = tmp_path / 'a.yml'
    values = CASES['BasicVSRSEEM'].values
    for change, message in (
        ({'model_type': 'VideoRecurrentModel'}, 'model_type is VideoRecurrentModel'),
        ({'train': values['train'] | {'perceptual_opt': {'type': 'PerceptualLoss'}}}, 'perceptual_opt'),
        ({'datasets': {'train': values['datasets']['train'] | {'gt_size': None}}}, 'gt_size is missing'),
        ({'scael': 4}, 'scael'),
    ):
        path.write_text(yaml.safe_dump(values | change))
        assert memory.main([str(path)]) == 2
        assert message in capsys.readouterr().err


def test_the_page_has_every_full_size_file_and_what_the_tool_says(capsys):
    text = (ROOT / 'docs/memory.md').read_text(encoding='utf-8')
    rows = {name: line for line in text.splitlines() for name in re.findall(r'^\| `(\S+)`', line)}
    files = [path for path in (ROOT / 'options').rglob('*.yml') if path.parent.name != 'demo']
    files = [path for path in files if 'davis320' not in path.name and 'train' in load_yaml(path)]
    assert sorted(rows) == sorted(path.relative_to(ROOT / 'options').as_posix() for path in files)
    name = 'seem/tune_EDVRSEEM_M_REDS.yml'
    assert memory.main(['--markdown', str(ROOT / 'options' / name)]) == 0
    line = capsys.readouterr().out.splitlines()[2]
    numbers = [
        [float(one) for one in re.findall(r'\d+\.\d+', text)] for text in (line, rows['seem/tune_EDVRSEEM_M_REDS.yml'])
    ]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.011)
