"""The training loop of MMEngine, which goes on with the data where a stopped run was."""

from __future__ import annotations

from mmengine.runner import IterBasedTrainLoop

from .data import PlacedSampler
from .models import bare_model
from .registry import LOOPS


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """Iterations from where the checkpoint is, without reading the data of those before.

    MMEngine's loop loads and throws away every batch up to there. With :class:`PlacedSampler` the samples of an
    iteration are known without; the loader starts when the run does, not when the loop is built.
    """

    def __init__(self, *arguments, **named) -> None:
        super().__init__(*arguments, **named)
        del self.dataloader_iterator  # it has not been used, and would begin with the first iteration

    def run(self):
        """Train; see MMEngine's loop.

        Raises:
            UserError: The model refuses the data, those of the validation included, which may come hours later.
        """
        self._check_data()
        sampler = self.dataloader.sampler
        if isinstance(sampler, PlacedSampler):
            sampler.start_after(self._iter)
        self.dataloader_iterator = iter(self.dataloader)
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        if not isinstance(sampler, PlacedSampler):
            for _ in range(self._iter):
                next(self.dataloader_iterator)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            validates = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if self.runner.val_loop is not None and self._iter >= self.val_begin and validates:
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _check_data(self) -> None:
        model = bare_model(self.runner.model)
        if hasattr(model, 'check_dataset'):
            for loop in (self, self.runner.val_loop):
                if loop is not None:
                    dataset = loop.dataloader.dataset
                    model.check_dataset(getattr(dataset, 'dataset', dataset))
