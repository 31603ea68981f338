"""The table of compare.py: which runs of a method are compared on davis320, and what differs between them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

DATA = Path('datasets/davis320')
METRICS = {'psnr_y': 'PSNR Y', 'ssim_y': 'SSIM Y', 'psnr_rgb': 'PSNR RGB', 'ssim_rgb': 'SSIM RGB'}
#: Store with the tokens of stage 1 and annotated masks.
ORACLE = 'xdecoder_annotations'


class Stage(NamedTuple):
    """One training: its option file in the folder of the method, its number of iterations, what its name ends with."""

    option: str
    length: str
    suffix: str = ''
    #: ``--force_yml`` values of this training alone.
    forced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arm:
    """One row of the table of results.

    Attributes:
        name: Key of its figures, and part of the names of its runs.
        label: Its name in the table.
        stages: Its trainings; each goes on from the weights of the one before.
        forced: ``--force_yml`` values of all of them, and of the test.
        in_test: Those of the test alone.
        start: Arm before it whose weights it starts from; None: from scratch.
    """

    name: str
    label: str
    stages: tuple[Stage, ...]
    forced: tuple[str, ...] = ()
    start: str | None = None
    in_test: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The arms of a method, the first being trained first.

    Attributes:
        about: What is compared, for the help.
        folder: Of the option files.
        prefix: What the names of the runs begin with.
        control: Arm that the others are compared with.
        flags: Of the command line: name, default, help.
        lengths: Gives the iterations of every kind of stage, and of stage 1 of Semantic Lens where it is needed.
        arms: The rows of the table.
        held_out: Option file with the held-out clips and the metrics.
        first_frames: Frames of each clip that bicubic is measured on; None: all.
        tested: The arms are tested with the file ``held_out``, else the last validation in training counts.
        in_training: ``--force_yml`` values of all trainings.
        columns: Name of a metric -> head of its column.
    """

    about: str
    folder: str
    prefix: str
    control: str
    flags: tuple[tuple[str, int | tuple[int, int], str], ...]
    lengths: Callable[[Namespace], dict[str, int]]
    arms: tuple[Arm, ...]
    held_out: str
    first_frames: int | None = None
    tested: bool = False
    in_training: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=lambda: METRICS)

    @property
    def method(self) -> str:
        """What is compared, by the name of its option files' folder."""
        return Path(self.folder).name

    def arm(self, name: str) -> Arm:
        """The row of that name."""
        return next(arm for arm in self.arms if arm.name == name)


def _stores(kind: str) -> tuple[str, ...]:
    """The options that name the stores of a kind."""
    return tuple(f'datasets:{part}:dataroot_priors={DATA / part / kind}.lmdb' for part in ('train', 'val'))


def _on_baseline(name: str, label: str, option: str, *forced: str) -> Arm:
    return Arm(name, label, (Stage(option, 'on_top'),), forced, start='baseline')


SEEM = Comparison(
    'SEEM on a frozen baseline against more training of the baseline. For every seed a small BasicVSR is trained; '
    'then, each with the same iterations, schedule and data: the baseline trained on (control), SEEM alone with masks '
    'of regions, SEEM alone with annotated masks (an oracle that no user has).',
    folder='options/seem',
    prefix='davis320_',
    control='control',
    flags=(('--iters', (400, 200), 'of the baseline, and on top of it'),),
    lengths=lambda options: dict(zip(('baseline', 'on_top'), options.iters, strict=True)),
    arms=(
        Arm('baseline', 'BasicVSR (small)', (Stage('train_BasicVSR_davis320', 'baseline'),)),
        _on_baseline('control', 'control: trained on', 'train_BasicVSR_finetune_davis320'),
        _on_baseline('regions', 'SEEM, masks of regions', 'tune_BasicVSRSEEM_davis320', *_stores('regions')),
        _on_baseline(
            'annotations', 'SEEM, annotated masks (oracle)', 'tune_BasicVSRSEEM_davis320', *_stores('annotations')
        ),
    ),
    held_out='train_BasicVSR_davis320',
)


def _lens(name: str, label: str, option: str, *forced: str) -> Arm:
    return Arm(name, label, (Stage(f'train_SemanticLens_{option}', 'row'),), forced)


SEMANTIC_LENS = Comparison(
    'The rows of Table 3 of the Semantic Lens paper at a small size. Stage 1 is trained once, on the annotations of '
    'the training clips, and describes all clips by tokens and instances. Then, for every seed, the same recurrent '
    'transformer is trained from scratch with the same iterations, schedule and data: without priors (the control), '
    'with GPS, with GPS and ISEE, and with IMAGE as well. IMAGE is trained twice, with annotated masks, an oracle that '
    'no user has, and with the masks that stage 1 found.',
    folder='options/semantic_lens',
    prefix='davis320_lens_',
    control='base',
    flags=(('--iters', (1500, 500), 'of stage 1, and of each row'),),
    lengths=lambda options: dict(zip(('stage_1', 'row'), options.iters, strict=True)),
    arms=(
        _lens('base', 'without priors (control)', 'base_davis320'),
        _lens('gps', '+ GPS', 'gps_davis320'),
        _lens('gps_isee', '+ GPS, ISEE', 'gps_isee_davis320'),
        _lens(
            'full_oracle', '+ GPS, ISEE, IMAGE with annotated masks (oracle)', 'davis320',
            *_stores(ORACLE), *(f'datasets:{part}:prior_kind={ORACLE}' for part in ('train', 'val')),
        ),
        _lens('full', '+ GPS, ISEE, IMAGE with masks of stage 1', 'davis320'),
    ),
    held_out='train_SemanticLens_davis320',
)  # fmt: skip


def _row(name: str, label: str, *parts: str) -> Arm:
    """A row of Table 2 with these parts; the memory, of the category, is trained in three stages."""
    stages = (Stage('train_SeeClear_condenser_davis320', 'alone', '_condenser'),)
    if 'category' in parts:
        lengths = {'condenser': 'before_memory', 'memory': 'memory', 'joint': 'memory'}
        stages = tuple(Stage(f'train_SeeClear_{stage}_davis320', lengths[stage], f'_{stage}') for stage in lengths)
    flags = ('dwt', 'semantic', 'mfsa', 'incam', 'category')
    return Arm(name, label, stages, tuple(f'network_g:{flag}={str(flag in parts).lower()}' for flag in flags))


def _posterior(name: str) -> Arm:
    return Arm(name, f'7, posterior {name}', (), (f'diffusion:posterior={name}',), start='full')


SEECLEAR = Comparison(
    'The rows of Table 2 of the SeeClear paper, and the posteriors, at a small size. Tokens and features come from the '
    'small X-Decoder that stage 1 of Semantic Lens trains, the same one as in its comparison. Then, for every seed, '
    'every row sees as many clips in training: those with a memory in three stages, a clip of a pair counting as one. '
    'The last row is sampled with every posterior.',
    folder='options/seeclear',
    prefix='davis320_seeclear_',
    control='base',
    flags=(
        ('--clips', 1000, 'clips that each row sees in training'),
        ('--memory', 100, 'iterations of both stages of the memory, two clips each'),
        ('--stage-1', 1500, 'iterations of the small X-Decoder'),
    ),
    lengths=lambda options: {
        'stage_1': options.stage_1,
        'alone': options.clips,
        'before_memory': options.clips - 4 * options.memory,
        'memory': options.memory,
    },
    arms=(
        _row('base', '1: DWT (control)', 'dwt'),
        _row('semantic', '2: DWT, semantic', 'dwt', 'semantic'),
        _row('mfsa', '3: DWT, semantic, MFSA', 'dwt', 'semantic', 'mfsa'),
        _row('incam', '4: DWT, semantic, MFSA, InCAM', 'dwt', 'semantic', 'mfsa', 'incam'),
        _row('category', '5: DWT, semantic, CaTeGory', 'dwt', 'semantic', 'category'),
        _row('no_dwt', '6: semantic, MFSA, InCAM, CaTeGory', 'semantic', 'mfsa', 'incam', 'category'),
        _row('full', '7: all', 'dwt', 'semantic', 'mfsa', 'incam', 'category'),
        *map(_posterior, ('resshift', 'ddim', 'paper')),
    ),
    held_out='test_SeeClear_davis320',
    first_frames=10,
    tested=True,
    # sampled when all stages are through; what training itself samples at its end is kept small
    in_training=('datasets:val:first_frames=1', 'val:sample_steps=1'),
    columns=METRICS | {'niqe': 'NIQE', 'warping_error': 'warping error x 1000'},
)

NEUTRAL = 'network_g:missing_priors=neutral'


def no_priors(*parts: str) -> tuple[str, ...]:
    """The options that take the stores of these data sets away."""
    return tuple(f'datasets:{part}:dataroot_priors=~' for part in parts)


LENS_TWINS = replace(
    SEMANTIC_LENS,
    about='Semantic Lens against its neutral twin, of the same parameters without priors: with the masks of stage 1, '
    'with annotated masks, and with one clip in five without priors in training. Sizes, iterations and stage 1 are '
    'those of semantic_lens.',
    prefix='davis320_lens_twins_',
    control='neutral',
    arms=(
        _lens('base', 'without GPS, ISEE and IMAGE', 'base_davis320'),
        _lens('neutral', 'all parts, without priors (control)', 'davis320', NEUTRAL, *no_priors('train', 'val')),
        replace(SEMANTIC_LENS.arm('full_oracle'), label='all parts, annotated masks (oracle)'),
        replace(SEMANTIC_LENS.arm('full'), label='all parts, masks of stage 1'),
        _lens('dropout', 'all parts, one clip in five without priors', 'davis320', NEUTRAL, 'train:prior_dropout=0.2'),
    ),
)

_ALL = SEECLEAR.arm('full')
#: No pixel features either, where a store would have them. In training ``whole_frames`` keeps the crops where the
#: features of the other rows put them, so that all rows see the same pixels.
_NO_FEATURES = ('datasets:train:whole_frames=true', 'datasets:val:with_features=false')
_ALIGNS = [f'middle.{k}.align.' for k in range(3)] + [f'decoder.{k}.align.' for k in range(4)]
#: Learning rate of the attention to tokens, where it is trained with the rest.
_TOKENS_AT_4 = f'train:optim_g:groups=[{{"prefixes":[{",".join(_ALIGNS)}],"lr_scale":4}}]'
_WITH_TOKENS = ('condenser', 'joint')

SEECLEAR_TWINS = replace(
    SEECLEAR,
    about='SeeClear against its neutral twin, of the same parameters without priors, with InCAM as it is by default '
    'now, and with the attention to tokens at four times the learning rate of the rest. Sizes, iterations and the '
    'X-Decoder are those of seeclear.',
    prefix='davis320_seeclear_twins_',
    control='neutral',
    arms=(
        replace(SEECLEAR.arm('base'), label='1: DWT'),
        replace(
            _ALL,
            name='neutral',
            label='7: all, without priors (control)',
            stages=tuple(stage._replace(forced=(*no_priors('train', 'val'), *_NO_FEATURES)) for stage in _ALL.stages),
            forced=(*_ALL.forced, NEUTRAL),
            in_test=(*no_priors('test_1'), 'datasets:test_1:with_features=false'),
        ),
        _ALL,
        replace(
            _ALL,
            name='tokens_at_4',
            label='7: all, tokens at four times the rate',
            stages=tuple(
                stage._replace(forced=(_TOKENS_AT_4,)) if stage.suffix[1:] in _WITH_TOKENS else stage
                for stage in _ALL.stages
            ),
        ),
    ),
)

COMPARISONS = {
    'seem': SEEM,
    'semantic_lens': SEMANTIC_LENS,
    'seeclear': SEECLEAR,
    'semantic_lens_twins': LENS_TWINS,
    'seeclear_twins': SEECLEAR_TWINS,
}
