"""The arms of the probe: which network learns in which world, from which priors, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import probe_priors as told
from probe_priors import TOKEN_DIM, Tell
from probe_world import NUM_CLASSES, World
from torch import nn

from basicsr_semantic.archs.basicvsr_seem_arch import BasicVSRSEEM
from basicsr_semantic.archs.layers.size_requirements import SizeRequirements
from basicsr_semantic.archs.seeclear_arch import SeeClear
from basicsr_semantic.archs.semantic_lens_arch import SemanticLens


@dataclass(frozen=True)
class Arm:
    """One training of the probe.

    Attributes:
        network: What is built.
        world: The clips.
        batch: Clips of a batch.
        tell: What the priors are made of.
        arguments: For ``network``.
        neutral: Train without priors: the control with the same parameters.
        start: The arm whose weights it starts from.
        trainable: How the names of the parameters begin that are trained; empty for all.
        lr_scale: Learning rate of the semantic modules, in units of that of the rest.
        dropout: Probability that a batch is trained on without priors.
        squared: Train with the squared error instead of Charbonnier's.
    """

    network: Callable[..., nn.Module]
    world: World
    batch: int
    tell: Tell
    arguments: Mapping[str, Any] = field(default_factory=dict)
    neutral: bool = False
    start: str | None = None
    trainable: tuple[str, ...] = ()
    lr_scale: float = 1.0
    dropout: float = 0.0
    squared: bool = False

    def but(self, **changes: Any) -> Arm:
        """The same arm but for these attributes; ``arguments`` are added to those it has."""
        changes['arguments'] = {**self.arguments, **changes.get('arguments', {})}
        return replace(self, **changes)


@dataclass(frozen=True)
class Module:
    """A semantic module and its arms.

    Attributes:
        title: As the table names it.
        without: The arm without the module.
        neutral: The arm with it, trained without priors.
        arms: Those that are trained with priors; the first is the module as printed.
        chosen: The one of them whose options are our defaults, or what its page advises.
        misled: The mode that leads it astray: wrong classes, or, where it takes none, the priors of another clip.
    """

    title: str
    without: str
    neutral: str
    arms: Sequence[str]
    chosen: str
    misled: str = 'wrong'


#: How names of parameters of semantic modules begin, and what those in the stages of SeeClear have in them.
SEMANTIC = ('sam_embed.', 'seem_', 'compress_', 'space.', 'image.', 'to_hidden.', 'instances.', 'memory.')
SEMANTIC_WITHIN = ('.align.', '.textures.')


def is_semantic(name: str) -> bool:
    """Whether a parameter belongs to a semantic module."""
    return name.startswith(SEMANTIC) or any(part in name for part in SEMANTIC_WITHIN)


def _basicvsr_seem(**arguments: Any) -> nn.Module:
    sizes = {'num_feat': 16, 'num_block': 2, 'num_masks': NUM_CLASSES, 'reduction': 4}
    net = BasicVSRSEEM(**sizes, zero_flow=True, missing_priors='neutral', **arguments)
    net.size_requirements = SizeRequirements()  # SPyNet asks for more, and is not run where it starts at zero flow
    net.spynet.requires_grad_(False)
    return net


def _semantic_lens(**arguments: Any) -> nn.Module:
    sizes = {'mid_channels': 16, 'embed_dim': 24, 'depths': [1, 1], 'num_heads': [2, 2], 'window_size': [3, 4, 4]}
    parts = dict.fromkeys(('gps', 'isee', 'image'), False) | arguments
    widths = {'token_dim': TOKEN_DIM, 'global_dim': TOKEN_DIM, 'drop_path_rate': 0, 'upscale': 2}
    return SemanticLens(**sizes, **widths, missing_priors='neutral', **parts)


def _seeclear(**arguments: Any) -> nn.Module:
    sizes = {'dim': 32, 'multipliers': (1, 1, 1, 1), 'head_dim': 16, 'clip_length': 3, 'upscale': 2, 'window': 8}
    tokens = dict.fromkeys(('token_dim', 'feature_dim', 'hidden_dim'), TOKEN_DIM) | {'num_queries': 6, 'num_tokens': 3}
    layers = {'instance_heads': 4, 'feedforward_dim': 64, 'encoder_layers': 1, 'decoder_layers': 2, 'groups': 2}
    parts = dict.fromkeys(('semantic', 'incam', 'category'), False)
    return SeeClear(**{**sizes, **tokens, **layers, **parts, 'missing_priors': 'neutral', **arguments})


_SEEM = Arm(_basicvsr_seem, World(scale=4), 4, told.class_masks)
_SCENE = Arm(_semantic_lens, World(scale=2, shapes=0), 4, told.scene_class)
_GPS = _SCENE.but(arguments={'gps': True})
_ISEE = _SCENE.but(tell=told.scene_instance, arguments={'isee': True, 'isee_nothing': False})
_TINTED = World(scale=2, background=False, tinted=True, contrast=0.2)
_BINDING = Arm(_semantic_lens, _TINTED, 4, told.tinted_instances, {'isee': True, 'isee_nothing': False})
_MOVING = World(scale=2, shapes=3, sides=(4, 6), speed=3, contrast=0.2, revealed='first')
_RANDOM = {'image': True, 'image_start': 'random'}
_IMAGE = Arm(_semantic_lens, _MOVING, 4, told.shape_masks, _RANDOM, start='image.rendering')
_PIXELS = Arm(_seeclear, World(scale=2, size=16), 2, told.class_pixels, {'semantic': True})
_TOKENS = _PIXELS.but(tell=told.class_tokens)
_WHOLE = World(scale=2, size=16, shapes=0)
_TOLD = Arm(_seeclear, _WHOLE, 2, told.class_in_one_frame, {'semantic': True, 'mfsa': False, 'num_tokens': 1})
_INCAM = _TOLD.but(arguments={'incam': True, 'incam_reading': 'scale'}, lr_scale=4)
_CATEGORY = Arm(_seeclear, _WHOLE, 2, told.class_tokens, {'category': True, 'num_tokens': 1, 'memory_start': 'unit'})
_RECONSTRUCTION = ('fusion', 'upconv', 'conv_hr', 'conv_last')

ARMS: dict[str, Arm] = {
    'seem.without': _SEEM.but(arguments={'branches': []}),
    'seem.neutral': _SEEM.but(neutral=True),
    'seem.printed': _SEEM,
    'seem.dropout': _SEEM.but(dropout=0.2),
    'seem.dropout_half': _SEEM.but(dropout=0.5),
    'tune.without': _SEEM.but(arguments={'branches': []}, start='seem.without'),
    'tune.neutral': _SEEM.but(neutral=True, start='seem.without', trainable=('sam_embed', 'seem_', *_RECONSTRUCTION)),
    'tune.printed': _SEEM.but(start='seem.without', trainable=('sam_embed', 'seem_')),
    'tune.reconstruction': _SEEM.but(start='seem.without', trainable=('sam_embed', 'seem_', *_RECONSTRUCTION)),
    'scene.without': _SCENE,
    'gps.neutral': _GPS.but(neutral=True),
    'gps.printed': _GPS,
    'gps.dropout': _GPS.but(dropout=0.2),
    'isee.neutral': _ISEE.but(neutral=True),
    'isee.printed': _ISEE,
    'isee.nothing': _ISEE.but(arguments={'isee_nothing': True}),
    'binding.without': _BINDING.but(arguments={'isee': False}),
    'binding.neutral': _BINDING.but(neutral=True),
    'binding.printed': _BINDING,
    'binding.lr4': _BINDING.but(lr_scale=4),
    'binding.nothing': _BINDING.but(arguments={'isee_nothing': True}, lr_scale=4),
    'image.rendering': _IMAGE.but(world=replace(_MOVING, revealed='all'), arguments={'image': False}, start=None),
    'image.without': _IMAGE.but(arguments={'image': False}),
    'image.neutral': _IMAGE.but(arguments={'image_start': 'identity'}, neutral=True),
    'image.printed': _IMAGE,
    'image.identity': _IMAGE.but(arguments={'image_start': 'identity'}),
    'pixels.without': _PIXELS.but(arguments={'semantic': False}),
    'pixels.neutral': _PIXELS.but(neutral=True),
    'pixels.printed': _PIXELS,
    'tokens.printed': _TOKENS,
    'tokens.lr4': _TOKENS.but(lr_scale=4),
    'incam.without': _TOLD.but(lr_scale=4),
    'incam.neutral': _INCAM.but(arguments={'incam_reading': 'embed'}, neutral=True),
    'incam.printed': _INCAM,
    'incam.embed': _INCAM.but(arguments={'incam_reading': 'embed'}),
    'category.without': _CATEGORY.but(arguments={'category': False}),
    'category.neutral': _CATEGORY.but(neutral=True),
    'category.printed': _CATEGORY.but(arguments={'memory_start': 'near_zero'}),
    'category.unit': _CATEGORY,
    'category.unit_lr4': _CATEGORY.but(lr_scale=4),
    'category.unit_lr0.25': _CATEGORY.but(lr_scale=0.25),
    'category.unit_squared': _CATEGORY.but(squared=True),
}

MODULES: tuple[Module, ...] = (
    Module(
        'SEEM, trained with the network',
        'seem.without',
        'seem.neutral',
        ('seem.printed', 'seem.dropout', 'seem.dropout_half'),
        'seem.printed',
    ),
    Module(
        'SEEM, tuned on a frozen network',
        'tune.without',
        'tune.neutral',
        ('tune.printed', 'tune.reconstruction'),
        'tune.reconstruction',
    ),
    Module('GPS (Eq. 6 to 8)', 'scene.without', 'gps.neutral', ('gps.printed', 'gps.dropout'), 'gps.printed'),
    Module(
        'ISEE (Eq. 9 to 11), one token',
        'scene.without',
        'isee.neutral',
        ('isee.printed', 'isee.nothing'),
        'isee.printed',
    ),
    Module(
        'ISEE, the tokens of two shapes',
        'binding.without',
        'binding.neutral',
        ('binding.printed', 'binding.lr4', 'binding.nothing'),
        'binding.printed',
    ),
    Module(
        'IMAGE (Eq. 12, 13)',
        'image.without',
        'image.neutral',
        ('image.printed', 'image.identity'),
        'image.printed',
        'other',
    ),
    Module(
        'SeeClear, pixel features (Eq. 10, 11)',
        'pixels.without',
        'pixels.neutral',
        ('pixels.printed',),
        'pixels.printed',
    ),
    Module(
        'SeeClear, frame tokens (Eq. 12, 13)',
        'pixels.without',
        'pixels.neutral',
        ('tokens.printed', 'tokens.lr4'),
        'tokens.lr4',
    ),
    Module('InCAM (Eq. 14, 15)', 'incam.without', 'incam.neutral', ('incam.printed', 'incam.embed'), 'incam.embed'),
    Module(
        'CaTeGory (Eq. 16 to 20)',
        'category.without',
        'category.neutral',
        (
            'category.printed',
            'category.unit',
            'category.unit_lr4',
            'category.unit_lr0.25',
            'category.unit_squared',
        ),
        'category.unit_squared',
    ),
)
