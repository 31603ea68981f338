"""Metrics of BasicSR's registry as metrics of MMEngine, with the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ..engine.evaluator import Evaluator
from ..engine.validation import Report, frames_of, judge
from ..metrics.video_instance_ap import compare_video, summarise
from ..models.video_instance_validation import wanted
from .registry import METRICS


class FrameMetric(BaseMetric):
    """One metric of frames: the mean over the frames of each clip, then over the clips.

    Args:
        metric: Its name in BasicSR's registry, for example ``calculate_psnr``.
        collect_device: See MMEngine.
        prefix: See MMEngine.
        label: What the figure is called; None: the name without ``calculate_``.
        options: Arguments of the metric: ``crop_border``, ``test_y_channel`` and the like.
    """

    def __init__(
        self,
        metric: str,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        label: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.label = label or metric.removeprefix('calculate_')
        self._evaluator = Evaluator({self.label: {'type': metric, **options}}, self.label)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Measure the frames of an item, see ``predict`` of :class:`SemanticRestorer`."""
        for sample in data_samples:
            item = sample['item']
            self._evaluator.begin_item()
            frames = frames_of(item, sample['frames'], item.get('read_gt', lambda _: None))
            self.results.append([judge(frame, self._evaluator, None) for frame in frames])
            self._evaluator.end_item()

    def compute_metrics(self, results: list[list[dict[str, Any]]]) -> dict[str, float]:
        """The figure, or nothing where no frame has a value."""
        report = Report(self.label, [self.label], [row for rows in results for row in rows])
        clips = report.clips()
        shown = [f'# {clip}: {values[self.label]:.4f}' for clip, values in clips.items()]
        if shown:
            print_log(f'{self.label}\t {"  ".join(shown[:12])}', logger='current')
        return report.average()


@METRICS.register_module()
class VideoInstanceAP(BaseMetric):
    """AP, AP50, AP75, AR1 and AR10 of instances of videos, as the server of YouTube-VIS computes them."""

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Compare the instances of a video with those annotated."""
        for sample in data_samples:
            item = sample['item']
            found = [vars(one) for one in sample['instances']]
            self.results.append(compare_video(item['video_id'], found, wanted(item['dataset'], item['index'])))

    def compute_metrics(self, results: list[list[Any]]) -> dict[str, float]:
        """The five figures in [0, 1]."""
        return summarise([match for matches in results for match in matches])
