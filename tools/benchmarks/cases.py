"""The table of benchmark.py: what is measured of each method, and the largest ratios that it may have."""

from __future__ import annotations

from dataclasses import dataclass

SIDES = ('reference', 'measured')


@dataclass(frozen=True)
class Method:
    """A method that has cases.

    Attributes:
        about: What they are about, for the help.
        pairs: Alternated pairs of runs unless the command line says otherwise.
        released: Name and address of the released code that cases compare with.
        sampled: The method is a diffusion: size, steps and precision can be chosen.
    """

    about: str
    pairs: int
    released: tuple[str, str] | None = None
    sampled: bool = False


METHODS = {
    'seem': Method(
        'SEEM: inference against the plain baseline, tuning SEEM against training everything. A quarter of an hour on '
        'two idle cores.',
        pairs=5,
    ),
    'semantic_lens': Method(
        'Semantic Lens: its Pixel Enhancer against the released code of PSRT, whose transformer it shares, both with '
        'the same settings; and the training of all of it. A quarter of an hour on two cores.',
        pairs=3,
        released=('PSRT', 'https://github.com/XPixelGroup/RethinkVSRAlignment'),
    ),
    'seeclear': Method(
        'SeeClear: sampling against the released code of ResShift, a step against Semantic Lens, a training step. A '
        'clip of 5 frames, full-size networks with random weights, random priors in place of those of a store: neither '
        'extractor nor text encoder runs. On a GPU both sides sample all steps, in bfloat16 unless --precision says '
        'otherwise, ResShift all frames at once. On a CPU that would take the better part of an hour: there one step '
        'and what is done once a clip are timed, for ResShift of one frame, and the sum is worked out and marked as '
        'computed; --full samples all the same.',
        pairs=2,
        released=('ResShift', 'https://github.com/zsyOAOA/ResShift'),
        sampled=True,
    ),
}


@dataclass(frozen=True)
class Case:
    """A comparison of two sides. A target is the largest ratio; None: there is none.

    Attributes:
        method: A key of METHODS; its module of runs makes the sides.
        name: Name in the command line.
        title: Name in the printed table.
        time_target: For the time; not every case is ``timed``.
        memory_target: For the peak of memory by the budget where there is one, else by the reference.
        weighed: Sides whose peak of memory is measured.
        budget: MiB that the measured side may need.
        budget_title: Name of that row; None: the case's.
        training: A step of training: memory is that of two, since Adam makes its averages at the end of the first.
        whole_process: Memory is all of the process, not what is above the idle one.
        released: The reference is the released code.
        difference: The outputs of both sides are compared, too.
        gpu_only: The targets hold on a GPU alone.
        parts: On a CPU the time is worked out from those of these runs, what is done once and one step.
    """

    method: str
    name: str
    title: str
    time_target: float | None = None
    memory_target: float | None = None
    timed: bool = True
    weighed: tuple[str, ...] = ()
    budget: float | None = None
    budget_title: str | None = None
    training: bool = False
    whole_process: bool = False
    released: bool = False
    difference: bool = False
    gpu_only: bool = False
    parts: tuple[str, ...] = ()


_GIGABYTE = 1e9 / 2**20  # in MiB
_SAMPLED = {'released': True, 'gpu_only': True, 'parts': ('once', 'step')}

CASES = (
    Case('seem', 'basicvsr_inference', 'BasicVSR + SEEM / BasicVSR, inference', 1.15, 1.12, weighed=SIDES),
    Case('seem', 'edvr_inference', 'EDVR-M + SEEM / EDVR-M, inference', 1.20, 1.20, weighed=SIDES),
    Case(
        'seem', 'basicvsr_tuning', 'BasicVSR + SEEM, step of SEEM only / of all', 0.80, 0.95,
        weighed=SIDES, training=True,
    ),
    Case('seem', 'edvr_tuning', 'EDVR-M + SEEM, step of SEEM only / of all', weighed=SIDES, training=True),
    Case('semantic_lens', 'inference', 'PSRT / released code, inference', 1 / 1.8, released=True, difference=True),
    Case(
        'semantic_lens', 'branch_training', 'a branch / released code, training step', memory_target=0.65,
        weighed=SIDES, training=True, released=True,
    ),
    Case(
        'semantic_lens', 'network_training', 'Semantic Lens, training step, peak / 6 GB', memory_target=1.0,
        timed=False, weighed=('measured',), budget=6 * _GIGABYTE, training=True, whole_process=True,
    ),
    Case('semantic_lens', 'semantics', 'with / without IMAGE and SPACE, inference', 1.35),
    Case('seeclear', 'sampling', 'SeeClear / ResShift and its autoencoder, a frame', 1.0, **_SAMPLED),
    Case('seeclear', 'unet', "SeeClear / ResShift's U-Net alone, a frame", **_SAMPLED),
    Case('seeclear', 'core', 'a denoising step / Semantic Lens, a clip'),
    Case('seeclear', 'condition', 'what is done once a clip / a denoising step'),
    Case(
        'seeclear', 'training', 'training step, with / without checkpointing', memory_target=1.0,
        weighed=SIDES, budget=24 * _GIGABYTE, budget_title='training step with checkpointing, peak / 24 GB',
        training=True, gpu_only=True,
    ),
)  # fmt: skip


def cases_of(method: str) -> list[Case]:
    """The cases of a method, in the order of the table."""
    return [case for case in CASES if case.method == method]
