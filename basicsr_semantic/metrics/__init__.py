"""Measures that BasicSR does not have."""

from __future__ import annotations

from .video_instance_ap import VideoMatch, compare_video, summarise

__all__ = ['VideoMatch', 'compare_video', 'summarise']
