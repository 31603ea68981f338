"""Methods that replace those of BasicSR's VideoRecurrentModel and EDVRModel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from basicsr.models.video_base_model import VideoBaseModel

from ..engine.freezing import Stages, is_flow, is_not_fusion, optimizer_groups
from ..priors import SemanticPriors


def validate_alone(self, dataloader, current_iter, tb_logger, save_img):
    """Validate in one process as in several: AnimeSR, for example, has a ``dist_validation`` of its own for both."""
    return self.dist_validation(dataloader, current_iter, tb_logger, save_img)


def test_recurrent(self) -> None:
    """Restore ``self.lq`` with the EMA network where there is one (VideoRecurrentModel.test ignores it)."""
    val = self.opt.get('val') or {}
    self.center_frame_only = val.get('center_frame_only', False)
    net = getattr(self, 'net_g_ema', self.net_g)
    self.output = restore_clip(net, (self.lq,), val.get('flip_seq', False), self.center_frame_only)
    self.net_g.train(self.is_train)


def restore_clip(net, inputs: tuple[Any, ...], flip_seq: bool, center_frame_only: bool) -> torch.Tensor:
    """Run a video network in evaluation mode.

    Args:
        net: The network.
        inputs: What it takes: frames (b, t, ...) first, then further tensors (b, t, ...) or SemanticPriors.
        flip_seq: Run on the clip followed by its mirror in time and average (BasicVSR on Vimeo-90K).
        center_frame_only: Keep the middle frame.

    Returns:
        (b, t, 3, H, W), or (b, 3, H, W) for the middle frame or a network that restores one.
    """
    frames = inputs[0].size(1)
    net.eval()
    with torch.no_grad():
        if flip_seq:
            inputs = tuple(
                x.forth_and_back() if isinstance(x, SemanticPriors) else torch.cat([x, x.flip(1)], dim=1)
                for x in inputs
            )
        output = net(*inputs)
        if flip_seq:
            output = 0.5 * (output[:, :frames] + output[:, frames:].flip(1))
    return output[:, frames // 2] if center_frame_only and output.dim() == 5 else output


def setup_optimizers(self) -> None:
    """Hand over only what trains; the learning rates of SPyNet and DCN have factors of their own."""
    train = self.opt['train']
    multipliers = {'spynet': train.get('flow_lr_mul', 1), 'dcn': train.get('dcn_lr_mul', 1)}
    optim = dict(train['optim_g'])
    optim_type = optim.pop('type')
    groups = optimizer_groups(self.net_g, optim['lr'], multipliers)
    self.optimizer_g = self.get_optimizer(optim_type, groups, **optim)
    self.optimizers.append(self.optimizer_g)


def optimize_recurrent(self, current_iter: int) -> None:
    """One step of VideoRecurrentModel; SPyNet is frozen before ``fix_flow``, in a resumed run too."""
    _stages(self, self.fix_flow_iter, is_flow).apply(current_iter)
    VideoBaseModel.optimize_parameters(self, current_iter)


def optimize_edvr(self, current_iter: int) -> None:
    """One step of EDVRModel; all but TSA is frozen before ``tsa_iter``, in a resumed run too."""
    _stages(self, self.train_tsa_iter, is_not_fusion).apply(current_iter)
    VideoBaseModel.optimize_parameters(self, current_iter)


def with_stages(optimize: Callable[[Any, int], None]) -> Callable[[Any, int], None]:
    """A step of VideoRecurrentGANModel, which freezes SPyNet in iteration 1 alone, so not in a resumed run."""

    @functools.wraps(optimize)
    def optimize_in_stages(self, current_iter: int) -> None:
        _stages(self, self.fix_flow_iter, is_flow).apply(current_iter)
        optimize(self, current_iter)

    return optimize_in_stages


def _stages(model, until: int | None, is_frozen) -> Stages:
    if not hasattr(model, 'stages'):
        model.stages = Stages(model.net_g)
        model.stages.freeze_until(until, is_frozen)
    return model.stages
