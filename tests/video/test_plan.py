"""Tiles, ensembles and `--fast`: how scenes are restored in other ways than as a whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from helpers.coded_videos import decoded, moving_frames, write_video
from helpers.seem import randomise
from hypothesis import given, settings
from hypothesis import strategies as st

import basicsr_semantic
from basicsr_semantic.cli import main
from basicsr_semantic.inference import Restorer
from basicsr_semantic.priors import SemanticPriors
from basicsr_semantic.priors.semantic_priors import CELL
from basicsr_semantic.utils.errors import UserError, short_of_memory
from basicsr_semantic.utils.memory import free_memory, memory_of
from basicsr_semantic.utils.safetensors_files import write_safetensors
from basicsr_semantic.video import fast, tiles
from basicsr_semantic.video.choices import Choices
from basicsr_semantic.video.plan import Plan, restorer_of_scenes
from basicsr_semantic.video.scenes import cut_into_scenes
from basicsr_semantic.video.sources import TimedFrame

CPU = torch.device('cpu')
LITE = {'num_feat': 8, 'num_block': 1, 'flow_feat': 4}


class Priors:
    """The priors of a scene, as `ScenePriors` gives them."""

    def __init__(self, masks):
        self.masks = masks

    def at(self, frames):
        return SemanticPriors(masks=self.masks[None, list(frames)])


@pytest.fixture
def scene(tmp_path):
    """A function: a scene of so many frames."""

    def make(count=5, height=40, width=52, masks=None):
        frames = (TimedFrame(image, k) for k, image in enumerate(moving_frames(count, height, width)))
        made = next(cut_into_scenes(frames, tmp_path, 'none'))
        if masks is not None:
            made.priors = Priors(masks)
        return made

    return make


def network(**more):
    return Restorer(randomise(ARCH_REGISTRY.get('BasicVSRLite')(**LITE, **more), 1, 0.05))


def restore(net, plan, scene, choices=None, say=None):
    how = restorer_of_scenes(net, plan, choices, say)
    return torch.stack(list(how.restore(scene)))


def tensor(scene):
    return torch.cat([scene.tensor(k, CPU) for k in range(len(scene))])[None]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(8, 40), st.integers(1, 4))
def test_tiles_cover_a_side_and_count_one_in_sum(length, cells, scale):
    tile = cells * CELL
    begins, total = tiles.starts(length, tile), torch.zeros(length * scale)
    assert begins == sorted(set(begins)) and all(begin % CELL == 0 for begin in begins)
    fades = tiles.fades(length, tile, scale)
    assert [*fades] == begins
    for begin, fade in fades.items():
        assert 0 < len(fade) <= tile * scale
        total[begin * scale : begin * scale + len(fade)] += fade
    assert (total - 1).abs().max() < 1e-6
    shared = [a + tile - b for a, b in pairwise(begins)]
    assert all(tiles.overlap_of(tile) - CELL < one <= tile for one in shared)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(5, 70), st.integers(5, 70), st.sampled_from([0, 32, 40]), st.data())
def test_any_size_gives_the_right_number_and_size_of_frames(count, height, width, tile, data):
    window = data.draw(st.sampled_from([None, 1, 2, 3, 5]))
    overlap = data.draw(st.integers(0, (window or 4) - 1))
    how = {'tile': tile, 'ensemble': data.draw(st.booleans()), 'window': window, 'overlap': overlap}
    made = list(basicsr_semantic.upscale(moving_frames(count, height, width), network(), **how))
    assert [image.shape for image in made] == [(4 * height, 4 * width, 3)] * count


def test_tiles_are_faded_into_one_another(scene):
    net, whole = network(), scene(4, 60, 72)
    wanted, made = restore(net, Plan(tile=0), whole), restore(net, Plan(tile=40), whole)
    difference = (made - wanted).abs()
    assert 0 < difference.max() < 0.05 and difference.mean() < 2e-3
    view = restore(net, Plan(tile=72), whole)
    assert torch.equal(view, wanted)  # a tile as large as the frame


def test_masks_are_cut_and_mirrored_with_the_frames(scene):
    masks = (torch.rand(3, 4, 40, 52, generator=torch.Generator().manual_seed(0)) > 0.5).byte()
    net, whole = network(num_masks=4, branches=['forward']), scene(3, masks=masks)
    plain = restore(net, Plan(tile=0), whole)
    assert (restore(net, Plan(tile=40), whole) - plain).abs().mean() < 2e-3
    frames, results = tensor(whole), []
    for h in (False, True):
        for v in (False, True):
            for backwards in (False, True):
                axes = [axis for axis, on in ((4, h), (3, v), (1, backwards)) if on]
                given_masks = SemanticPriors(masks=masks[None].flip(axes))
                results.append(net(frames.flip(axes), given_masks).flip(axes))
    wanted = torch.stack(results).mean(dim=0)[0]
    made = restore(net, Plan(tile=0, ensemble=True), whole)
    assert (made - wanted).abs().max() < 1e-5
    assert (made - plain).abs().max() > 1e-3


def test_a_tile_is_halved_when_memory_runs_out(scene, monkeypatch):
    from basicsr_semantic.video.scene_restorers import RecurrentScenes

    net, whole, choices = network(), scene(4, 120, 136), Choices()
    wanted, real = restore(net, Plan(tile=0), whole), RecurrentScenes.restore

    def scarce(self, view, first, saved, progress):
        for k, made in enumerate(real(self, view, first, saved, progress), first):
            if max(view.size) > 40 and k == 2:
                raise torch.OutOfMemoryError('CUDA out of memory.')
            yield made

    monkeypatch.setattr(RecurrentScenes, 'restore', scarce)
    made = restore(net, Plan(), whole, choices)
    assert choices.get('tile') == 32  # 136, 68, 32
    assert made.shape == wanted.shape and (made - wanted).abs().mean() < 5e-3
    assert torch.equal(made[:2], wanted[:2])  # what was made before stays

    def always(self, view, first, saved, progress):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes.")
        yield

    monkeypatch.setattr(RecurrentScenes, 'restore', always)
    with pytest.raises(RuntimeError, match='allocate'):
        restore(net, Plan(), whole)


def test_the_largest_tile_that_fits_is_taken(scene, monkeypatch):
    net, whole = network(), scene(3, 300, 400)
    assert memory_of(lambda: torch.ones(30_000_000).sum(), CPU) > 0 and free_memory(CPU) > 0
    for free, taken, tile in ((10**9, 10**6, 0), (10**8, 128 * 128 * 10_000, 80), (1, 10**6, 32)):
        monkeypatch.setattr(tiles, 'free_memory', lambda device, free=free: free)
        monkeypatch.setattr(tiles, 'memory_of', lambda work, device, taken=taken: taken)
        how = restorer_of_scenes(net, Plan())
        next(how.restore(whole))
        assert (how.plan == '') == (tile == 0) and f'{tile}x{tile}' in how.plan + '0x0'
    assert not short_of_memory(RuntimeError('another')) and short_of_memory(MemoryError())


def test_a_side_that_no_tile_has_is_refused(tmp_path, capsys):
    with pytest.raises(UserError, match='multiple of 4 and at least 32 pixels, not 30'):
        restorer_of_scenes(network(), Plan(tile=30))
    path = write_video(tmp_path / 'in.mp4', moving_frames(2))
    with pytest.raises(SystemExit):
        main(['upscale', str(path), str(tmp_path / 'o.mp4'), '--tile', 'large'])
    assert 'large is neither a number of pixels nor auto nor none.' in capsys.readouterr().err


def test_fast_takes_what_is_faster_and_says_how_near_it_is(scene, monkeypatch):
    net, whole, said = network(), scene(3, 16, 16), []  # half precision is emulated on many processors
    wanted = restore(net, Plan(tile=0), whole)
    real = fast.FastScenes._measure

    def measured(seconds):
        return lambda self, way, view: (seconds[way.half], real(self, way, view)[1])

    monkeypatch.setattr(fast, '_half_is_faster', lambda device: True)
    monkeypatch.setattr(fast.FastScenes, '_measure', measured({False: 1.0, True: 0.97}))
    assert torch.equal(restore(net, Plan(tile=0, fast=True), whole, say=said.append), wanted)
    assert said == ['float32, since nothing is faster on this machine.']
    monkeypatch.setattr(fast.FastScenes, '_measure', measured({False: 1.0, True: 0.5}))
    choices = Choices()
    made = restore(net, Plan(tile=0, fast=True), whole, choices, said.append)
    assert 0 < (made - wanted).abs().max() < 0.03 and made.dtype == torch.float32
    assert 'bfloat16: 2.00 times as fast as float32; PSNR' in said[-1] and choices.get('way') == [True, False]
    error = -10 * (made[:3].clamp(0, 1) - wanted[:3].clamp(0, 1)).square().mean().log10()
    assert abs(float(said[-1].split('PSNR ')[1].split()[0]) - float(error)) < 1  # of the first frames
    monkeypatch.setattr(fast.FastScenes, '_measure', None)  # a run that is resumed does not choose again
    assert torch.equal(restore(net, Plan(tile=0, fast=True), whole, choices), made)


def test_a_compiled_network_is_the_plain_one_again_afterwards(scene, monkeypatch):
    net, whole, used = network(), scene(3), []
    parts = dict(net.net.named_modules())

    class Compiled(torch.nn.Module):
        def __init__(self, part):
            super().__init__()
            self.part = [part]
            used.append(part)

        def forward(self, *arguments):
            return self.part[0](*arguments)

    wanted = restore(net, Plan(tile=32), whole)
    monkeypatch.setattr(torch, 'compile', Compiled)
    choices = Choices()
    choices.put('way', [False, True])
    assert torch.equal(restore(net, Plan(tile=32, fast=True), whole, choices), wanted)  # tiles, side by side
    assert [id(part) for part in used] == [id(parts[name]) for name in fast._COMPILED]  # each once
    assert dict(net.net.named_modules()) == parts


def test_the_way_is_chosen_on_the_whole_scene_whatever_is_restored_first(scene, monkeypatch):
    net, whole, seen = network(), scene(3, 280, 320), []
    monkeypatch.setattr(fast.FastScenes, '_choose', lambda self, scene: seen.append(scene) or fast.Way())
    next(restorer_of_scenes(net, Plan(fast=True)).restore(whole))
    assert len(seen) == 1 and seen[0].whole is whole


@pytest.mark.parametrize('flags', [['--tile', '32'], ['--ensemble']], ids=['tiles', 'ensemble'])
def test_a_run_in_parts_that_was_stopped_gives_the_same(tmp_path, flags, monkeypatch):
    from basicsr_semantic.video import upscaling

    file, path = tmp_path / 'net.safetensors', write_video(tmp_path / 'in.mp4', moving_frames(13, 40, 52))
    record = {'network': {'type': 'BasicVSRLite', **LITE}, 'model_type': 'SemanticVSRModel', 'scale': 4, 'version': '0'}
    write_safetensors({'params': network().net.state_dict(), 'arch': record}, file)
    call = ['upscale', str(path), '--model', str(file), '--segment', '4', *flags]
    once, out, real, made = tmp_path / 'once.mp4', tmp_path / 'out.mp4', upscaling.as_image, []
    assert main([*call[:2], str(once), *call[2:]]) == 0

    def interrupted(frame, dtype):
        made.append(1)
        if len(made) == 7:
            raise KeyboardInterrupt
        return real(frame, dtype)

    monkeypatch.setattr(upscaling, 'as_image', interrupted)
    assert main([*call[:2], str(out), *call[2:]]) == 130
    assert main([*call[:2], str(out), *call[2:], '--resume']) == 0
    assert out.read_bytes() == once.read_bytes() and len(decoded(out)) == 13


def test_niqe_is_in_the_report_where_asked_for(tmp_path, capsys):
    import json

    path, report = write_video(tmp_path / 'in.mp4', moving_frames(2, 48, 64)), tmp_path / 'report.json'
    assert main(['upscale', str(path), str(tmp_path / 'o.mp4'), '--niqe']) == 2
    assert '--niqe needs --report.' in capsys.readouterr().err
    record = {'network': {'type': 'BasicVSRLite', **LITE}, 'model_type': 'SemanticVSRModel', 'scale': 4, 'version': '0'}
    write_safetensors({'params': network().net.state_dict(), 'arch': record}, tmp_path / 'net.safetensors')
    call = ['upscale', str(path), str(tmp_path / 'o.mp4'), '--model', str(tmp_path / 'net.safetensors')]
    assert main([*call, '--report', str(report), '--niqe']) == 0
    said = json.loads(report.read_text())
    values = said['of every frame']['NIQE']
    assert len(values) == 2 and np.isclose(said['NIQE'], np.mean(values)) and all(value > 0 for value in values)
