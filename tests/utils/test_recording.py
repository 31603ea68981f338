"""The arguments of a constructor, recorded."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from basicsr_semantic.utils.recording import records_arguments


class Recorded(nn.Module):
    """A network that records."""

    config: dict[str, Any]

    @records_arguments
    def __init__(self, width: int, depths: Sequence[int] = (2, 2), *rest: int, scale: float = 0.5, **more: int) -> None:
        """Make it."""
        self.seen = dict(self.config)
        super().__init__()
        self.layer = nn.Linear(width, width)


def test_all_named_arguments_are_there_in_the_order_of_the_signature():
    assert list(Recorded(3).config.items()) == [('width', 3), ('depths', [2, 2]), ('scale', 0.5)]
    assert Recorded(3, [1], 7, scale=2, other=4).config == {'width': 3, 'depths': [1], 'scale': 2}
    assert Recorded(scale=2, width=3).config == {'width': 3, 'depths': [2, 2], 'scale': 2}


def test_the_constructor_can_read_and_correct_them():
    net = Recorded(3)
    assert net.seen == net.config
    net.config['width'] = 4
    assert Recorded(3).config['width'] == 3 and Recorded(**net.config).layer.in_features == 4


def test_values_are_copies_that_a_checkpoint_gives_back(tmp_path):
    depths = [(1, 2), np.int64(3), OrderedDict(a=(np.float32(0.5),))]
    net = Recorded(2, depths, scale=None)
    depths.append(4)
    assert net.config['depths'] == [[1, 2], 3, {'a': [0.5]}]
    assert type(net.config['depths'][1]) is int
    torch.save(net.config, tmp_path / 'a.pth')
    assert torch.load(tmp_path / 'a.pth', weights_only=True) == net.config


def test_signature_and_documentation_stay_visible():
    assert list(inspect.signature(Recorded).parameters) == ['width', 'depths', 'rest', 'scale', 'more']
    assert inspect.signature(Recorded).parameters['depths'].default == (2, 2)
    assert Recorded.__init__.__doc__ == 'Make it.'


def test_arguments_that_do_not_fit_are_refused_in_pythons_own_words():
    with pytest.raises(TypeError, match=r"__init__\(\) missing 1 required positional argument: 'width'"):
        Recorded()


def test_a_subclass_that_records_has_its_own_arguments_and_another_those_of_its_base():
    class Own(Recorded):
        @records_arguments
        def __init__(self, channels: int) -> None:
            super().__init__(channels)

    class Plain(Recorded):
        def __init__(self, channels: int) -> None:
            super().__init__(channels)

    assert Own(3).config == {'channels': 3}
    assert Plain(3).config == {'width': 3, 'depths': [2, 2], 'scale': 0.5}
