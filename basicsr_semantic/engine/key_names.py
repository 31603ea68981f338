"""The names of weights in BasicSR and in MMagic, for the networks that both have: one map, used both ways.

Both toolboxes compute the same with the same tensors: none is permuted, split or merged. MMagic's SPyNet, EDVR and
IconVSR wrap a convolution with its activation, which adds ``.conv`` to its name and, in SPyNet, halves the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

Side = Literal['basicsr', 'mmagic']
"""Whose names."""
TITLES: dict[Side, str] = {'basicsr': 'BasicSR', 'mmagic': 'MMagic'}
"""The toolboxes as sentences have them."""
GENERATORS = ('generator.', 'generator_ema.')
"""Beginnings of the names in MMagic's checkpoints: those of the network and of its moving average."""

_Pairs = tuple[tuple[str, str], ...]
_NUMBER = re.compile(r'\{\w+\}')


@dataclass(frozen=True)
class KeyMap:
    """The names of one network."""

    network: str
    """Its class in BasicSR."""
    mmagic: str
    """Its class in MMagic."""
    layers: _Pairs
    """(BasicSR's name, MMagic's name) of what has a weight and a bias; ``{block}`` runs over blocks, of which there are
    as many wherever the same word is."""
    buffers: tuple[str, ...] = ()
    """Names of other tensors, the same in both."""
    constants: tuple[str, ...] = ()
    """Names of tensors that files of this network do not have: both toolboxes read the file before they make them, and
    refuse one that has them."""
    begins: tuple[str, ...] = GENERATORS
    """What comes before the names in a file of MMagic: of the network and, where it has one, of its moving average."""

    @property
    def one_for_both(self) -> bool:
        """Whether both toolboxes have the same names."""
        return all(ours == theirs for ours, theirs in self.layers)

    def names(self, side: Side, given: Collection[str]) -> dict[str, str]:
        """All names of a network that has as many blocks as the names given, each with the other toolbox's name.

        Args:
            side: Whose names are given and are the keys; the values are the other's.
            given: Names in a file.
        """
        own = 0 if side == 'basicsr' else 1
        heads = {pair[own][: found.start()]: found[0] for pair in self.layers if (found := _NUMBER.search(pair[own]))}
        blocks = dict.fromkeys(heads.values(), 1)
        for head, word in heads.items():
            numbers = {name[len(head) :].partition('.')[0] for name in given if name.startswith(head)}
            blocks[word] = max(blocks[word], len(numbers))
        names: dict[str, str] = {}
        for pair in self.layers:
            found = _NUMBER.search(pair[own])
            for number in range(blocks[found[0]]) if found else (0,):
                ours, theirs = (_NUMBER.sub(str(number), one) for one in (pair[own], pair[1 - own]))
                names |= {f'{ours}.{leaf}': f'{theirs}.{leaf}' for leaf in ('weight', 'bias')}
        return names | {name: name for name in self.buffers}


def _same(*names: str) -> _Pairs:
    return tuple((name, name) for name in names)


def _wrapped(*names: str) -> _Pairs:
    return tuple((name, f'{name}.conv') for name in names)


def _below(ours: str, theirs: str, layers: _Pairs) -> _Pairs:
    return tuple((f'{ours}.{one}', f'{theirs}.{other}') for one, other in layers)


def _residual(name: str, number: str | int) -> _Pairs:
    numbers = [number] if isinstance(number, str) else range(number)
    return _same(*(f'{name}.{one}.conv{i}' for one in numbers for i in (1, 2)))


def _branch(number: str | int) -> _Pairs:
    """A convolution and residual blocks."""
    return _same('main.0') + _residual('main.2', number)


_SPYNET: _Pairs = tuple(
    (f'basic_module.{level}.basic_module.{2 * i}', f'basic_module.{level}.basic_module.{i}.conv')
    for level in range(6)
    for i in range(5)
)
_FLOW: _Pairs = _below('spynet', 'spynet', _SPYNET)
_FLOW_BUFFERS = ('spynet.mean', 'spynet.std')
_ENLARGING: _Pairs = (
    ('upconv1', 'upsample1.upsample_conv'),
    ('upconv2', 'upsample2.upsample_conv'),
    *_same('conv_hr', 'conv_last'),
)
_DEFORMABLE = tuple(
    f'{name}{part}'
    for name in ('dcn_pack.l1', 'dcn_pack.l2', 'dcn_pack.l3', 'cas_dcnpack')
    for part in ('', '.conv_offset')
)
_PCD: _Pairs = _same(*_DEFORMABLE) + _wrapped(
    *(f'offset_conv{i}.l{level}' for level in (1, 2, 3) for i in (1, 2, 3) if (i, level) != (3, 3)),
    *('feat_conv.l1', 'feat_conv.l2', 'cas_offset_conv1', 'cas_offset_conv2'),
)
_TSA: _Pairs = _same('temporal_attn1', 'temporal_attn2', 'spatial_attn5', 'spatial_attn_add2') + _wrapped(
    *('feat_fusion', 'spatial_attn1', 'spatial_attn2', 'spatial_attn3', 'spatial_attn4'),
    *('spatial_attn_l1', 'spatial_attn_l2', 'spatial_attn_l3', 'spatial_attn_add1'),
)


def _edvr_features(number: str | int) -> _Pairs:
    """EDVR up to its aligned features."""
    pyramid = tuple((f'conv_l{level}_{i}', f'feat_l{level}_conv{i}.conv') for level in (2, 3) for i in (1, 2))
    features = _same('conv_first') + _residual('feature_extraction', number) + pyramid
    return features + _below('pcd_align', 'pcd_alignment', _PCD)


def _edvr(fusion: _Pairs) -> KeyMap:
    layers = _edvr_features('{extract}') + fusion + _residual('reconstruction', '{reconstruct}') + _ENLARGING
    return KeyMap('EDVR', 'EDVRNet', layers)


_TRUNKS: _Pairs = tuple(
    pair for way in ('backward', 'forward') for pair in _below(f'{way}_trunk', f'{way}_resblocks', _branch('{block}'))
)


def _basicvsr_plus_plus(features: _Pairs) -> KeyMap:
    layers = _FLOW + features
    for branch in ('backward_1', 'forward_1', 'backward_2', 'forward_2'):
        offsets = (f'conv_offset.{i}' for i in (0, 2, 4, 6))
        layers += _same(f'deform_align.{branch}', *(f'deform_align.{branch}.{one}' for one in offsets))
        layers += _below(f'backbone.{branch}', f'backbone.{branch}', _branch('{block}'))
    layers += _below('reconstruction', 'reconstruction', _branch(5)) + _ENLARGING
    return KeyMap('BasicVSRPlusPlus', 'BasicVSRPlusPlusNet', layers, _FLOW_BUFFERS)


MAPS = (
    _edvr(_below('fusion', 'fusion', _TSA)),
    _edvr(_same('fusion')),  # with_tsa: false
    KeyMap('BasicVSR', 'BasicVSRNet', _FLOW + _TRUNKS + _same('fusion') + _ENLARGING, _FLOW_BUFFERS),
    _basicvsr_plus_plus(_below('feat_extract', 'feat_extract', _branch(5))),
    _basicvsr_plus_plus(  # is_low_res_input: false
        _same('feat_extract.0', 'feat_extract.2') + _below('feat_extract.4', 'feat_extract.4', _branch(5))
    ),
    KeyMap(
        'IconVSR',
        'IconVSRNet',
        _below('edvr', 'edvr', _edvr_features(5) + _below('fusion', 'fusion', _TSA))
        + (_FLOW + _same('backward_fusion', 'forward_fusion') + _TRUNKS + _ENLARGING),
        _FLOW_BUFFERS,
    ),
    KeyMap('SpyNet', 'SPyNet', _SPYNET, constants=('mean', 'std'), begins=('',)),
    KeyMap(
        'RRDBNet',
        'RRDBNet',
        _same(
            *('conv_first', 'conv_body', 'conv_up1', 'conv_up2', 'conv_hr', 'conv_last'),
            *(f'body.{{block}}.rdb{i}.conv{j}' for i in (1, 2, 3) for j in (1, 2, 3, 4, 5)),
        ),
    ),
)
"""The networks of which both toolboxes have one; two maps for one network where an argument changes its layers."""
NETWORKS = tuple(dict.fromkeys(one.network for one in MAPS))
"""Their classes in BasicSR."""

_FOR_ONE_ONLY = {
    r'image_cleaning\.': 'RealBasicVSRNet, which BasicSR does not have',
    r'predeblur\.': 'an EDVR with with_predeblur, which MMagic does not have',
    r'body\.\d+\.(weight|bias)': 'SRVGGNetCompact, the small generator of Real-ESRGAN, which MMagic does not have',
}


def only_one_has(names: Iterable[str]) -> str | None:
    """Of a network that only one of the toolboxes has, what it is; None where it is none of those that are known."""
    names = list(names)
    return next((what for begin, what in _FOR_ONE_ONLY.items() if any(re.match(begin, one) for one in names)), None)


@dataclass(frozen=True)
class Likeness:
    """How names fit a network of one of the toolboxes."""

    map: KeyMap
    side: Side | None
    """Whose names they are; None: the toolboxes have the same."""
    names: dict[str, str]
    """Its names -> those of the other toolbox."""
    missing: list[str]
    """Names that it has and that are not given."""
    foreign: list[str]
    """Names given that it does not have."""

    @property
    def differences(self) -> int:
        """How many names are missing or foreign."""
        return len(self.missing) + len(self.foreign)

    @property
    def plausible(self) -> bool:
        """Whether more fits than does not."""
        return 2 * self.differences < len(self.names)


def likenesses(given: Collection[str], network: str | None = None) -> list[Likeness]:
    """How names fit the networks, the best first.

    Args:
        given: Names in a file, without what comes before them.
        network: Only this one of `NETWORKS`.
    """
    found = []
    for one in MAPS:
        if network is not None and one.network != network:
            continue
        for side in ('basicsr', 'mmagic') if not one.one_for_both else ('basicsr',):
            names = one.names(side, given)
            missing = [name for name in names if name not in given]
            foreign = [name for name in given if name not in names and name not in one.constants]
            found.append(Likeness(one, None if one.one_for_both else side, names, missing, foreign))
    return sorted(found, key=lambda one: one.differences)


def without_generator(name: str) -> str:
    """A name without what MMagic has before it."""
    return next((name[len(begin) :] for begin in GENERATORS if name.startswith(begin)), name)


def in_basicsr_names(given: Collection[str], wanted: Collection[str] = ()) -> tuple[KeyMap, dict[str, str]] | None:
    """Which names in a file are MMagic's, and BasicSR's for them.

    Args:
        given: Names in the file; ``generator.`` and ``generator_ema.`` before a name stay.
        wanted: Names that the network has; more of them must be found in this way than without it. Empty: any network,
            of which the file must have all names.

    Returns:
        (map, {MMagic's name: BasicSR's name}); None where the names are not MMagic's.
    """
    bare = {name: without_generator(name) for name in given}
    kept = set(bare.values())
    best, most = None, len(kept & set(wanted))
    for one in MAPS:
        if one.one_for_both:
            continue
        names = one.names('mmagic', kept)
        if wanted:
            fits = len({names.get(name) for name in kept} & set(wanted))
        else:
            fits = len(names) if names.keys() <= kept else 0
        if fits > most:
            best, most = (one, names), fits
    if best is None:
        return None
    one, names = best
    return one, {full: full.removesuffix(name) + names[name] for full, name in bare.items() if name in names}
