"""Keys read off signatures, dataclasses of options, and the sources of classes that take one dict."""

from __future__ import annotations

import copy
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch
from torch import nn

from basicsr_semantic.config.keys import REQUIRED, keys_of_callable, keys_of_dataclass
from basicsr_semantic.config.reads import keys_read

if TYPE_CHECKING:
    from nowhere import Unknown


class Base(nn.Module):
    """A base.

    Args:
        num_feat (int): Channels
            of every layer.
        scale: Factor.
    """

    def __init__(self, num_feat, scale=2, *, act: Literal['relu', 'gelu'] = 'relu'):
        super().__init__()


class Forwards(Base):
    def __init__(self, extra: int = 1, **kwargs):
        super().__init__(64, **kwargs)


class Ignores(nn.Module):
    def __init__(self, width: int = 3, **kwargs):
        super().__init__()


class Pops(nn.Module):
    def __init__(self, **kwargs):
        self.depth = kwargs.pop('depth', 3)
        super().__init__()


class Hands(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.body = Base(**kwargs)


class HandsToTheUnknown(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.parts = [kwargs]


def test_signature_defaults_types_and_docs():
    keys = keys_of_callable(Base).keys
    assert list(keys) == ['num_feat', 'scale', 'act']
    assert keys['num_feat'].required and keys['num_feat'].default is REQUIRED and keys['num_feat'].hint is Any
    assert keys['num_feat'].doc == 'Channels of every layer.'
    assert keys['scale'].default == 2 and keys['scale'].hint == float | None
    assert keys['act'].hint == Literal['relu', 'gelu']


def test_kwargs_are_followed():
    forwards = keys_of_callable(Forwards)
    assert list(forwards.keys) == ['extra', 'scale', 'act'] and forwards.rest == 'refused'
    assert keys_of_callable(Ignores).rest == 'ignored'
    pops = keys_of_callable(Pops)
    assert list(pops.keys) == ['depth'] and pops.rest == 'ignored'
    hands = keys_of_callable(Hands)
    assert list(hands.keys) == ['num_feat', 'scale', 'act'] and hands.rest == 'refused'
    assert keys_of_callable(HandsToTheUnknown).rest == 'taken'


def test_functions_and_classes_without_constructor():
    def metric(img, img2, crop_border, **kwargs):
        return 0

    class Bare(nn.Module):
        pass

    assert list(keys_of_callable(metric).without(['img', 'img2']).keys) == ['crop_border']
    assert keys_of_callable(Bare).keys == {} and keys_of_callable(Bare).rest == 'refused'
    assert list(keys_of_callable(nn.Conv2d).keys)[:2] == ['in_channels', 'out_channels']


def test_an_annotation_that_cannot_be_resolved_hides_no_other():
    def build(a: Unknown, b: int, c: torch.Tensor | None = None):
        return a

    keys = keys_of_callable(build).keys
    assert keys['a'].hint is Any and keys['b'].hint is int and list(keys) == ['a', 'b', 'c']


@dataclass(kw_only=True)
class Parent:
    name: str
    """Name in
    logs."""


@dataclass(kw_only=True)
class Child(Parent):
    size: int = 3
    """Size."""
    items: list[int] = field(default_factory=lambda: [1])
    undocumented: bool = False


def test_dataclass_fields_with_docs_of_all_bases():
    keys = keys_of_dataclass(Child).keys
    assert {name: key.doc for name, key in keys.items()} == {
        'name': 'Name in logs.',
        'size': 'Size.',
        'items': '',
        'undocumented': '',
    }
    assert keys['name'].required and not keys['items'].required and keys['items'].default == [1]
    assert keys['items'].hint == list[int]


# ------------------------------------------------------------------------------------------- classes with one dict


def helper(options, key='a'):
    return options['from_helper'], options.get('maybe_helper')


class Sample:
    def __init__(self, opt):
        """Sample.

        Args:
            opt: Options:
                size (int): How big.
        """
        self.opt = opt
        self.size = opt['size']
        self.backend = opt['io_backend']
        self.kind = self.backend.pop('type')
        if opt.get('flag', True):
            self.branch = opt['branch']
        flow = opt['flow'] if 'flow' in opt else None  # noqa: SIM401
        self.both = flow, opt['tested'] is not None and opt['after_and']
        train = self.opt['train']
        lr = train['optim']['lr']
        self.lr = lr
        helper(opt)
        part = deepcopy(opt)
        self.part = part['copied']
        for opt_ in [1]:
            self.other = {'x': opt_}

    def __getitem__(self, index):
        loaded = self.opt['loaded']
        if loaded:
            return 0
        return self.opt['late']

    @property
    def shown(self):
        return self.opt['shown']


class Special(Sample):
    def __init__(self, opt):
        opt['flow'] = 1
        super().__init__(opt)
        self.opt.get('special', 3)


def names(keys, required=None):
    return {name for name, key in keys.keys.items() if required is None or key.required is required}


def test_keys_of_the_dict_and_which_are_required():
    keys = keys_read(Sample, (), ('__init__', '__getitem__'))
    always = {'size', 'io_backend', 'train', 'tested', 'from_helper', 'copied', 'loaded'}
    assert names(keys, True) == always
    assert names(keys, False) == {'flag', 'branch', 'flow', 'after_and', 'maybe_helper', 'late', 'shown'}
    assert keys.keys['flag'].default is True and keys.keys['flag'].hint == bool | None
    assert keys.keys['size'].doc == 'How big.'
    assert keys.rest == 'refused'


def test_keys_of_sections():
    assert names(keys_read(Sample, ('io_backend',))) == {'type'}
    assert names(keys_read(Sample, ('train', 'optim'))) == {'lr'}


def test_bases_are_read_and_keys_set_by_the_class_are_not_required():
    keys = keys_read(Special, (), ('__init__',))
    assert {'special', 'size', 'flow'} <= names(keys)
    assert 'flow' not in names(keys, True) and 'size' in names(keys, True)


class GivesAway:
    def __init__(self, opt):
        self.inner = Sample(opt)


class Loops:
    def __init__(self, opt):
        self.values = [opt[key] for key in ('a', 'b')]


class Spreads:
    def __init__(self, opt):
        self.copy = {**opt, 'x': 1}


class Keeps:
    def __init__(self, options):
        self.cfg = options
        self.alias: dict = self.cfg['section']

    def use(self):
        return self.alias['deep'], copy.copy(self.cfg)['top'], (self.cfg.get('val') or {}).get('inner')


@pytest.mark.parametrize('cls', [GivesAway, Loops, Spreads])
def test_options_that_go_where_we_cannot_look_are_never_called_unknown(cls):
    assert keys_read(cls).rest == 'taken'


def test_other_names_for_the_dict_are_followed():
    keys = keys_read(Keeps)
    assert names(keys) == {'section', 'top', 'val'} and keys.rest == 'refused'
    assert names(keys_read(Keeps, ('section',))) == {'deep'}
    assert names(keys_read(Keeps, ('val',))) == {'inner'}


def test_a_class_without_source_takes_everything():
    namespace: dict = {'__name__': 'elsewhere'}
    exec('class Made:\n    def __init__(self, opt):\n        self.a = opt["a"]\n', namespace)
    assert keys_read(namespace['Made']).rest == 'taken'
