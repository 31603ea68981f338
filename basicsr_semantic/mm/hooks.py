"""Hooks of MMEngine: seeds of each iteration, checkpoints without pickled objects, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils import tensor2img
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from torch.nn import functional as F

from ..engine.loss_guard import begin_iteration
from ..engine.seeding import seed_from
from ..engine.validation import frames_of
from ..priors.drawing import overlay
from ..utils.errors import UserError
from ..utils.files import write_whole
from ..utils.names import inside
from .models import bare_model
from .registry import HOOKS


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed every iteration by its number, as ``basicsr train`` does, so that a resumed run draws the same.

    Args:
        seed: Seed of the run.
    """

    priority = 'VERY_LOW'  # right before the step, after everything that might draw

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """See MMEngine."""
        iteration = runner.iter + 1
        seed_from(self.seed, 1 + dist.get_rank(), iteration)
        begin_iteration(iteration)


@HOOKS.register_module()
class WarmUpHook(Hook):
    """Rates that rise in a line, whatever the schedule says meanwhile, as BasicSR's ``warmup_iter``.

    In iteration k < ``warmup_iter`` each rate is k / ``warmup_iter`` of its first one. The schedule does not see it.

    Args:
        warmup_iter: Iterations of the rise.
    """

    priority = 'VERY_HIGH'  # what it sets is undone before the schedule steps

    def __init__(self, warmup_iter: int) -> None:
        self.warmup_iter = warmup_iter
        self._scheduled: list[float] | None = None

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """See MMEngine."""
        iteration, groups = runner.iter + 1, runner.optim_wrapper.param_groups
        self._scheduled = [group['lr'] for group in groups] if iteration < self.warmup_iter else None
        for group in groups if self._scheduled else ():
            group['lr'] = group['initial_lr'] / self.warmup_iter * iteration

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """See MMEngine."""
        for group, rate in zip(runner.optim_wrapper.param_groups, self._scheduled or (), strict=False):
            group['lr'] = rate


@HOOKS.register_module()
class PlainCheckpoint(Hook):
    """Checkpoints of numbers alone, which ``torch.load`` reads with ``weights_only``, and which say their network.

    MMEngine pickles its message hub with the histories of the log as objects of its own class, and ``resume`` then
    refuses its own file. Here the histories are written as lists and made again when the file is read. A model of this
    package adds what ``basicsr train`` writes: the arguments of the network, the kind of priors, the diffusion; so
    ``basicsr_semantic.load`` and the option files take the file as they take their own. It reads that, too: a run
    or test that goes on from one with priors of another kind is refused.
    """

    priority = 'LOWEST'  # after hooks that put something into the checkpoint

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """See MMEngine."""
        hub = checkpoint['message_hub']
        hub['log_scalars'] = {name: _as_lists(buffer) for name, buffer in hub['log_scalars'].items()}
        hub['runtime_info'] = _plain(hub['runtime_info'])
        hub['resumed_keys'] = dict(hub['resumed_keys'])
        checkpoint['meta'] = _plain(checkpoint['meta'])
        model = bare_model(runner.model)
        if hasattr(model, 'record'):
            checkpoint.update(model.record())

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """See MMEngine."""
        hub = checkpoint.get('message_hub')
        if isinstance(hub, dict):
            hub['log_scalars'] = {
                name: value if isinstance(value, HistoryBuffer) else HistoryBuffer(*value)
                for name, value in hub['log_scalars'].items()
            }
        model = bare_model(runner.model)
        if hasattr(model, 'read_record'):
            model.read_record(_checkpoint_of(runner), checkpoint, resumed=bool(runner._resume))


@HOOKS.register_module()
class WholeWeights(Hook):
    """Refuses a checkpoint of another network, of which MMEngine takes the tensors that fit, with a line in the log."""

    priority = 'VERY_HIGH'  # before the average is loaded

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """See MMEngine.

        Raises:
            UserError: A tensor is missing, too many, or of another shape.
        """
        wanted, found = bare_model(runner.model).state_dict(), checkpoint.get('state_dict', {})
        differ = [name for name in wanted if name not in found or found[name].shape != wanted[name].shape]
        parts = {name.partition('.')[0] for name in wanted}  # a training has others, as that of a perceptual loss
        differ += [name for name in found if name not in wanted and name.partition('.')[0] in parts]
        if differ:
            raise UserError(
                f'{_checkpoint_of(runner)} is not of the model of this configuration: '
                f'{len(differ)} tensors are missing, too many or of another shape, {differ[0]} for one.'
            )


def _checkpoint_of(runner: Any) -> str:
    """What a run loads, for a message."""
    return str(runner._load_from or f'The last checkpoint in {runner.work_dir}')


def _as_lists(buffer: HistoryBuffer) -> tuple[list[float], list[int], int]:
    """What a history is made of."""
    values, counts = buffer.data
    return np.asarray(values, float).tolist(), np.asarray(counts, int).tolist(), int(buffer.max_length)


def _plain(value: Any) -> Any:
    """The same of Python's own types and tensors."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str | torch.Tensor) else str(value)


@HOOKS.register_module()
class ShowHook(Hook):
    """Pictures of tests: the low-resolution frame, the restored one, GT where there is one, and the masks.

    They are in ``vis_data/restored/CLIP/FRAME.png`` of the run's folder.

    Args:
        every: Of each clip one frame in so many; 0: none.
        folder: For the restored frames themselves, ``FOLDER/CLIP/FRAME.png``; None: they are not saved.
    """

    def __init__(self, every: int = 10, folder: str | None = None) -> None:
        self.every, self.folder = every, None if folder is None else Path(folder)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """See MMEngine."""
        self._show(runner, outputs)

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """See MMEngine."""
        self._show(runner, outputs)

    def _show(self, runner: Any, outputs: Any) -> None:
        for result in outputs or ():
            if 'frames' not in result:
                continue
            item = result['item']
            for place, frame in enumerate(frames_of(item, result['frames'], item.get('read_gt', lambda _: None))):
                restored = np.asarray(tensor2img([frame.restored]))
                if self.folder is not None:
                    write_whole(inside(self.folder, frame.clip, f'{frame.name}.png'), _png(restored), durable=False)
                if self.every and frame.index % self.every == 0:
                    row = [_enlarged(item, place, restored.shape), restored]
                    row += [] if frame.gt is None else [np.asarray(tensor2img([frame.gt]))]
                    row += _masks(item, place, restored.shape)
                    target = inside(Path(runner.log_dir) / 'vis_data' / 'restored', frame.clip, f'{frame.name}.png')
                    write_whole(target, _png(np.concatenate(row, axis=1)), durable=False)


def _png(image: np.ndarray) -> bytes:
    done, coded = cv2.imencode('.png', image)
    if not done:
        raise UserError('A restored frame could not be written as PNG.')
    return coded.tobytes()


def _enlarged(item: dict[str, Any], place: int, shape: tuple[int, ...]) -> np.ndarray:
    """The LR frame at the size of the restored one, in its own pixels."""
    lq = item['lq'][0]
    frame = lq[min(len(lq) - 1, place if len(lq) > 1 and len(item['frame_names']) > 1 else len(lq) // 2)]
    return np.asarray(tensor2img([F.interpolate(frame[None].cpu(), shape[:2], mode='nearest')[0]]))


def _masks(item: dict[str, Any], place: int, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The masks of a frame, one colour each; nothing without masks."""
    if 'masks' not in item:
        return []
    masks = item['masks'][0]
    masks = masks[min(len(masks) - 1, place)].cpu().numpy().astype(bool)
    drawn = overlay(np.zeros((*masks.shape[-2:], 3), np.uint8), masks, 0.9)[..., ::-1]
    return [cv2.resize(np.ascontiguousarray(drawn), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)]
