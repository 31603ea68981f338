"""The same checks over every extractor that is registered here, whichever it is.

An extractor registered later is covered the day it is: nothing here names one. How one that needs files is made small
is said in the helpers of its tests, see `helpers.small`.
"""

from __future__ import annotations

import argparse
import copy
import functools
import inspect
import json
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import CLIPS, frames_of, keys_of
from helpers.small import has_small, hook_of, make_small

from basicsr_semantic.cli.extractor_flags import add_flags, flag
from basicsr_semantic.config.signatures import argument_docs, arguments_of
from basicsr_semantic.extractors import EXTRACTOR_REGISTRY, Extractor, build_extractor
from basicsr_semantic.extractors.runner import extract
from basicsr_semantic.priors import CELL, PriorStore, SemanticPriors, store_metadata
from basicsr_semantic.priors.semantic_priors import AXES
from basicsr_semantic.utils.errors import UserError

OURS = {name: cls for name, cls in EXTRACTOR_REGISTRY if cls.__module__.startswith('basicsr_semantic.')}
FILLS = [name for name, cls in OURS.items() if cls.fills_stores()]
ONLINE = [name for name, cls in OURS.items() if cls.online()]
INSTANCES = [name for name, cls in OURS.items() if cls.makes_instances()]

Described = list[dict[str, np.ndarray | None]]
"""What was said of each frame of a clip, by the names of `SemanticPriors`, and ``scores``."""


@pytest.fixture(scope='module')
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as one:
        yield one


@pytest.fixture(scope='module')
def small(tmp_path_factory, patch):
    """A function: the arguments with which an extractor is small, by its name."""

    @functools.cache
    def arguments(name: str) -> dict[str, Any]:
        needs = [key for key, one in inspect.signature(OURS[name]).parameters.items() if one.default is one.empty]
        if not needs and not has_small(name):
            return {}
        return make_small(name, tmp_path_factory.mktemp(hook_of(name)), patch)

    return arguments


@pytest.fixture(scope='module')
def build(small):
    """A function: the small extractor of a name, made once."""
    return functools.cache(lambda name: build_extractor(name, **small(name)))


def describe(extractor: Extractor, clip: str, frames: list[np.ndarray] | None = None) -> Described:
    """What an extractor tells a store of a clip, in whichever way it does."""
    frames = frames_of(clip) if frames is None else frames
    if extractor.by_clips():
        found = extractor.describe_clip(len(frames), lambda number: frames[number])
        features = [None] * len(frames) if found.pixel_features is None else list(found.pixel_features)
        names = ('frame_tokens', 'global_tokens', 'pixel_features', 'masks')
        rows = zip(found.frame_tokens, found.global_tokens, features, found.masks, strict=True)
        return [{**dict(zip(names, row, strict=True)), 'scores': found.scores} for row in rows]
    if extractor.by_frames():
        descriptions = [extractor.describe_frame(frame) for frame in frames]
        return [
            {
                'frame_tokens': one.frame_tokens,
                'global_tokens': one.global_token,
                'pixel_features': one.pixel_features,
                'masks': one.masks,
            }
            for one in descriptions
        ]
    pairs = [extractor(frame, key) for frame, key in zip(frames, keys_of(clip), strict=True)]
    return [{'masks': masks, 'scores': scores} for masks, scores in pairs]


def same(a: Described, b: Described) -> bool:
    """Whether two descriptions are equal, value by value."""
    return all(
        x.keys() == y.keys()
        and all((x[key] is None) is (y[key] is None) for key in x)
        and all(np.array_equal(x[key], y[key]) for key in x if x[key] is not None)
        for x, y in zip(a, b, strict=True)
    )


def test_there_are_extractors_to_check():
    assert FILLS and ONLINE and INSTANCES


@pytest.mark.parametrize('name', OURS)
def test_its_arguments_are_flags_and_keys_with_a_type_and_a_line(name):
    parameters, docs = inspect.signature(OURS[name]).parameters, argument_docs(OURS[name])
    for key, one in parameters.items():
        assert one.annotation is not one.empty, f'{key} has no type'
        assert docs.get(key), f'{key} is not described'
    if len(parameters) >= 10:
        assert all(one.kind is one.KEYWORD_ONLY for one in parameters.values())
    if 'device' in parameters:
        assert parameters['device'].default == 'cpu'
    assert arguments_of(OURS[name]).model_fields.keys() == parameters.keys()
    parser = argparse.ArgumentParser()
    add_flags(parser, name, OURS[name], ())
    assert {flag(key) for key in parameters} <= parser._option_string_actions.keys()


@pytest.mark.parametrize('name', OURS)
def test_it_can_do_something_and_says_what(name, small, build):
    cls = OURS[name]
    assert cls.kind == name and (cls.__doc__ or '').strip()
    assert sum((cls.by_clips(), cls.by_frames(), cls.only_masks())) == cls.fills_stores()
    assert cls.fills_stores() or cls.not_for_models() is None
    with pytest.raises(UserError, match='no_such_argument'):
        build_extractor(name, **small(name), no_such_argument=1)
    assert type(build(name)) is cls


@pytest.mark.parametrize('name', OURS)
def test_what_it_says_of_itself_are_plain_values(name, small, build):
    extractor = build(name)
    assert json.loads(json.dumps(small(name))) == small(name)
    for one in (extractor.parameters, extractor.checkpoint, extractor.tokens, extractor.features):
        assert json.loads(json.dumps(one)) == pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert isinstance(extractor.max_masks, int) and extractor.max_masks >= 0
    if extractor.checkpoint is not None:
        assert extractor.checkpoint.keys() == {'file', 'sha256'} and len(extractor.checkpoint['sha256']) == 64
    twin = build_extractor(name, **small(name))
    assert (twin.parameters, twin.checkpoint, twin.order) == (
        extractor.parameters,
        extractor.checkpoint,
        extractor.order,
    )


@pytest.mark.parametrize('clip', CLIPS)
@pytest.mark.parametrize('name', FILLS)
def test_what_it_says_it_gives_is_what_it_gives(name, clip, build):
    extractor, (count, height, width) = build(name), CLIPS[clip]
    found = describe(extractor, clip)
    assert len(found) == count
    for one in found:
        masks, scores = one['masks'], one.get('scores')
        assert masks is not None and masks.dtype == bool and masks.shape[1:] == (height, width)
        assert len(masks) <= extractor.max_masks
        assert scores is None or (scores.shape == (len(masks),) and np.isfinite(scores).all())
        sizes: dict[str, tuple[int, ...]] = {}
        if extractor.tokens is not None:
            sizes['frame_tokens'] = (extractor.tokens['num'], extractor.tokens['dim'])
            sizes['global_tokens'] = (extractor.tokens['global_dim'],)
        if extractor.features is not None:
            sizes['pixel_features'] = (extractor.features['dim'], -(-height // CELL), -(-width // CELL))
        given = {key: value for key, value in one.items() if key in AXES and key != 'masks' and value is not None}
        assert {key: value.shape for key, value in given.items()} == sizes
        assert all(np.issubdtype(value.dtype, np.floating) and np.isfinite(value).all() for value in given.values())
    if extractor.max_masks:
        assert any(one['masks'].any() for one in found), 'a check of empty masks shows nothing'
    if extractor.order == 'id':
        assert len({len(one['masks']) for one in found}) == 1, 'one instance a channel through the whole clip'


@pytest.mark.parametrize('name', FILLS)
def test_the_same_frames_have_the_same_priors_and_stay_as_they_are(name, build, small):
    extractor, frames = build(name), frames_of('odd')
    before = copy.deepcopy(frames)
    torch.manual_seed(1)
    first = describe(extractor, 'odd', frames)
    assert all(np.array_equal(a, b) for a, b in zip(before, frames, strict=True))
    describe(extractor, 'several')
    torch.manual_seed(2)
    assert same(describe(extractor, 'odd'), first)
    assert same(describe(build_extractor(name, **small(name)), 'odd'), first)


@pytest.mark.parametrize('name', FILLS)
def test_a_frame_of_another_kind_is_refused(name, build):
    frames = frames_of('one')
    for wrong in (frames[0].astype(np.float32), frames[0][..., 0], frames[0][..., :2]):
        with pytest.raises((ValueError, UserError), match='A frame must be'):
            describe(build(name), 'one', [wrong])


@pytest.mark.parametrize('name', FILLS)
def test_a_store_gives_back_what_it_said(name, build, tmp_path):
    extractor = build(name)
    frames = {key: frame for clip in CLIPS for key, frame in zip(keys_of(clip), frames_of(clip), strict=True)}
    result = extract(extractor, [*frames], frames.__getitem__, tmp_path / 'store', progress=False)
    reader = PriorStore(tmp_path / 'store')
    assert result.made == len(reader) == len(frames) and reader.kind == name
    expected = store_metadata(
        name, extractor.parameters, extractor.checkpoint, extractor.order, extractor.max_masks, extractor.tokens,
        features=extractor.features,
    )  # fmt: skip
    assert {key: value for key, value in reader.meta.items() if key != 'seen'} == expected
    for clip in CLIPS:
        for key, description in zip(keys_of(clip), describe(extractor, clip), strict=True):
            masks = description['masks']
            read = reader.masks(key, max(len(masks), 1), frame_size=masks.shape[1:])
            assert read.dtype == np.uint8 and np.array_equal(read[: len(masks)], masks) and not read[len(masks) :].any()
            if reader.has_tokens:
                pairs = zip(
                    reader.clip_tokens([key]), (description['frame_tokens'], description['global_tokens']), strict=True
                )
                assert all(np.array_equal(stored[0], half(value)) for stored, value in pairs)
            if reader.has_features:
                assert np.array_equal(reader.clip_features([key])[0], half(description['pixel_features']))
    reader.close()


def half(values: np.ndarray) -> np.ndarray:
    """As a store has them."""
    return values.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize('clip', CLIPS)
@pytest.mark.parametrize('name', ONLINE)
def test_in_the_run_it_gives_tensors_of_the_fields(name, clip, build):
    extractor, (count, height, width) = build(name), CLIPS[clip]
    frames = torch.from_numpy(np.stack(frames_of(clip))).permute(0, 3, 1, 2).float().div(255)
    before = frames.clone()
    found = extractor.describe(frames, tuple(AXES))
    assert torch.equal(frames, before)
    given = {key: getattr(found, key) for key in AXES if getattr(found, key, None) is not None}
    assert all(value.device == frames.device and not value.requires_grad for value in given.values())
    sizes = {'T': count, 'I': extractor.max_masks, 'h': height, 'w': width}
    sizes |= {'hp': -(-height // CELL), 'wp': -(-width // CELL), **tokens_of(extractor)}
    for key, value in given.items():
        axes = AXES[key].split()[1:]
        assert value.dim() == len(axes)
        assert all(size == sizes.get(axis, size) for axis, size in zip(axes, value.shape, strict=True)), key
        if key == 'masks':
            assert value.dtype == torch.uint8 and value.max() <= 1
        else:
            assert value.is_floating_point() and value.isfinite().all()
    assert ('pixel_features' in given) is (extractor.features is not None)
    SemanticPriors(**{key: value[None] for key, value in given.items()})  # which accepts no other shapes
    again = extractor.describe(frames, tuple(AXES))
    assert all(torch.equal(getattr(again, key), value) for key, value in given.items())


def tokens_of(extractor: Extractor) -> dict[str, int]:
    """The sizes that it names, by axis."""
    tokens, features = extractor.tokens or {}, extractor.features or {}
    named = {'K': tokens.get('num'), 'Ct': tokens.get('dim'), 'Cg': tokens.get('global_dim'), 'Cp': features.get('dim')}
    return {axis: size for axis, size in named.items() if size}


@pytest.mark.parametrize('name', sorted({*ONLINE} & {*FILLS}))
def test_a_run_and_a_store_see_the_same_tokens(name, build):
    extractor, frames = build(name), np.stack(frames_of('odd'))
    stored = describe(extractor, 'odd')
    found = extractor.describe(torch.from_numpy(frames).permute(0, 3, 1, 2).float().div(255), tuple(AXES))
    for key in ('frame_tokens', 'global_tokens'):
        if getattr(found, key, None) is not None:
            assert np.array_equal(getattr(found, key).numpy(), np.stack([one[key] for one in stored])), key


@pytest.mark.parametrize('name', INSTANCES)
def test_it_makes_instance_tokens_of_the_tokens_of_a_store(name, small, build):
    sizes = build(name).tokens or {'num': 4, 'dim': 6}
    make = OURS[name].instances_for_store(small(name), 'cpu')
    assert isinstance(make.source, str) and (make.sha256 is None or len(make.sha256) == 64)
    for frames in (1, 2, 5):
        tokens = torch.rand(2, frames, sizes['num'], sizes['dim'], generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found = make(tokens)
            assert found.dim() == 3 and len(found) == 2 and found.size(-1) == sizes['dim'] and found.isfinite().all()
            assert torch.equal(make(tokens), found)
            torch.testing.assert_close(make(tokens[1:])[0], found[1], atol=1e-5, rtol=1e-4)
