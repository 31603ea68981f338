"""The same checks over every model that is registered here, whichever it is.

A model registered later is covered the day it is: nothing here names one. The small option file of each is made by the
helpers of its tests, see `helpers.small`.
"""

from __future__ import annotations

import copy
import functools
import json
import math
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils.registry import MODEL_REGISTRY
from helpers.options import problems_of
from helpers.small import hook_of, make_small
from torch import nn
from torch.utils.data import DataLoader

import basicsr_semantic  # noqa: F401  (registers)
from basicsr_semantic.config import sections
from basicsr_semantic.config.section import read_section
from basicsr_semantic.engine.checkpoint import load_file

OURS = {name: cls for name, cls in MODEL_REGISTRY if cls.__module__.startswith('basicsr_semantic.')}
SECTIONS = {'top': sections.TopOptions, 'train': sections.TrainOptions}
SECTIONS |= {'path': sections.PathOptions, 'val': sections.ValOptions}
every_model = pytest.mark.parametrize('name', OURS)


@pytest.fixture(scope='module')
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as one:
        yield one


@pytest.fixture(scope='module')
def written(tmp_path_factory, patch):
    """A function: the small option file of a model, whose files are made once."""
    return functools.cache(lambda name: make_small(name, tmp_path_factory.mktemp(hook_of(name)), patch))


@pytest.fixture
def small(written):
    """A function: a copy of that file as it stands."""
    return lambda name: copy.deepcopy(written(name)) | {'model_type': name}


class Noted(dict):
    """Options that remember which of their keys were asked for."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


@pytest.fixture
def build(small, tmp_path):
    """A function: a model as the training loop builds it; ``path`` replaces keys of that section."""

    def make(name: str, **path: Any) -> Any:
        opt = Noted(small(name) | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1})
        for folder in ('models', 'training_states', 'log', 'visualization'):
            opt['path'][folder] = str(tmp_path / folder)
            (tmp_path / folder).mkdir(exist_ok=True)
        opt['path'] |= path
        torch.manual_seed(0)
        opt.asked.clear()
        return build_model(opt)

    return make


def loader(opt: Mapping[str, Any], section: str) -> DataLoader:
    """The batches of a data set, as the loops make them."""
    more = {'phase': section} | ({'scale': opt['scale']} if 'scale' in opt else {})
    dataset = build_dataset(copy.deepcopy(opt['datasets'][section]) | more)
    size = opt['datasets'][section].get('batch_size_per_gpu', 1)
    return DataLoader(dataset, batch_size=size, collate_fn=getattr(dataset, 'collate', None))


def train(model: Any, opt: Mapping[str, Any], steps: int = 2) -> None:
    """Some steps on the first batch."""
    torch.manual_seed(1)
    batch = next(iter(loader(opt, 'train')))
    for iteration in range(1, steps + 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)


def networks(model: Any) -> dict[str, nn.Module]:
    """The networks of a model, which BasicSR calls net_*, and their averages, by name."""
    found = {key: one for key, one in vars(model).items() if key.startswith('net_') and isinstance(one, nn.Module)}
    found |= {f'{key}_ema': average.net for key, average in getattr(model, 'averages', {}).items()}
    return {key: model.get_bare_model(net) for key, net in found.items()}


def weights(model: Any) -> dict[str, torch.Tensor]:
    """Every value of every network."""
    nets = networks(model)
    return {f'{name}.{key}': value.clone() for name, net in nets.items() for key, value in net.state_dict().items()}


def equal(a: Any, b: Any) -> bool:
    """Equality of what a batch is made of."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def test_there_are_models_to_check():
    assert OURS


def test_a_model_without_a_small_option_file_says_what_to_add(tmp_path, monkeypatch):
    with pytest.raises(
        pytest.fail.Exception, match=r'Add a function small_my_vsr_model\(folder, patch\) to a file in tests/helpers'
    ):
        make_small('MyVSRModel', tmp_path, monkeypatch)


@every_model
def test_its_options_are_sections_with_a_line_for_each_key(name):
    assert (OURS[name].__doc__ or '').strip()
    for section, base in SECTIONS.items():
        options = getattr(OURS[name], f'{section.capitalize()}Options')
        assert issubclass(options, base)
        for key, one in options.model_fields.items():
            assert one.description, f'{section}:{key} has no docstring'


@every_model
def test_options_travel(name, small):
    """Through JSON, as an option file does, and through pickle, as to another process."""
    opt = small(name)
    assert json.loads(json.dumps(opt)) == pickle.loads(pickle.dumps(opt)) == opt
    for section in SECTIONS:
        options = getattr(OURS[name], f'{section.capitalize()}Options')
        given = opt if section == 'top' else opt.get(section)
        typed = read_section(options, given, section)
        assert pickle.loads(pickle.dumps(typed)) == copy.deepcopy(typed) == typed
        needed = {key: getattr(typed, key) for key, one in options.model_fields.items() if one.is_required()}
        bare = read_section(options, needed, section)  # where the defaults are values of their types
        assert read_section(options, json.loads(json.dumps(bare.model_dump())), section) == bare


@every_model
def test_the_checker_has_nothing_to_say(name, small):
    assert problems_of(small(name), is_train=True) == []


@every_model
def test_it_reads_the_sections_that_it_declares(name, small, build):
    opt = small(name)
    assert opt.keys() <= OURS[name].TopOptions.model_fields.keys()
    model = build(name)
    train(model, opt, 1)
    model.save(0, 1)
    model.validation(loader(opt, 'val'), 1, None, False)
    assert {'network_g', 'path'} <= model.opt.asked
    assert model.opt.asked <= OURS[name].TopOptions.model_fields.keys() | sections.PREPARED


@every_model
def test_a_training_moves_what_trains_and_nothing_else(name, small, build):
    opt, model = small(name), build(name)
    nets = {key: net for key, net in networks(model).items() if not key.endswith('_ema')}
    trains = {f'{key}.{one}' for key, net in nets.items() for one, p in net.named_parameters() if p.requires_grad}
    optimised = {id(p) for one in model.optimizers for group in one.param_groups for p in group['params']}
    assert optimised == {id(p) for net in nets.values() for p in net.parameters() if p.requires_grad}
    before = weights(model)
    starts = {key: key.replace('_ema.', '.', 1) for key in before if '_ema.' in key}
    assert all(torch.equal(before[average], before[key]) for average, key in starts.items())
    train(model, opt)
    after = weights(model)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    of_nets, of_averages = ({key for key in moved if ('_ema.' in key) is average} for average in (False, True))
    assert of_nets and of_nets <= trains
    assert {starts[key] for key in of_averages} <= of_nets
    assert all(value.isfinite().all() for value in after.values() if value.is_floating_point())
    assert model.log_dict and all(torch.as_tensor(value).isfinite() for value in model.log_dict.values())


@every_model
def test_what_it_saves_is_what_it_loads(name, small, build, tmp_path):
    opt, model = small(name), build(name)
    train(model, opt)
    model.save(0, 2)
    saved = weights(model)
    state = load_file(tmp_path / 'training_states/2.state')
    files = {f'pretrain_network_{label.removeprefix("net_")}': file for label, file in state['weights'].items()}
    files = {key: file for key, file in files.items() if key in OURS[name].PathOptions.model_fields}
    assert 'pretrain_network_g' in files
    for file in files.values():
        content = load_file(tmp_path / 'models' / file)
        assert {'params', 'params_ema'} <= content.keys() if model.train_options.ema_decay else 'params' in content
    paths = {key: str(tmp_path / 'models' / file) for key, file in files.items()}
    resumed = build(name, resume_state=str(tmp_path / 'training_states/2.state'), **paths)
    resumed.resume_training(state)
    assert weights(resumed).keys() == saved.keys() and equal(weights(resumed), saved)
    assert [one.last_epoch for one in resumed.schedulers] == [one.last_epoch for one in model.schedulers]
    assert bool(opt['train'].get('ema_decay')) is any('_ema.' in key for key in saved)


@every_model
def test_its_networks_can_be_copied(name, build):
    for net in networks(build(name)).values():
        copied = copy.deepcopy(net)
        assert equal(dict(copied.state_dict()), dict(net.state_dict()))
        assert all(a is not b for a, b in zip(copied.parameters(), net.parameters(), strict=True))


@every_model
@pytest.mark.parametrize('section', ['train', 'val'])
def test_a_batch_stays_as_it_is(name, section, small, build):
    model, opt = build(name), small(name)
    if section == 'val' and not opt.get('scale'):
        return  # it restores no frames, and takes what it judges from the data set
    batch = next(iter(loader(opt, section)))
    before = copy.deepcopy(batch)
    model.feed_data(batch)
    if section == 'train':
        model.optimize_parameters(1)
    else:
        model.test()
    assert equal(batch, before)


@every_model
def test_frames_come_out_at_their_size_whatever_their_number(name, small, build):
    opt, model = small(name), build(name)
    scale = opt.get('scale')
    lengths = set()
    for batch in loader(opt, 'val') if scale else ():
        model.feed_data(batch)
        b, t, _, h, w = batch['lq'].shape
        model.test()
        assert model.output.shape == (b, t, 3, scale * h, scale * w) and model.output.isfinite().all()
        assert model.output.dtype == torch.float32 and model.output.device.type == 'cpu'
        first = model.output
        model.feed_data(batch)
        model.test()
        assert torch.equal(model.output, first)
        lengths.add(t)
    assert not scale or {1} < lengths, 'the clips of its val should be of one frame and of more'


@every_model
def test_a_validation_gives_figures_and_leaves_the_training_as_it_was(name, small, build):
    opt, model = small(name), build(name)
    modes, before = [net.training for net in networks(model).values()], weights(model)
    model.validation(loader(opt, 'val'), 2, None, False)
    figures = model.best_metric_results[opt['datasets']['val']['name']]
    assert figures and all(one['iter'] == 2 and math.isfinite(one['val']) for one in figures.values())
    assert [net.training for net in networks(model).values()] == modes and equal(weights(model), before)
