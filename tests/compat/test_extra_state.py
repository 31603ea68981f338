"""A pool of pairs and a running mean survive a resume."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from basicsr_semantic.compat.extra_state import extra_state, restore_extra_state


def model(**attributes) -> SimpleNamespace:
    return SimpleNamespace(opt={'rank': 0}, device=torch.device('cpu'), **attributes)


def test_a_pool_is_saved_in_bytes_without_loss():
    pool = torch.randint(0, 256, (4, 3, 8, 8)).float() / 255
    saved = extra_state(model(queue_size=4, queue_lr=pool, queue_ptr=2, lq=pool))
    assert saved.keys() == {'queue_lr', 'queue_ptr'}
    assert saved['queue_lr'].dtype == torch.uint8
    other = model(queue_size=4)
    restore_extra_state(other, saved)
    assert torch.equal(other.queue_lr, pool)
    assert other.queue_lr.dtype == torch.float32
    assert other.queue_ptr == 2


def test_a_pool_of_other_values_is_saved_as_it_is():
    pool = torch.rand(4, 3, 8, 8)
    other = model()
    restore_extra_state(other, extra_state(model(queue_gt=pool)))
    assert torch.equal(other.queue_gt, pool)


def test_the_running_mean_may_be_a_number_or_a_tensor():
    for value in (0, torch.tensor(1.5)):
        other = model()
        restore_extra_state(other, extra_state(model(mean_path_length=value)))
        assert other.mean_path_length == value


def test_other_processes_fill_their_own_pool():
    other = SimpleNamespace(opt={'rank': 1}, device=torch.device('cpu'))
    restore_extra_state(other, {'queue_lr': torch.zeros(1), 'mean_path_length': 2.0})
    assert not hasattr(other, 'queue_lr')
    assert other.mean_path_length == 2.0


def test_models_without_any_save_nothing():
    from basicsr.models.base_model import BaseModel

    assert extra_state(BaseModel({'num_gpu': 0, 'is_train': True})) == {}
