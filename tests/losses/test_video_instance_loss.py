"""The losses of stage 1, against sums written out for one query at a time."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.losses import build_loss
from torch.nn import functional as F

from basicsr_semantic.archs.layers.instance_transformer import VideoInstances
from basicsr_semantic.losses.set_loss import Instances
from basicsr_semantic.losses.video_instance_loss import VideoInstanceLoss, similarity_loss

D, L, B, T, K, N, C, CLASSES, H, W = 2, 2, 2, 3, 4, 5, 6, 3, 4, 6


def loss(**changes) -> VideoInstanceLoss:
    return VideoInstanceLoss(**({'num_points': None} | changes))


def square(top: int, frames: int = T, present=(0, 1, 2)) -> torch.Tensor:
    mask = torch.zeros(frames, H, W, dtype=torch.bool)
    for t in present:
        mask[t, top : top + 2, t : t + 3] = True
    return mask


def targets() -> list[Instances]:
    """A clip with two instances, one of them absent from the middle frame, and a clip with none."""
    masks = torch.stack([square(0), square(2, present=(0, 2))])
    none = Instances(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), masks[:0])
    return [Instances(torch.tensor([1, 0]), torch.tensor([7, 9]), masks), none]


def found(requires_grad: bool = False) -> tuple[VideoInstances, torch.Tensor]:
    torch.manual_seed(0)
    tensors = [torch.randn(D, L, B, N, CLASSES + 1), torch.randn(D, L, B, N, C), torch.randn(L, B, N, C)]
    tensors += [torch.randn(L, B, T, K, C), torch.randn(B, T, C, H, W)]
    logits, embeds, clip, frame, features = (x.requires_grad_(requires_grad) for x in tensors)
    return VideoInstances(embeds[-1], logits, embeds, clip, frame), features


def frame_matches(criterion, clips):
    torch.manual_seed(1)
    frames = [frame for clip in clips for frame in clip.frames()]
    return criterion.match_frames(torch.randn(L, B * T, K, CLASSES), torch.randn(L, B * T, K, H, W), frames)


def test_instances_of_frames_are_those_seen_in_them():
    frames = targets()[0].frames()
    assert [frame.ids.tolist() for frame in frames] == [[7, 9], [7], [7, 9]]
    assert [frame.labels.tolist() for frame in frames] == [[1, 0], [1], [1, 0]]
    assert frames[0].masks.shape == (2, 1, H, W)


def test_the_loss_is_the_sum_over_layers_and_matched_queries():
    criterion, clips = loss(sim_weight=0), targets()
    instances, features = found()
    expected = dict.fromkeys(('l_cls', 'l_mask', 'l_dice'), 0.0)
    for d in range(D):
        entropy, weights = 0.0, 0.0
        for layer in range(L):
            for b, clip in enumerate(clips):
                masks = torch.einsum('nc,tchw->nthw', instances.mask_embeds[d, layer, b], features[b])
                logits = instances.class_logits[d, layer, b]
                queries, columns = criterion.set_loss.matcher(logits, masks, clip.labels, clip.masks)
                wanted = dict(zip(queries.tolist(), columns.tolist(), strict=True))
                for n in range(N):
                    label = int(clip.labels[wanted[n]]) if n in wanted else CLASSES
                    weight = 1.0 if n in wanted else 0.1
                    entropy -= weight * logits[n].log_softmax(-1)[label]
                    weights += weight
                for n, i in wanted.items():
                    x, y = masks[n].flatten(), clip.masks[i].flatten().float()
                    count = 2 * L  # instances of the batch, once for each layer of the frame decoder
                    expected['l_mask'] += 5 * F.binary_cross_entropy_with_logits(x, y) / count
                    p = x.sigmoid()
                    expected['l_dice'] += 5 * (1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)) / count
        expected['l_cls'] += 2 * entropy / weights
    given = criterion(instances, features, clips)
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(given[name], value)


def test_similarity_pulls_tokens_of_one_identity_together_across_frames_and_clip():
    clip = Instances(
        torch.tensor([0, 0]), torch.tensor([3, 5]), torch.stack([square(0, 2, (0, 1)), square(2, 2, (1,))])
    )
    index = torch.tensor
    frame_embeds, clip_embeds = torch.randn(1, 2, K, C), torch.randn(1, N, C)
    clip_match = [(index([1, 4]), index([1, 0]))]
    frame_match = [(index([2]), index([0])), (index([0, 3]), index([0, 1]))]
    tokens = torch.stack([clip_embeds[0, 1], clip_embeds[0, 4], frame_embeds[0, 0, 2], *frame_embeds[0, 1, [0, 3]]])
    ids = [5, 3, 3, 3, 5]
    total = 0.0
    for a in range(5):
        for b in range(5):
            same = torch.tensor(float(ids[a] == ids[b]))
            total += F.binary_cross_entropy_with_logits(tokens[a] @ tokens[b], same)
    given = similarity_loss(frame_embeds, clip_embeds, [clip], clip_match, frame_match)
    torch.testing.assert_close(given, total / 25)


def test_tokens_of_two_clips_are_not_compared():
    criterion, clips = loss(), [targets()[0], targets()[0]]
    instances, features = found()
    matches = frame_matches(criterion, clips)
    both = criterion(instances, features, clips, matches)['l_sim']
    instances.clip_embeds[:, 1] = instances.clip_embeds[:, 0]
    instances.frame_embeds[:, 1] = instances.frame_embeds[:, 0]
    instances.class_logits[:, :, 1] = instances.class_logits[:, :, 0]
    instances.mask_embeds[:, :, 1] = instances.mask_embeds[:, :, 0]
    features[1] = features[0]
    for layer in matches:
        layer[T:] = layer[:T]
    twice = criterion(instances, features, clips, matches)['l_sim']
    for layer in matches:
        del layer[T:]
    one = VideoInstances(
        instances.tokens[:, :1], instances.class_logits[:, :, :1], instances.mask_embeds[:, :, :1],
        instances.clip_embeds[:, :1], instances.frame_embeds[:, :1],
    )  # fmt: skip
    torch.testing.assert_close(twice, criterion(one, features[:1], clips[:1], matches)['l_sim'])
    assert both != twice


@pytest.mark.parametrize('num_points', [None, 20])
def test_clips_without_instances_train_and_every_output_gets_a_gradient(num_points):
    criterion = loss(num_points=num_points)
    for clips in ([targets()[1]] * 2, targets()):
        instances, features = found(requires_grad=True)
        losses = criterion(instances, features, clips, frame_matches(criterion, clips))
        sum(losses.values()).backward()
        leaves = (instances.class_logits, instances.mask_embeds, instances.clip_embeds, instances.frame_embeds)
        for x in (*leaves, features):
            assert x.grad is not None and torch.isfinite(x.grad).all()
        if clips[0].labels.numel() == 0:
            assert losses['l_mask'] == losses['l_dice'] == losses['l_sim'] == 0 < losses['l_cls']


def test_an_instance_seen_in_no_frame_does_not_count():
    criterion, (instances, features) = loss(sim_weight=0), found()
    clip = targets()[0]
    masks = torch.cat([clip.masks, torch.zeros(1, T, H, W, dtype=torch.bool)])
    more = Instances(torch.tensor([1, 0, 2]), torch.tensor([7, 9, 11]), masks)
    one, two = criterion(instances, features, [clip, clip]), criterion(instances, features, [more, more])
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_frame_loss_judges_every_layer_with_the_matches_it_is_given():
    criterion = loss(frame_weight=0.5)
    clips = [targets()[0]] * 2
    frames = [frame for clip in clips for frame in clip.frames()]
    torch.manual_seed(2)
    logits, masks = torch.randn(3, B * T, K, CLASSES + 1), torch.randn(3, B * T, K, H, W)
    given = criterion.frame_loss(logits, masks, frames, criterion.match_frames(logits, masks, frames))
    parts = [
        criterion.frame_loss(logits[i : i + 1], masks[i : i + 1], frames,
                             criterion.match_frames(logits[i : i + 1], masks[i : i + 1], frames))
        for i in range(3)
    ]  # fmt: skip
    assert given.keys() == {'l_frame_cls', 'l_frame_mask', 'l_frame_dice'}
    for name, value in given.items():
        torch.testing.assert_close(value, sum(part[name] for part in parts))
    # confident and right: nothing is left but the cross-entropy of the other classes
    right = torch.full((1, 1, K, CLASSES + 1), -30.0)
    right[..., CLASSES] = 30
    right[0, 0, 2, 1], right[0, 0, 2, CLASSES] = 30, -30
    shown = torch.where(frames[1].masks[0, 0], 30.0, -30.0).expand(1, 1, K, H, W)
    perfect = criterion.frame_loss(right, shown, [frames[1]], criterion.match_frames(right, shown, [frames[1]]))
    assert all(value < 1e-6 for value in perfect.values())


def test_weights_scale_their_parts():
    clips, (instances, features) = targets(), found()
    matches = frame_matches(loss(), clips)
    one = loss(sim_weight=1)(instances, features, clips, matches)
    two = loss(sim_weight=3)(instances, features, clips, matches)
    torch.testing.assert_close(two['l_sim'], 3 * one['l_sim'])
    assert 'l_sim' not in loss(sim_weight=0)(instances, features, clips)


def test_random_points_come_near_all_pixels():
    torch.manual_seed(0)
    clips, (instances, features) = targets(), found()
    exact = loss(sim_weight=0)(instances, features, clips)['l_mask']
    drawn = loss(sim_weight=0, num_points=20000, oversample_ratio=1, importance_ratio=0)(instances, features, clips)
    assert math.isclose(float(drawn['l_mask']), float(exact), rel_tol=0.25)  # bilinear between few pixels


def test_options_build_it_and_nonsense_is_refused():
    assert isinstance(build_loss({'type': 'VideoInstanceLoss', 'num_points': 64}), VideoInstanceLoss)
    with pytest.raises(ValueError, match='importance_ratio 2'):
        loss(importance_ratio=2)
    instances, features = found()
    with pytest.raises(ValueError, match='sim_weight: 0'):
        loss()(instances, features, targets())
