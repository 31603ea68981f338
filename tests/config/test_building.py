"""What only shows when it is built: sizes of patches and networks, masks of data and networks."""

from __future__ import annotations

import pytest
from helpers.options import problems_of

from basicsr_semantic.config.option_file import OptionFile


def found(file: str, *overrides: str) -> list[str]:
    """What is wrong with an option file of ours after overrides, missing files aside."""
    problems = problems_of(OptionFile.read(f'options/{file}', overrides), True)
    return [f'{one.key}: {one.message}' for one in problems if not one.missing_file]


@pytest.mark.parametrize(
    ('file', 'size', 'said'),
    [
        (
            'seem/tune_BasicVSRSEEM_REDS.yml',
            64,
            'It is 64, LR patches of 16 pixels, too few for BasicVSRSEEM: it must be at least 132.',
        ),
        (
            'seem/train_EDVRSEEM_M_REDS.yml',
            8,
            'It is 8, LR patches of 2 pixels, too few for EDVRSEEM: it must be at least 16, a multiple of 16.',
        ),
        (
            'seem/train_EDVRSEEM_M_REDS.yml',
            72,
            'It is 72, LR patches of 18 pixels; EDVRSEEM takes multiples of 4: it must be 64 or 80.',
        ),
        (
            'seeclear/train_SeeClear_condenser_REDS.yml',
            80,
            'It is 80, LR patches of 20 pixels; SeeClear takes multiples of 8: it must be 64 or 96.',
        ),
    ],
)
def test_patches_that_the_network_does_not_take(file, size, said):
    assert found(file, f'datasets:train:gt_size={size}') == [f'datasets:train:gt_size: {said}']


def test_data_and_network_count_the_same_masks():
    message = 'It is 8, but BasicVSRSEEM takes 64 masks (network_g:num_masks). Make them equal.'
    problems = found('seem/tune_BasicVSRSEEM_REDS.yml', 'datasets:train:num_masks=8')
    assert f'datasets:train:num_masks: {message}' in problems


def test_parts_that_are_in_order_are_built_whatever_else_is_wrong():
    problems = found('seem/tune_BasicVSRSEEM_REDS.yml', 'network_g:num_feat=0', 'val:val_freq=0', 'scale=x')
    assert [one.partition(': ')[0] for one in problems] == ['scale', 'val:val_freq', 'network_g:num_feat']
    assert 'num_feat, num_masks and num_in_ch must be positive; they are 0, 64 and 3' in problems[2]


def test_nothing_is_wrong_with_the_file_itself():
    assert found('seem/tune_BasicVSRSEEM_REDS.yml') == []
