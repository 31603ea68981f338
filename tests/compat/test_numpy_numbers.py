"""A data set of another project may load numpy's numbers while it is built, and no more than those."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.registry import DATASET_REGISTRY


@pytest.fixture
def loading_data_set():
    """A data set that reads its ``path`` with a plain torch.load, as GFPGAN's reads facial landmarks."""

    class Landmarks(torch.utils.data.Dataset):
        def __init__(self, opt: dict) -> None:
            self.content = torch.load(opt['path'])

    DATASET_REGISTRY.register(Landmarks)
    yield
    del DATASET_REGISTRY._obj_map['Landmarks']


def load(path) -> dict:
    return build_dataset({'type': 'Landmarks', 'name': 'theirs', 'path': str(path)}).content


def test_numbers_stay_those_of_numpy(tmp_path, loading_data_set):
    content = {'left_eye': [np.float64(190.5), np.float64(240.25), np.float64(28.5)], 'half': np.float32(0.1)}
    torch.save(content, tmp_path / 'landmarks.pth')
    read = load(tmp_path / 'landmarks.pth')
    assert read == content
    assert type(read['half']) is np.float32
    centre, half = read['left_eye'][:2], read['left_eye'][2]
    assert np.array_equal(centre - half + 1, [163.0, 212.75])  # only numpy takes a number from a list


@pytest.mark.parametrize('content', [np.zeros(3), eval])
def test_nothing_else_is_let_in(tmp_path, loading_data_set, content):
    torch.save({'content': content}, tmp_path / 'other.pth')
    with pytest.raises(pickle.UnpicklingError):
        load(tmp_path / 'other.pth')


def test_it_ends_with_the_building(tmp_path, loading_data_set):
    torch.save({'half': np.float32(1)}, tmp_path / 'landmarks.pth')
    load(tmp_path / 'landmarks.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'landmarks.pth')
