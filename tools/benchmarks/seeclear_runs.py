"""What benchmark.py runs of SeeClear, of Semantic Lens next to it, and of ResShift's released code."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import semantic_lens_runs as lens
import torch
from resshift import ResShift
from torch.nn import functional as F

import basicsr_semantic  # noqa: F401  (repairs BasicSR before it is imported)
from basicsr_semantic.archs import SeeClear
from basicsr_semantic.archs.seeclear_arch import Condition
from basicsr_semantic.diffusion import BlurringResShift, draw_noise
from basicsr_semantic.models.seeclear_sampling import sample_video
from basicsr_semantic.priors import SemanticPriors

PRECISIONS = {'float32': None, 'bfloat16': 'bf16'}

# Those that are about sampling.
_SAMPLING = ('sampling', 'unet', 'once', 'step')

#: Frames of a clip.
FRAMES = 5

_TINY = {
    'dim': 24, 'head_dim': 12, 'hidden_dim': 16, 'token_dim': 16, 'feature_dim': 8, 'num_tokens': 5, 'num_queries': 6,
    'instance_heads': 2, 'feedforward_dim': 32, 'encoder_layers': 1, 'decoder_layers': 1, 'groups': 2,
}  # fmt: skip

Run = Callable[[], None]


@dataclass(frozen=True)
class Setting:
    """What is measured, and how.

    Attributes:
        device: Where to run.
        released: Checkout of ResShift.
        size: Rows and columns of an LR frame when sampling.
        steps: Steps of both diffusions.
        precision: A key of PRECISIONS, for both sides.
        small: Rows and columns in the other cases.
        tiny: Narrow networks.
        network: Arguments of SeeClear.
        core: Networks and tokens of Semantic Lens.
    """

    device: torch.device
    released: Path | None
    size: int
    steps: int
    precision: str
    small: int = 64
    tiny: bool = False
    network: dict = field(default_factory=dict)
    core: lens.Sizes = lens.FULL

    def autocast(self) -> torch.autocast:
        """Mixed precision, or nothing."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == 'bfloat16')


def setting_of(options: Namespace, device: torch.device) -> Setting:
    """The setting of a command line; --quick makes networks narrow and frames small."""
    released = None if options.released is None else Path(options.released)
    setting = Setting(device, released, options.size, options.steps, options.precision)
    if options.quick:
        return replace(setting, size=64, small=16, tiny=True, network=_TINY, core=lens.QUICK)
    return setting


def shape_of(case: str, setting: Setting) -> tuple[int, int, int]:
    """Frames, rows and columns of the input of a case."""
    side = setting.size if case in _SAMPLING else setting.small
    return FRAMES, side, side


class Clip:
    """SeeClear, a clip, and random priors of it as a store would have them.

    Args:
        setting: What is measured.
        size: Rows and columns of an LR frame.
        checkpointing: For training.
    """

    def __init__(self, setting: Setting, size: int, checkpointing: bool = False) -> None:
        torch.manual_seed(0)
        device = setting.device
        self.setting = setting
        net = SeeClear(**setting.network, clip_length=FRAMES, checkpointing=checkpointing).to(device).eval()
        self.net, self.diffusion = net, BlurringResShift(steps=setting.steps).to(device)
        self.lq = random_frames(FRAMES, size, device)
        self.base = enlarge(self.lq)
        tokens = torch.randn(1, FRAMES, net.num_tokens, net.token_dims['frame_tokens'])
        features = torch.randn(1, FRAMES, net.token_dims['pixel_features'], size // 4, size // 4)
        self.priors = SemanticPriors(frame_tokens=tokens, pixel_features=features).to(device)
        # of the decoder's layers, for the memory
        sides = (size // 4, size // 2, size, size)
        widths = [conv.in_channels for conv in net.memory.levels]  # type: ignore[union-attr]
        self.features = [
            torch.randn(1, FRAMES, width, side, side).to(device) for width, side in zip(widths, sides, strict=True)
        ]
        self.generator = torch.Generator().manual_seed(2)

    def condition(self) -> Condition:
        """What is worked out once a clip."""
        with self.setting.autocast():
            return self.net.condition(self.lq[None], self.priors, self.net.initial_memory(1))

    def denoise(self, x: torch.Tensor, t: int, condition: Condition) -> torch.Tensor:
        """The network's part of a step: scaled states (FRAMES, 3, H, W) to predictions."""
        with self.setting.autocast():
            step = torch.tensor([t], device=x.device)
            return self.net.denoise(x[None], step, self.base[None], condition)[0][0]

    def remember(self) -> None:
        """What a clip leaves in the memory."""
        with self.setting.autocast():
            self.net.update_memory(self.net.initial_memory(1), self.features)

    def noise(self) -> torch.Tensor:
        """Noise of a step."""
        return draw_noise(self.base.shape, self.generator, self.base.device)


def random_frames(number: int, size: int, device: torch.device) -> torch.Tensor:
    """LR frames (number, 3, size, size) in [-1, 1]."""
    drawn = torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(1))
    return (drawn * 2 - 1).to(device)


def enlarge(lq: torch.Tensor) -> torch.Tensor:
    """Frames four times as large, as ResShift enlarges its own."""
    return F.interpolate(lq, scale_factor=4, mode='bicubic')


def make_run(case: str, side: str, setting: Setting) -> Run:
    """Build networks and inputs, and return what is measured.

    Args:
        case: 'sampling' compares ResShift and its autoencoder (reference) with SeeClear, 'unet' its U-Net
            alone; both sample a clip. 'once' and 'step' are the parts of that, one of the steps and all the rest: there
            the reference works on one frame, since it restores each for itself. 'core' compares Semantic Lens with the
            network's part of a step, 'condition' that with what is worked out once a clip, 'training' a training step
            without checkpointing with one with it.
        side: 'reference' or 'measured'.
        setting: What is measured, and how.
    """
    theirs = side == 'reference'
    if case == 'training':
        return _training_step(Clip(setting, setting.small, checkpointing=not theirs))
    if case == 'core' and theirs:
        sizes = replace(setting.core, clip=(FRAMES, setting.small, setting.small))
        return _quiet(setting, lens.make_run('semantics', 'measured', lens.Setting(sizes, setting.device)))
    if theirs and case != 'condition':
        return _quiet(setting, _released(case, setting))
    clip = Clip(setting, shape_of(case, setting)[-1])
    if case in ('sampling', 'unet'):
        run = partial(_sample, clip)
    elif case == 'once':
        run = partial(_once, clip)
    elif case == 'condition' and not theirs:
        run = clip.condition
    else:
        run = _step(clip, posterior=case == 'step')
    return _quiet(None, run)


def _quiet(setting: Setting | None, run: Callable[[], object]) -> Run:
    """Without gradients; in the setting's precision where the run does not set it itself."""

    def quiet() -> None:
        with torch.no_grad():
            if setting is None:
                run()
            else:
                with setting.autocast():
                    run()

    return quiet


def _released(case: str, setting: Setting) -> Callable[[], object]:
    """ResShift: the frames of a clip together, or the parts of the work on one frame."""
    assert setting.released is not None
    peer = ResShift(setting.released, setting.steps, setting.tiny, setting.device)
    lq = random_frames(FRAMES if case in ('sampling', 'unet') else 1, setting.size, setting.device)
    if case == 'sampling':
        return partial(peer.sample, lq)
    if case == 'once':
        return lambda: peer.decode(peer.encode(lq))
    latents = torch.randn(lq.shape, generator=torch.Generator().manual_seed(2)).to(setting.device)
    if case == 'unet':
        return partial(peer.latent_steps, latents, lq)
    return partial(peer.step, latents, latents, lq, max(setting.steps // 2, 1))


def _sample(clip: Clip) -> None:
    """A clip, sampled as a video of its own, and the memory that it leaves to the next."""
    lq, base = ((z + 1) / 2 for z in (clip.lq, enlarge(clip.lq)))
    sample_video(clip.net, clip.diffusion, lq, base, clip.priors, 'clip', amp=PRECISIONS[clip.setting.precision])
    clip.remember()


def _once(clip: Clip) -> None:
    """All of that but the steps."""
    clip.diffusion.prior_sample(enlarge(clip.lq), clip.noise())
    clip.condition()
    clip.remember()


def _step(clip: Clip, posterior: bool) -> Callable[[], object]:
    """A step in the middle, with or without what is not the network's."""
    with torch.no_grad():
        condition = clip.condition()
    t = max(clip.setting.steps // 2, 1)
    state = clip.diffusion.prior_sample(clip.base, clip.noise())

    def step() -> torch.Tensor:
        image = clip.denoise(clip.diffusion.scale_input(state, t), t, condition)
        if not posterior:
            return image
        return clip.diffusion.step(state, image.float().clamp(-1, 1), clip.base, t, clip.noise())

    return step


def _training_step(clip: Clip) -> Run:
    """Forward, Charbonnier, backward and Adam for one clip, everything trainable and the memory being read."""
    net, setting = clip.net.train(), clip.setting
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.5, 0.999))
    x, lq, base = (z[None, None] for z in (torch.randn_like(clip.base), clip.lq, clip.base))
    t = torch.full((1, 1), max(setting.steps // 2, 1), device=setting.device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with setting.autocast():
            predicted = net(x, t, lq, base, [clip.priors])
        ((predicted.float() - base) ** 2 + 1e-12).sqrt().mean().backward()
        optimizer.step()

    return step
