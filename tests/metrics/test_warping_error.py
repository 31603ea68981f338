"""The warping error: still and moving clips, flicker, what is not to be seen in both frames, and a second reading."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import ARCH_REGISTRY
from helpers.metrics import GivenFlow

from basicsr_semantic.metrics import flow as flow_module
from basicsr_semantic.metrics.warping_error import calculate_warping_error, visible
from basicsr_semantic.utils.errors import UserError


class FlowOfShift(GivenFlow):
    """Flow between frames of a clip that moves: forward if the texture lies ahead, back if it lies behind."""

    def forward(self, ref, supp):
        x, y = (int(v) for v in self.flow)
        ahead = torch.equal(supp[..., y:, x:], ref[..., : ref.size(-2) - y, : ref.size(-1) - x])
        flow = super().forward(ref, supp)
        return flow if ahead else -flow


class Half(GivenFlow):
    """No flow in the left half and a jump of 9 pixels in the right half, forth and back."""

    def forward(self, ref, supp):
        flow = torch.zeros(1, 2, *ref.shape[-2:])
        flow[:, 1, :, flow.size(-1) // 2 :] = 9.0
        return flow


@pytest.fixture(autouse=True)
def archs(monkeypatch):
    """Flows that are known."""
    flow_module._network.cache_clear()
    for arch in (GivenFlow, FlowOfShift, Half):
        monkeypatch.setitem(ARCH_REGISTRY._obj_map, arch.__name__, arch)


@pytest.fixture(scope='module')
def texture():
    smooth = cv2.GaussianBlur(np.random.default_rng(0).random((128, 128, 3)), (0, 0), 2)
    return ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)


STILL = {'type': 'GivenFlow'}


def error(previous, img, previous2=None, img2=None, **options) -> float:
    return calculate_warping_error(img, img2, previous, previous2, device='cpu', **options)


@pytest.mark.parametrize(('flow', 'bound'), [(STILL, 1e-9), ('farneback', 1e-5)])
def test_a_still_clip_has_none(texture, flow, bound):
    assert 0 <= error(texture, texture, flow=flow) < bound
    assert 0 <= error(texture, texture, texture, texture, flow=flow) < bound


def test_a_clip_that_only_moves_has_none(texture):
    before, now = texture[10:106, 10:106], texture[8:104, 5:101]
    flow = {'type': 'FlowOfShift', 'x': 5.0, 'y': 2.0}
    assert error(before, now, flow=flow) < 1e-9
    assert error(before, now, flow=STILL) > 1e-3
    assert error(before, now, flow='farneback') < 1e-4  # what a flow without weights reaches


def test_flicker_raises_it_by_its_square(texture):
    """Grey values that rise and fall by d: the error is (d / 255)^2, whatever the motion."""
    calm = (texture // 2 + 40).astype(np.uint8)
    for d in (1, 8, 32):
        assert error(calm, calm + np.uint8(d), calm, calm, flow=STILL) == pytest.approx((d / 255) ** 2, rel=1e-4)
    values = [error(calm, calm + np.uint8(d), calm, calm) for d in (0, 8, 32)]
    assert values[0] < 1e-5 and values[1] == pytest.approx((8 / 255) ** 2, rel=0.02) and values[2] > 10 * values[1]


def test_the_flow_is_that_of_the_gt_where_there_is_one(texture, monkeypatch):
    """The restored frames do not move, the GT does."""
    seen = []
    monkeypatch.setattr(flow_module, '_farneback', lambda ref, supp, device: seen.append((ref, supp)) or zero(ref))

    def zero(frame):
        return torch.zeros(1, 2, *frame.shape[:2])

    still, before, now = texture[:96, :96], texture[10:106, 10:106], texture[8:104, 5:101]
    error(still, still, before, now)
    assert [(ref is before, supp is now) for ref, supp in seen] == [(True, True), (False, False)]
    seen.clear()
    error(before, now)
    assert seen[0][0] is before and seen[0][1] is now


def test_what_leaves_the_frame_is_left_out(texture):
    """Beyond the border there is nothing to compare: neither what leaves the picture counts nor what enters it."""
    gt = texture[10:106, 10:106], texture[10:106, 4:100]
    before, now = gt[0].copy(), gt[1].copy()
    before[:, -6:], now[:, :6] = 0, 255
    assert error(before, now, *gt, flow={'type': 'FlowOfShift', 'x': 6.0}) < 1e-9
    before[:, -7:] = 0  # the seventh column stays
    assert error(before, now, *gt, flow={'type': 'FlowOfShift', 'x': 6.0}) > 1e-3
    forth = torch.zeros(1, 2, 4, 8)
    forth[:, 0] = 3.0
    seen = visible(forth, -forth)
    assert seen[0, :, :5].all() and not seen[0, :, 5:].any()


def test_flows_that_disagree_and_motion_boundaries_are_left_out(texture):
    zero = torch.zeros(1, 2, 8, 8)
    assert visible(zero, zero).all()
    back = zero.clone()
    back[:, 0, 2, 3] = 0.9  # a square of 0.81, above 0.5 + 0.01 * 0.81
    assert (~visible(zero, back)).nonzero().tolist() == [[0, 2, 3]]
    back[:, 0, 2, 3] = 0.7  # a square of 0.49
    assert visible(zero, back).all()
    forth = zero.clone()
    forth[:, 1, 4:] = -0.5  # a step between rows 3 and 4, more than row 3 allows: 0.25 > 0.002
    assert (~visible(forth, -forth)).nonzero()[:, 1].unique().tolist() == [3]
    spoilt = texture.copy()
    spoilt[:, 64:] = 255 - spoilt[:, 64:]
    assert error(texture, spoilt, flow={'type': 'Half'}) < 1e-9  # its right half cannot be followed


def test_nothing_to_be_seen_in_both_frames_is_no_value(texture):
    assert np.isnan(error(texture, texture, flow={'type': 'GivenFlow', 'x': 500.0}))


def test_a_second_reading_of_the_definition(texture):
    """Pixel by pixel, in double precision."""
    before, now = texture[10:50, 10:58], texture[9:49, 7:55]
    options = {'type': 'GivenFlow', 'x': 1.25, 'y': -0.5}
    first, second = (frame[:, :, ::-1].astype(float) / 255 for frame in (before, now))
    # the flow back is the same as that forth, so they disagree by |2 w|^2 = 7.25, more than 0.5: nothing is seen ...
    assert np.isnan(error(before, now, flow=options))
    # ... and with a quarter of it they agree
    x, y = 0.3125, -0.125
    total, count = 0.0, 0
    for row in range(40):
        for column in range(48):
            u, v = column + x, row + y
            if not (0 <= u <= 47 and 0 <= v <= 39):
                continue
            left, top = int(np.floor(u)), int(np.floor(v))
            du, dv = u - left, v - top
            right, bottom = min(left + 1, 47), min(top + 1, 39)
            read = (1 - dv) * ((1 - du) * second[top, left] + du * second[top, right])
            read += dv * ((1 - du) * second[bottom, left] + du * second[bottom, right])
            total += ((read - first[row, column]) ** 2).mean()
            count += 1
    ours = error(before, now, flow={'type': 'GivenFlow', 'x': x, 'y': y})
    assert count < 40 * 48 and ours == pytest.approx(total / count, rel=1e-4)


def test_single_frames_are_refused(texture):
    with pytest.raises(UserError, match=r'compares consecutive frames.*works for video models'):
        calculate_metric({'img': texture, 'img2': texture}, {'type': 'calculate_warping_error'})
