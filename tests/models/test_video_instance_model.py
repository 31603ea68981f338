"""VideoInstanceModel: stage 1 with a frozen and with a training frame decoder, checkpoints, validation, processes."""

from __future__ import annotations

import copy
import json

import helpers.instances
import numpy as np
import pytest
import torch
from helpers.instances import (
    BOTH,
    FRAMES,
    INSTANCES,
    MovingSquares,
    MovingSquaresTest,
    batch,
    frozen_weights,
    make_model,
    make_options,
    step,
)
from helpers.project import basicsr, basicsr_in_two, write_options

from basicsr_semantic.engine.checkpoint import load_file
from basicsr_semantic.extractors.xdecoder import load_xdecoder
from basicsr_semantic.models import VideoInstanceModel
from basicsr_semantic.models.frame_decoders import class_embeddings
from basicsr_semantic.models.video_instance_inference import VideoPrediction, predict_video
from basicsr_semantic.models.video_instance_validation import validate_videos
from basicsr_semantic.utils.errors import UserError


def states(model: VideoInstanceModel) -> dict[str, torch.Tensor]:
    return {
        f'{label}.{name}': value.clone()
        for label, net in (('net_g', model.net_g), ('net_f', model.net_f))
        for name, value in net.state_dict().items()
    }


def changed(a: dict, b: dict) -> set[str]:
    return {name for name in a if not torch.equal(a[name], b[name])}


def test_a_frozen_frame_decoder_stays_and_is_in_no_checkpoint(tmp_path):
    model = make_model(make_options(tmp_path, ['instance']), tmp_path)
    before = states(model)
    losses = step(model, count=2)
    assert {'l_cls', 'l_mask', 'l_dice', 'l_sim'} == losses.keys()
    moved = changed(before, states(model))
    assert moved == {f'net_g.{name}' for name, _ in model.net_g.named_parameters()}
    assert all(p.grad is None and not p.requires_grad for p in model.net_f.parameters())
    model.save(0, 2)
    assert [p.name for p in (tmp_path / 'models').iterdir()] == ['net_g_2.pth']
    content = load_file(tmp_path / 'models/net_g_2.pth')
    assert content['network'] == model.net_g.config and content['params'].keys() == model.net_g.state_dict().keys()


def test_both_train_and_every_parameter_gets_a_gradient(tmp_path):
    model = make_model(make_options(tmp_path, BOTH), tmp_path)
    losses = step(model)
    assert losses.keys() == {f'l_{a}{b}' for a in ('', 'frame_') for b in ('cls', 'mask', 'dice')} | {'l_sim'}
    for name, parameter in model.trained.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    model.save(0, 1)
    assert sorted(p.name for p in (tmp_path / 'models').iterdir()) == ['net_f_1.pth', 'net_g_1.pth']
    again = load_xdecoder(tmp_path / 'models/net_f_1.pth')
    assert again.config == model.net_f.config
    assert not changed(again.state_dict(), model.net_f.state_dict())


def test_without_the_similarity_loss_its_heads_rest(tmp_path):
    opt = make_options(tmp_path, ['instance'])
    opt['train']['instance_opt']['sim_weight'] = 0
    opt['frame_decoder'].pop('text_embeddings')
    model = make_model(opt, tmp_path)
    assert 'l_sim' not in step(model)
    resting = {name for name, p in model.net_g.named_parameters() if not p.requires_grad}
    assert resting == {f'sim_embed_{a}.{b}' for a in ('clip', 'frame') for b in ('weight', 'bias')}
    assert all(p.grad is not None for p in model.net_g.parameters() if p.requires_grad)
    opt['network_g']['similarity'] = False
    model = make_model(opt, tmp_path)
    step(model)
    assert not any('sim_embed' in name for name in model.net_g.state_dict())
    opt['train']['instance_opt']['sim_weight'] = 0.5
    with pytest.raises(UserError, match='similarity is false'):
        make_model(opt, tmp_path)


@pytest.mark.parametrize('trainable', [['instance'], BOTH])
def test_clips_without_instances_can_be_a_whole_batch(tmp_path, trainable):
    model = make_model(make_options(tmp_path, trainable), tmp_path)
    losses = step(model, indices=(3, 7))
    assert losses['l_mask'] == losses['l_dice'] == losses['l_sim'] == 0 < losses['l_cls']
    assert all(p.grad is not None for p in model.trained.parameters())


def test_clips_of_two_sizes_are_padded_with_what_the_frame_decoder_turns_to_zero(tmp_path):
    model = make_model(make_options(tmp_path, ['instance']), tmp_path)
    dataset = MovingSquares({})
    items = [dataset[0], dataset[1]]
    video, labels, masks = helpers.instances.squares(1, size=(60, 40))
    items[1] = {'frames': video, 'instances': {'labels': labels, 'masks': masks, 'ids': labels}, 'key': 'b'}
    data = dataset.collate(items)
    given = data['frames'].clone()
    model.feed_data(data)
    assert model.frames.shape == (2, 3, 3, 64, 64) and model.targets[1].masks.shape[-2:] == (64, 64)
    torch.testing.assert_close(model.frames[1, :, :, 60:].mean((0, 2, 3)), torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(model.frames[1, ..., :60, :40], video)
    assert torch.equal(data['frames'], given)  # the batch itself is left as it was
    model.optimize_parameters(1)


@pytest.mark.slow
def test_learning_makes_the_loss_fall_and_finds_the_squares(tmp_path):
    opt = make_options(tmp_path, BOTH, grad_clip=1.0)
    opt['train']['optim_g'] |= {'lr': 0.002, 'weight_decay': 0.0}
    model = make_model(opt, tmp_path)
    first = step(model, indices=(0, 1, 2, 4))
    last = step(model, 2, 80, indices=(0, 1, 2, 4))
    for name in ('l_cls', 'l_mask', 'l_dice', 'l_frame_cls', 'l_frame_mask', 'l_frame_dice'):
        assert last[name] < 0.3 * first[name], name
    seen = Seen(indices=(0, 1, 2, 4))
    figures = validate_videos(model, seen, model.predict, 81, None)
    assert figures['AP50'] > 0.9, figures


class Seen(MovingSquaresTest):
    """The training clips themselves, as videos."""

    def __init__(self, indices) -> None:
        super().__init__({'name': 'seen'})
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index):
        video, _, _ = helpers.instances.squares(self.indices[index])
        return {'frames': video, 'video_id': index, 'num_listed': 3, 'positions': [0, 1, 2], 'size': (64, 64)}

    def annotations(self, index):
        _, labels, masks = helpers.instances.squares(self.indices[index])
        encode = helpers.instances.encode_mask
        runs = [[encode(mask) for mask in one] for one in masks.numpy()]
        return {'labels': labels, 'masks': runs, 'crowd': torch.zeros(len(labels), dtype=torch.bool)}


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_mixed_precision_trains_near_float32_with_losses_in_float32(tmp_path, amp):
    full = step(make_model(make_options(tmp_path, BOTH, points=50), tmp_path))
    model = make_model(make_options(tmp_path, BOTH, points=50, amp=amp), tmp_path)
    before, taken = states(model), []
    hook = model.cri.register_forward_pre_hook(lambda _, inputs: taken.extend([*vars(inputs[0]).values(), inputs[1]]))
    mixed = step(model)
    hook.remove()
    assert len(taken) == 6 and {x.dtype for x in taken} == {torch.float32}
    assert mixed != full
    for name in full:
        assert mixed[name] == pytest.approx(full[name], rel=0.1, abs=0.02), name
    assert (model.scaler is not None) == (amp == 'fp16')
    step(model, 2, 10)  # with fp16 the first steps are skipped until the scale of the loss is right
    assert changed(before, states(model)) >= {f'net_g.{name}' for name, _ in model.net_g.named_parameters()}


def test_gradients_are_clipped_together(tmp_path):
    model = make_model(make_options(tmp_path, BOTH, grad_clip=1e-3), tmp_path)
    losses = step(model)
    norm = torch.cat([p.grad.flatten() for p in model.trained.parameters()]).norm()
    assert norm < 1.001e-3 < losses['grad_norm']


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path):
    model = make_model(make_options(tmp_path, ['instance']), tmp_path)
    before = states(model)
    data = batch(0, 1)
    data['frames'][0, 0, 0, 0, 0] = float('nan')
    model.feed_data(data)
    with pytest.raises(UserError, match='at iteration 1; training stopped'):
        model.optimize_parameters(1)
    assert not changed(before, states(model))


@pytest.mark.parametrize('trainable', [['instance'], BOTH])
def test_a_resumed_run_ends_like_one_that_was_not_interrupted(tmp_path, trainable):
    opt = make_options(tmp_path, trainable, ema_decay=0.5, points=50)
    opt['path']['param_key_g'] = 'params_ema'  # what a test would take; a resumed run goes on from what trained
    whole = make_model(opt, tmp_path)
    step(whole, count=2)
    whole.save(0, 2)
    step(whole, 3, 2)
    again = copy.deepcopy(opt)
    state = load_file(tmp_path / 'training_states/2.state')
    assert set(state['weights']) == ({'net_g', 'net_f'} if len(trainable) == 2 else {'net_g'})
    for label, file in state['weights'].items():
        again['path'][f'pretrain_network_{label.removeprefix("net_")}'] = str(tmp_path / 'models' / file)
    again['path']['resume_state'] = str(tmp_path / 'training_states/2.state')
    resumed = make_model(again, tmp_path)
    resumed.resume_training(state)
    step(resumed, 3, 2)
    assert not changed(states(whole), states(resumed))
    for label in state['weights']:
        assert not changed(whole.averages[label].net.state_dict(), resumed.averages[label].net.state_dict())
        assert changed(whole.averages[label].net.state_dict(), getattr(whole, label).state_dict())


def test_parts_of_the_frame_decoder_can_train_with_a_rate_of_their_own(tmp_path):
    opt = make_options(tmp_path, ['frame_decoder.sem_seg_head.predictor', 'instance'], frame_decoder_lr_mul=0.1)
    del opt['frame_decoder']['text_embeddings']
    opt['path'] = {'pretrain_frame_decoder': frozen_weights(tmp_path)}
    model = make_model(opt, tmp_path)
    before = states(model)
    step(model, count=2)
    moved = {name for name in changed(before, states(model)) if name.startswith('net_f')}
    assert moved and all(name.startswith('net_f.sem_seg_head.predictor') for name in moved)
    groups = model.optimizer_g.param_groups  # norms and queries are apart
    assert [group['lr'] for group in groups] == pytest.approx([0.001, 0.001, 0.0001, 0.0001])
    assert [group['weight_decay'] > 0 for group in groups] == [True, False, True, False]


# ------------------------------------------------------------------------------------------------------ validation


def perfect(dataset: MovingSquaresTest):
    """Answers with what was annotated."""
    index = iter(range(len(dataset)))

    def predict(frames, size, num_classes):
        wanted = dataset.annotations(next(index))
        return [VideoPrediction(int(c), 0.9, m) for c, m in zip(wanted['labels'], wanted['masks'], strict=True)]

    return predict


def test_perfect_predictions_have_an_ap_of_one_and_the_figures_are_written(tmp_path):
    model = make_model(make_options(tmp_path, ['instance']), tmp_path)
    dataset = MovingSquaresTest({'name': 'held_out'})
    figures = validate_videos(model, dataset, perfect(dataset), 8, None)
    assert figures == pytest.approx(dict.fromkeys(('AP', 'AP50', 'AP75', 'AR1', 'AR10'), 1))
    written = json.loads((tmp_path / 'log/validation/held_out_8.json').read_text())
    assert written['average'] == figures and set(written['categories']) <= {'red', 'blue', 'green'}
    assert model.best_metric_results['held_out']['AP'] == {'better': 'higher', 'val': figures['AP'], 'iter': 8}


def test_a_fresh_network_runs_through_validation_and_goes_on_training(tmp_path):
    model = make_model(make_options(tmp_path, BOTH, ema_decay=0.9), tmp_path)
    step(model)
    loader = torch.utils.data.DataLoader(MovingSquaresTest({'name': 'held_out'}), collate_fn=MovingSquaresTest.collate)
    figures = model.validation(loader, 1, None)
    assert figures.keys() == {'AP', 'AP50', 'AP75', 'AR1', 'AR10'} and all(0 <= v <= 1 for v in figures.values())
    assert model.trained.training and model.net_f.training and not model.averages['net_g'].net.training
    step(model, 2)


def test_without_annotations_the_servers_file_is_written(tmp_path):
    model = make_model(make_options(tmp_path, ['instance']), tmp_path)
    dataset = MovingSquaresTest({'name': 'valid', 'annotated': False})
    assert validate_videos(model, dataset, model.predict, 'x', None) == {}
    rows = json.loads((tmp_path / 'log/validation/valid_x/results.json').read_text())
    assert len(rows) == 30 and [row['video_id'] for row in rows[::10]] == [7, 8, 9]
    for row in rows:
        assert row.keys() == {'video_id', 'score', 'category_id', 'segmentations'}
        assert row['category_id'] in (0, 10, 20) and 0 <= row['score'] <= 1
        assert len(row['segmentations']) == 6 and row['segmentations'][4] is None  # that frame was not there
        assert all(one['size'] == [96, 160] for i, one in enumerate(row['segmentations']) if i != 4)


def test_predictions_do_not_depend_on_chunks_and_use_the_first_classes_only(tmp_path):
    model = make_model(make_options(tmp_path, ['instance']), tmp_path)
    frames = MovingSquaresTest({})[0]['frames']
    nets = (model.net_f.eval(), model.net_g.eval())
    whole = predict_video(*nets, frames, (50, 70), chunk=5)
    parts = predict_video(*nets, frames, (50, 70), chunk=2, frames_on_device=1)
    assert len(whole) == 10 and [one.label for one in whole] == [one.label for one in parts]
    np.testing.assert_allclose([one.score for one in whole], [one.score for one in parts], rtol=1e-4)
    assert all(len(one.masks) == 5 and one.masks[0]['size'] == [50, 70] for one in whole)
    assert {one.label for one in predict_video(*nets, frames, (50, 70), num_classes=1)} == {0}
    assert len(predict_video(*nets, frames, (50, 70), max_instances=3)) == 3


def test_a_test_run_needs_only_checkpoints(tmp_path):
    opt = make_options(tmp_path, BOTH, ema_decay=0.5)
    model = make_model(opt, tmp_path)
    step(model, count=2)
    model.save(0, 2)
    frames = MovingSquaresTest({})[0]['frames']
    opt['path'] = {
        'pretrain_network_g': str(tmp_path / 'models/net_g_2.pth'),
        'pretrain_frame_decoder': str(tmp_path / 'models/net_f_2.pth'),
        'param_key_g': 'params_ema',
    }
    del opt['train']
    tested = make_model(opt, tmp_path, is_train=False)
    one, two = (m.predict(frames, (96, 160), 3) for m in (model, tested))
    assert one == two


# ------------------------------------------------------------------------------------------------------- mistakes


def test_mistakes_are_sentences(tmp_path):
    opt = make_options(tmp_path, ['instance'])

    def refuse(message: str, **changes) -> None:
        with pytest.raises(UserError, match=message):
            make_model(opt | changes, tmp_path)

    refuse('its tokens would mean nothing', path={})
    refuse('network_g:hidden_dim is 32, but the frame decoder gives 16', network_g=INSTANCES | {'hidden_dim': 32})
    refuse('network_g:num_frame_queries is 5', network_g=INSTANCES | {'num_frame_queries': 5})
    refuse(
        'frame_decoder:dec_layer is not an argument of X-Decoder. Is it dec_layers',
        frame_decoder=FRAMES | {'dec_layer': 3},
    )
    refuse('frame_decoder:dec_layers is 3, but', frame_decoder=FRAMES | {'dec_layers': 3})
    refuse("type is 'sam'", frame_decoder={'type': 'sam'})
    refuse('give frame_decoder:text_embeddings', frame_decoder=FRAMES)
    refuse('trains type: InstanceTransformer', network_g={'type': 'SRVGGNetCompact'})
    refuse('Its parts are frame_decoder, instance', train=opt['train'] | {'trainable': ['instances']})
    refuse('trains on one GPU in a process', num_gpu=2)


def test_a_label_without_a_class_is_named(tmp_path):
    model = make_model(make_options(tmp_path, ['instance']), tmp_path)
    data = batch(0)
    data['instances'][0]['labels'] += 3
    with pytest.raises(UserError, match=r'000 has an instance of class .*num_classes is 3'):
        model.feed_data(data)


def test_a_checkpoint_of_another_window_is_refused(tmp_path):
    opt = make_options(tmp_path, ['instance'])
    model = make_model(opt, tmp_path)
    model.save(0, 2)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'models/net_g_2.pth')
    make_model(opt, tmp_path)
    opt['network_g']['window'] = 6
    with pytest.raises(UserError, match='was trained with window: 4, but network_g has 6'):
        make_model(opt, tmp_path)


def test_class_embeddings_are_orthogonal_and_always_the_same_or_those_of_a_file(tmp_path):
    drawn = class_embeddings(None, 3, 16, trains=True)
    torch.testing.assert_close(drawn @ drawn.T, torch.eye(4))
    assert torch.equal(drawn, class_embeddings(None, 3, 16, trains=True))
    with pytest.raises(UserError, match='projection_dim of at least 17'):
        class_embeddings(None, 16, 16, trains=True)
    file = str(tmp_path / 'text.pt')
    rows = torch.eye(4, 16)
    torch.save({'names': ['a', 'b', 'c'], 'embeddings': 3 * rows[:3], 'background': 2 * rows[3]}, file)
    torch.testing.assert_close(class_embeddings(file, 3, 16, trains=True), rows)
    with pytest.raises(UserError, match='are 4x16; for 5 classes 6 rows of 16'):
        class_embeddings(file, 5, 16, trains=True)
    torch.save(rows[:3], file)
    torch.testing.assert_close(class_embeddings(file, 3, 16, trains=False), rows[:3])
    with pytest.raises(UserError, match='number 4 for "background"'):
        class_embeddings(file, 3, 16, trains=True)
    torch.save({'params': {}}, file)
    with pytest.raises(UserError, match='holds no text embeddings'):
        class_embeddings(file, 3, 16, trains=False)


# ------------------------------------------------------------------------------------------------- several processes


@pytest.mark.slow
@pytest.mark.parametrize('trainable', [['instance'], BOTH])
def test_two_processes_with_half_the_batch_equal_one_with_all(tmp_path, trainable):
    """The whole command: weights to 1e-5 after 4 steps with every pixel a point, and the same AP from both."""
    weights, figures = [], []
    for name, processes, size in (('one', 1, 2), ('two', 2, 1)):
        opt = make_options(tmp_path, trainable) | {'name': name}
        opt['train']['optim_g'] = {'type': 'SGD', 'lr': 0.001}
        opt['datasets']['train']['batch_size_per_gpu'] = size
        opt['val']['val_freq'] = 4
        opt_file = write_options(opt, tmp_path / f'{name}.yml')
        command = ['train', '--import', 'helpers.instances', '-opt', opt_file]
        alone = processes == 1
        done, *others = [basicsr(*command, cwd=tmp_path)] if alone else basicsr_in_two(*command, cwd=tmp_path)
        assert {done.returncode, *(other.returncode for other in others)} == {0}, done.stderr
        assert 'AP50' in done.stderr
        folder = tmp_path / 'experiments' / name
        files = sorted(folder.glob('models/*latest.pth'))
        assert [f.name for f in files] == [f'net_{x}_latest.pth' for x in ('f', 'g')[-len(trainable) :]]
        weights.append({f.name: load_file(f)['params'] for f in files})
        figures.append(json.loads((folder / 'validation/held_out_4.json').read_text()))
    for file, params in weights[0].items():
        for key, value in params.items():
            torch.testing.assert_close(weights[1][file][key], value, rtol=0, atol=1e-5)
    assert figures[0]['average'] == pytest.approx(figures[1]['average'], abs=1e-6)
