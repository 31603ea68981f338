"""Videos by Semantic Lens and SeeClear: tokens and pixel features of a store, by windows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from helpers.coded_videos import moving_frames
from helpers.seeclear import TINY
from helpers.seem import randomise

from basicsr_semantic import load
from basicsr_semantic.cli import main
from basicsr_semantic.priors import PriorStore, PriorStoreWriter, SemanticPriors, store_metadata
from basicsr_semantic.utils.safetensors_files import write_safetensors

LENS = {'type': 'SemanticLens', 'mid_channels': 8, 'embed_dim': 12, 'depths': [1], 'num_heads': [2]}
LENS |= {'window_size': [3, 8, 8], 'token_dim': 16, 'global_dim': 8}
CLEAR = {'type': 'SeeClear', **TINY}
FRAMES, HEIGHT, WIDTH = 16, 64, 96


@pytest.fixture
def given(tmp_path):
    """A function: the file of a small network, a folder of frames, and a store of their tokens and pixel features."""

    def make(network, model_type):
        section = dict(network)
        net = randomise(ARCH_REGISTRY.get(section.pop('type'))(**section), 1)
        record = {'network': network, 'model_type': model_type, 'scale': 4, 'version': '0'}
        more = {'diffusion': {'steps': 2}, 'stage': 'joint'} if model_type == 'SeeClearModel' else {}
        content = {'params': net.state_dict(), 'arch': record, 'prior_kind': 'xdecoder', **more}
        write_safetensors(content, tmp_path / 'net.safetensors')
        images, generator = moving_frames(FRAMES, HEIGHT, WIDTH), np.random.default_rng(0)
        (tmp_path / 'clip').mkdir()
        global_dim = network.get('global_dim', 0)
        sizes = {'num': TINY['num_tokens'], 'dim': 16, 'global_dim': global_dim}
        meta = store_metadata('xdecoder', max_masks=0, tokens=sizes, features={'dim': TINY['feature_dim'], 'cell': 4})
        with PriorStoreWriter(tmp_path / 'store.lmdb', meta) as store:
            for k, image in enumerate(images):
                cv2.imwrite(str(tmp_path / 'clip' / f'{k:08d}.png'), image[..., ::-1])
                key = f'clip/{k:08d}'
                store.put_tokens(
                    key,
                    generator.standard_normal((sizes['num'], 16)).astype(np.float32),
                    generator.standard_normal(global_dim).astype(np.float32),
                )
                features = (TINY['feature_dim'], HEIGHT // 4, WIDTH // 4)
                store.put_features(key, generator.standard_normal(features).astype(np.float32))
                store.put(key, np.zeros((0, HEIGHT, WIDTH), bool))
        return tmp_path / 'net.safetensors', tmp_path / 'store.lmdb'

    return make


def upscale(tmp_path, file, *flags):
    out = tmp_path / 'out'
    call = ['upscale', str(tmp_path / 'clip'), str(out), '--model', str(file), '--force', *flags]
    assert main(call) == 0
    return np.stack([cv2.imread(str(path))[..., ::-1] for path in sorted(out.glob('*.png'))])


def lq_of(tmp_path):
    images = [cv2.imread(str(path))[..., ::-1] for path in sorted((tmp_path / 'clip').iterdir())]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)[None].float() / 255


@pytest.mark.slow(20)
def test_semantic_lens_gets_the_instance_tokens_of_the_scene_in_every_window(tmp_path, given):
    file, store = given(LENS, 'SemanticVSRModel')
    flags = ['--priors', str(store), '--extractor-option', 'instance_source=mean_over_time']
    made = upscale(tmp_path, file, *flags)
    assert made.shape == (FRAMES, 4 * HEIGHT, 4 * WIDTH, 3)
    frame_tokens, global_tokens = PriorStore(store).clip_tokens([f'clip/{k:08d}' for k in range(FRAMES)])
    priors = SemanticPriors(
        masks=torch.zeros(1, FRAMES, 64, HEIGHT, WIDTH, dtype=torch.uint8),
        global_tokens=torch.from_numpy(global_tokens)[None],
        instance_tokens=torch.from_numpy(frame_tokens).mean(dim=0)[None],
        kind='xdecoder',
    )
    whole = load(file)(lq_of(tmp_path), priors)[0].clamp(0, 1).mul(255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(made - whole).max() <= 1  # 16 frames are one window
    parts = upscale(tmp_path, file, *flags, '--window', '6', '--overlap', '2')
    assert parts.shape == made.shape and 0 < np.abs(parts.astype(int) - made).max() < 128


@pytest.mark.slow(10)
def test_seeclear_restores_its_clips_and_its_noise_follows_from_the_number_of_the_frame(tmp_path, given):
    file, store = given(CLEAR, 'SeeClearModel')
    made = upscale(tmp_path, file, '--priors', str(store))
    assert made.shape == (FRAMES, 4 * HEIGHT, 4 * WIDTH, 3) and made.std() > 0
    assert np.array_equal(upscale(tmp_path, file, '--priors', str(store)), made)  # same input, same output
