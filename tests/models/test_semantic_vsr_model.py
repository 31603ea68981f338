"""SemanticVSRModel: EMA, mixed precision, accumulation, freezing, adapters, kinds of priors."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import tiny_archs  # noqa: F401  (registers TinyVSR)
import torch
from basicsr.utils import get_root_logger

from basicsr_semantic.engine.checkpoint import load_file
from basicsr_semantic.models import SemanticVSRModel
from basicsr_semantic.utils.errors import MissingError, UserError

SEEM = {'type': 'BasicVSRSEEM', 'num_feat': 8, 'num_block': 1, 'num_masks': 4, 'reduction': 4, 'zero_flow': True}


def make_model(options, tmp_path, is_train: bool = True, **sections) -> SemanticVSRModel:
    opt = options(**sections)
    opt['path'] |= {'models': str(tmp_path / 'models'), 'training_states': str(tmp_path / 'states')}
    for folder in ('models', 'states'):
        (tmp_path / folder).mkdir(exist_ok=True)
    torch.manual_seed(0)
    return SemanticVSRModel(copy.deepcopy(opt) | {'is_train': is_train, 'dist': False, 'rank': 0, 'world_size': 1})


def batch(size: int = 2, masks: bool = False, kind: str | None = None) -> dict:
    generator = torch.Generator().manual_seed(1)
    data = {
        'lq': torch.rand(size, 3, 3, 36, 36, generator=generator),
        'gt': torch.rand(size, 3, 3, 144, 144, generator=generator),
    }
    if masks:
        data['masks'] = (torch.rand(size, 3, 4, 36, 36, generator=generator) > 0.5).to(torch.uint8)
    if kind:
        data['prior_kind'] = [kind] * size
    return data


def step(model, count: int = 1, **kwargs) -> dict[str, torch.Tensor]:
    for i in range(1, count + 1):
        model.update_learning_rate(i)
        model.feed_data(batch(**kwargs))
        model.optimize_parameters(i)
    return {k: v.clone() for k, v in model.get_bare_model(model.net_g).state_dict().items()}


def differing(a: dict, b: dict) -> set[str]:
    return {k for k in a if not torch.equal(a[k], b[k])}


def train(**keys) -> dict:
    return {'train': keys}


def test_ema_starts_equal_moves_by_its_decay_and_is_what_a_test_uses(options, tmp_path):
    model = make_model(options, tmp_path)
    start = {k: v.clone() for k, v in model.net_g_ema.state_dict().items()}
    assert not differing(start, model.net_g.state_dict())
    now = step(model)
    for k, v in model.net_g_ema.state_dict().items():
        torch.testing.assert_close(v, 0.9 * start[k] + 0.1 * now[k])
    model.feed_data(batch())
    model.test()
    with torch.no_grad():
        torch.testing.assert_close(model.output, model.net_g_ema(batch()['lq']))
    assert not torch.equal(model.output, model.net_g(batch()['lq']))


def test_accumulation_gives_the_step_of_the_whole_batch(options, tmp_path):
    whole = step(make_model(options, tmp_path), size=4)
    for parts in (2, 4):
        split = step(make_model(options, tmp_path, **train(accumulate=parts)), size=4)
        for k in whole:
            torch.testing.assert_close(split[k], whole[k], rtol=1e-5, atol=1e-7)
    with pytest.raises(UserError, match='does not divide the batch of 3'):
        step(make_model(options, tmp_path, **train(accumulate=2)), size=3)


def test_gradients_are_clipped_and_their_norm_is_logged(options, tmp_path):
    model = make_model(options, tmp_path, **train(grad_clip=1e-4))
    step(model)
    norm = torch.cat([p.grad.flatten() for p in model.net_g.parameters()]).norm()
    assert norm <= 1.001e-4 and model.log_dict['grad_norm'] > 1e-4


def test_bf16_trains_and_stays_near_float32(options, tmp_path):
    full = step(make_model(options, tmp_path), count=3)
    mixed_model = make_model(options, tmp_path, **train(amp='bf16'))
    mixed = step(mixed_model, count=3)
    assert mixed_model.scaler is None
    assert differing(full, mixed)
    assert max((full[k] - mixed[k]).abs().max() for k in full) < 5e-3


def test_fp16_scales_the_loss_and_the_scaler_is_resumed(options, tmp_path):
    model = make_model(options, tmp_path, **train(amp='fp16'))
    step(model, count=2)
    model.scaler.update(512.0)
    model.save(0, 2)
    state = load_file(tmp_path / 'states' / '2.state')
    other = make_model(options, tmp_path, **train(amp='fp16'))
    other.resume_training(state)
    assert other.scaler.get_scale() == 512.0


@pytest.mark.slow
def test_a_compiled_network_trains_like_the_plain_one(options, tmp_path):
    plain = step(make_model(options, tmp_path), count=2)
    compiled = step(make_model(options, tmp_path, **train(compile=True)), count=2)
    assert plain.keys() == compiled.keys()  # no _orig_mod in the names
    for k in plain:
        torch.testing.assert_close(compiled[k], plain[k], rtol=1e-4, atol=1e-6)


def test_only_what_is_trainable_changes_and_only_that_reaches_the_optimiser(options, tmp_path):
    model = make_model(options, tmp_path, network_g=SEEM, **train(trainable=['sam_embed', 'seem_']))
    before = {k: v.clone() for k, v in model.net_g.state_dict().items()}
    after = step(model, count=2, masks=True)
    changed = differing(before, after)
    assert changed and all(k.startswith(('sam_embed', 'seem_')) for k in changed)
    assert {k for k in after if k.startswith(('sam_embed', 'seem_'))} == changed  # all of them, from step 2 on
    handed = sum(p.numel() for g in model.optimizer_g.param_groups for p in g['params'])
    assert handed == sum(v.numel() for k, v in after.items() if k.startswith(('sam_embed', 'seem_')))


def test_the_end_of_fix_flow_thaws_nothing_that_is_frozen(options, tmp_path):
    model = make_model(options, tmp_path, network_g=SEEM, **train(trainable=['sam_embed', 'seem_'], fix_flow=2))
    before = {k: v.clone() for k, v in model.net_g.state_dict().items() if k.startswith('spynet')}
    after = step(model, count=4, masks=True)
    assert not differing(before, after)


def test_fix_flow_freezes_until_its_iteration(options, tmp_path):
    model = make_model(options, tmp_path, **train(fix_flow=3))
    before = model.net_g.spynet.weight.clone()
    step(model, count=2)
    assert torch.equal(model.net_g.spynet.weight, before)
    model.feed_data(batch())
    model.optimize_parameters(3)
    assert not torch.equal(model.net_g.spynet.weight, before)


def test_a_write_to_a_frozen_parameter_is_caught(options, tmp_path):
    model = make_model(options, tmp_path, network_g=SEEM, **train(trainable=['sam_embed', 'seem_']))
    with torch.no_grad():
        model.net_g.fusion.weight.add_(1)
    with pytest.raises(RuntimeError, match=r'Frozen parameters changed.*fusion\.weight'):
        step(model, masks=True)


def test_a_loss_that_is_not_finite_stops_before_the_step(options, tmp_path):
    model = make_model(options, tmp_path)
    before = {k: v.clone() for k, v in model.net_g.state_dict().items()}
    data = batch()
    data['gt'][0, 0, 0, 0, 0] = float('nan')
    model.feed_data(data)
    with pytest.raises(UserError, match='l_pix is nan at iteration 1'):
        model.optimize_parameters(1)
    assert not differing(before, model.net_g.state_dict())


def test_adapter_checkpoints_hold_only_new_keys_and_load_on_a_baseline(options, tmp_path):
    model = make_model(options, tmp_path, network_g=SEEM, **train(trainable=['sam_embed', 'seem_']))
    baseline = {k: v for k, v in model.net_g.state_dict().items() if not k.startswith(('sam_embed', 'seem_'))}
    torch.save({'params': baseline}, tmp_path / 'baseline.pth')
    step(model, count=2, masks=True, kind='regions')
    model.save(0, 2)
    adapter = load_file(tmp_path / 'models' / 'net_g_seem_2.pth')
    assert adapter['prior_kind'] == 'regions'
    for key in ('params', 'params_ema'):
        assert all(k.startswith(('sam_embed', 'seem_')) for k in adapter[key])
    path = {
        'pretrain_network_g': str(tmp_path / 'baseline.pth'),
        'strict_load_g': False,
        'pretrain_adapter_g': str(tmp_path / 'models' / 'net_g_seem_2.pth'),
    }
    restored = make_model(options, tmp_path, is_train=False, network_g=SEEM, path=path, train=None)
    assert not differing(model.net_g.state_dict(), restored.net_g.state_dict())
    assert restored.trained_priors.kind == 'regions'
    whole = load_file(tmp_path / 'models' / 'net_g_2.pth')
    assert whole['params'].keys() == model.net_g.state_dict().keys()


def test_an_adapter_of_another_network_is_refused(options, tmp_path):
    torch.save({'params': {'seem_other.weight': torch.zeros(2)}}, tmp_path / 'adapter.pth')
    path = {'pretrain_adapter_g': str(tmp_path / 'adapter.pth')}
    with pytest.raises(UserError, match='not an adapter for this BasicVSRSEEM: seem_other'):
        make_model(options, tmp_path, network_g=SEEM, path=path)


def test_full_training_writes_no_adapter(options, tmp_path):
    model = make_model(options, tmp_path, network_g=SEEM)
    step(model, masks=True)
    model.save(0, 1)
    assert [p.name for p in (tmp_path / 'models').iterdir()] == ['net_g_1.pth']


def test_another_kind_of_priors_is_refused_unless_allowed(options, tmp_path):
    model = make_model(options, tmp_path, network_g=SEEM)
    step(model, masks=True, kind='sam')
    with pytest.raises(UserError, match="kind 'sam', but dataroot_priors holds 'regions'"):
        model.feed_data(batch(masks=True, kind='regions'))
    allowing = make_model(options, tmp_path, network_g=SEEM, path={'allow_prior_mismatch': True})
    step(allowing, masks=True, kind='sam')
    allowing.feed_data(batch(masks=True, kind='regions'))


def test_the_origin_of_tokens_goes_into_checkpoints_and_is_compared(options, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(get_root_logger(), 'warning', messages.append)
    model = make_model(options, tmp_path, network_g=SEEM)
    model.feed_data(batch(masks=True, kind='xdecoder') | {'prior_origin': ['a', 'a']})
    model.save(0, 1)
    path = {'pretrain_network_g': str(tmp_path / 'models/net_g_1.pth')}
    restored = make_model(options, tmp_path, network_g=SEEM, path=path)
    restored.feed_data(batch(masks=True, kind='xdecoder') | {'prior_origin': 'b'})
    assert len(messages) == 1 and 'tokens of a; these are of b' in messages[0]


def test_a_data_set_is_refused_before_its_first_batch(options, tmp_path):
    """A validation may come hours after the start."""
    with_kind = {kind: SimpleNamespace(prior_kind=kind) for kind in ('sam', 'regions', None)}
    model = make_model(options, tmp_path, network_g=SEEM)
    model.check_dataset(SimpleNamespace())  # BasicSR's own classes do not say what they give
    for kind in ('sam', 'sam'):
        model.check_dataset(with_kind[kind])
    with pytest.raises(UserError, match="kind 'sam', but dataroot_priors holds 'regions'"):
        model.check_dataset(with_kind['regions'])
    with pytest.raises(MissingError, match=r'needs masks, but the data set gives none\.') as caught:
        model.check_dataset(with_kind[None])
    assert (caught.value.what, caught.value.values) == ('priors', {'kind': 'sam'})
    make_model(options, tmp_path, network_g=SEEM | {'missing_priors': 'neutral'}).check_dataset(with_kind[None])
    without = make_model(options, tmp_path)
    for dataset in with_kind.values():
        without.check_dataset(dataset)
    assert without.trained_priors.kind is None


def test_missing_priors_are_an_error_unless_neutral_ones_are_asked_for(options, tmp_path):
    model = make_model(options, tmp_path, network_g=SEEM)
    with pytest.raises(MissingError, match='needs masks'):
        model.feed_data(batch())
    neutral = make_model(options, tmp_path, network_g=SEEM | {'missing_priors': 'neutral'})
    neutral.feed_data(batch())
    neutral.test()
    assert neutral.output.shape == (2, 3, 3, 144, 144)


def test_a_misspelt_prefix_of_trainable_is_named(options, tmp_path):
    with pytest.raises(UserError, match='Did you mean spynet'):
        make_model(options, tmp_path, **train(trainable=['spinet']))


def test_odd_sizes_are_padded_and_cropped_back(options, tmp_path):
    edvr = {
        'type': 'EDVRSEEM', 'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 1,
        'num_reconstruct_block': 1, 'num_masks': 4, 'reduction': 4,
    }  # fmt: skip
    model = make_model(options, tmp_path, is_train=False, network_g=edvr, train=None)
    lq = torch.rand(1, 3, 3, 21, 30)
    model.feed_data({'lq': lq, 'masks': torch.ones(1, 3, 4, 21, 30, dtype=torch.uint8)})
    model.test()
    assert model.output.shape == (1, 3, 84, 120)


def test_flip_seq_averages_with_the_clip_played_backwards(options, tmp_path):
    model = make_model(options, tmp_path, val={'flip_seq': True, 'center_frame_only': True})
    model.feed_data(batch())
    model.test()
    with torch.no_grad():  # TinyVSR treats frames one by one, so both directions agree
        expected = model.net_g_ema(batch()['lq'])[:, 1]
    torch.testing.assert_close(model.output, expected)


def test_a_network_that_refuses_its_arguments_is_a_sentence(options, tmp_path):
    with pytest.raises(UserError, match='network_g: upscale is 5, but align: patch has the released scale of 4'):
        make_model(options, tmp_path, network_g={'type': 'PSRTRecurrent', 'upscale': 5})
    with pytest.raises(UserError, match='network_g: PSRTRecurrent enlarges 2 times, but scale is 4'):
        small = {'depths': [1], 'num_heads': [2], 'embed_dim': 8, 'upscale': 2}
        make_model(options, tmp_path, network_g={'type': 'PSRTRecurrent', 'align': 'none', **small})


def test_a_test_of_random_weights_is_noticed(options, tmp_path, caplog):
    make_model(options, tmp_path, is_train=False, train=None)
    assert 'random weights are tested' in caplog.text
