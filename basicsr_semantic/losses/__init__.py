"""Losses; importing the package registers them in BasicSR's LOSS_REGISTRY."""

from __future__ import annotations

from .video_instance_loss import VideoInstanceLoss

__all__ = ['VideoInstanceLoss']
