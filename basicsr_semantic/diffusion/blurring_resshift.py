"""Blurring ResShift (SeeClear, Section 3.1 and Appendix A): the image is blurred, shifted to the base, and noised."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from ..utils.recording import records_arguments
from .patch_dct import dct_matrix, squared_frequencies, to_frequencies, to_images
from .posterior import step_back
from .schedules import blur_schedule as blur_times
from .schedules import shift_schedule

Step = int | torch.Tensor

_AS_PRINTED = (
    "posterior 'paper' is Eq. 34-36 as printed: it keeps neither the means nor the variances of the forward process. "
    "It is there for comparison; 'markov' is the repaired form."
)


class BlurringResShift(nn.Module):
    """The diffusion between an image and a base of the same size; for any network that predicts the image.

    Images are (b, 3, h, w) float in [-1, 1], h and w multiples of ``patch``; a step t is an int or a LongTensor (b,),
    from 1 to ``steps``. Every method computes in float32, outside autocast, whatever the type of its input.

    The state stays an image and is blurred in the DCT of its patches (Eq. 2); DCT and wavelets are orthonormal, so
    white noise is the same in all of them.

    Args:
        steps: Number of steps T.
        kappa: Strength of the noise; its standard deviation at step t is kappa sqrt(eta_t). SeeClear gives no value:
            2.0 is ResShift's; its bicubic configuration had 1.0.
        min_noise: Bound of the noise of step 1.
        power: Warps the steps of eta.
        etas_end: sqrt(eta_T).
        sigma_min: Blur of step 1 in pixels.
        sigma_max: Blur of step T in pixels; 0: no blur, then images may have any size.
        patch: Side of the patches that are blurred. SeeClear gives none: with 4 the fully blurred image is the
            box-downsampled one, on the grid of an LR frame a quarter as large.
        posterior: ``markov``, ``resshift``, ``ddim`` or ``paper``; see :func:`posterior.step_back`.
        blur_schedule: ``log`` or ``sine``; see :func:`schedules.blur_schedule`.

    Attributes:
        steps: Number of steps.
        config: The arguments that it was made with.
        visited: For every step from 0, the step of the process as it was made; see :meth:`with_steps`.

    Raises:
        ValueError: A value is out of range.
    """

    config: dict[str, Any]
    etas: torch.Tensor
    matrix: torch.Tensor
    keep: torch.Tensor
    back: torch.Tensor

    @records_arguments
    def __init__(
        self,
        *,
        steps: int = 15,
        kappa: float = 2.0,
        min_noise: float = 0.04,
        power: float = 0.3,
        etas_end: float = 0.99,
        sigma_min: float = 0.5,
        sigma_max: float = 2**0.5,
        patch: int = 4,
        posterior: str = 'markov',
        blur_schedule: str = 'log',
    ) -> None:
        super().__init__()
        if patch < 1:
            raise ValueError(f'patch is {patch}; at least 1 is needed.')
        if posterior == 'paper':
            warnings.warn(_AS_PRINTED, stacklevel=3)  # past the decorator
        self.kappa, self.posterior = kappa, posterior
        self.patch = patch if sigma_max > 0 else 1
        self._shifts = shift_schedule(steps, kappa, min_noise, power, etas_end)
        self._blurs = blur_times(steps, sigma_min, sigma_max, blur_schedule)
        self.register_buffer('matrix', dct_matrix(self.patch).float(), persistent=False)
        self._visit(tuple(range(steps + 1)))

    def _visit(self, visited: tuple[int, ...]) -> None:
        """Make the tables of the process that visits these steps, 0 and the last one among them."""
        self.steps, self.visited = len(visited) - 1, visited
        etas, times = self._shifts[list(visited)], self._blurs[list(visited)]
        # Lambda times t in Eq. 22; the time is tau_t here
        exponents = -squared_frequencies(self.patch) * times[:, None, None]
        tables = {
            'etas': etas,
            'keep': (1 - etas[:, None, None]) * exponents.exp(),  # (steps + 1, p, p): of the image in the mean
            'back': torch.stack(step_back(etas, exponents, self.kappa, self.posterior), dim=1),  # (steps + 1, 4, p, p)
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float().to(self.matrix.device), persistent=False)

    def with_steps(self, steps: int) -> BlurringResShift:
        """The process that visits fewer of the same states, for a network that was trained on all of them.

        The states are evenly spaced and end with the last one. The network must get step ``visited[t]``, as
        :func:`sample` does.

        Args:
            steps: Steps of the new process, from 1 to that of this one.

        Raises:
            ValueError: There are not so many.
        """
        if not 1 <= steps <= self.steps:
            raise ValueError(f'A process of {self.steps} steps can be sampled in 1 to {self.steps}, not {steps}.')
        places = [self.steps * k // steps for k in range(steps + 1)]
        fewer = copy.copy(self)
        fewer._buffers = dict(self._buffers)  # the tables of this process stay
        fewer._visit(tuple(self.visited[place] for place in places))
        return fewer

    # ------------------------------------------------------------------------------------------ forward process

    def marginal(self, x0: torch.Tensor, base: torch.Tensor, t: Step) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of x_t given x_0 and the base (Eq. 3 and 29).

        Args:
            x0: Images (b, 3, h, w).
            base: What they are shifted to, of the same shape.
            t: Step.

        Returns:
            mean (b, 3, h, w) and std (b, 1, 1, 1).
        """
        index = self._index(t, x0)
        eta = self.etas[index].view(-1, 1, 1, 1)
        with self._exact(x0):
            return self._blur(x0.float(), self.keep[index]) + eta * base.float(), self.kappa * eta.sqrt()

    def q_sample(self, x0: torch.Tensor, base: torch.Tensor, t: Step, noise: torch.Tensor) -> torch.Tensor:
        """x_t of the given standard normal noise; shapes as in :meth:`marginal`."""
        mean, std = self.marginal(x0, base, t)
        return mean + std * noise

    def prior_sample(self, base: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """x_T without the image: base plus noise of standard deviation kappa sqrt(eta_T) (Eq. 6).

        Algorithm 1 (line 2) adds noise of deviation 1, which is not the x_T that the network was trained on. What is
        left of the image there, (1 - eta_T) D_T <= 0.02 of it, is neglected as in ResShift.
        """
        return base.float() + self.kappa * self.etas[-1].sqrt() * noise

    def scale_input(self, x_t: torch.Tensor, t: Step) -> torch.Tensor:
        """x_t / sqrt(kappa^2 eta_t + 1), about as large for every step: what a network should be given (ResShift)."""
        eta = self.etas[self._index(t, x_t)].view(-1, 1, 1, 1)
        return x_t.float() / (self.kappa**2 * eta + 1).sqrt()

    # --------------------------------------------------------------------------------------------------- backward

    def step(
        self, x_t: torch.Tensor, x0: torch.Tensor, base: torch.Tensor, t: Step, noise: torch.Tensor
    ) -> torch.Tensor:
        """x_{t-1} from x_t and the prediction of the image; at t = 1 it is the prediction.

        Algorithm 1 (line 41) prints alpha_t mu + eta_t eps; the mean is not scaled, and the noise has the deviation
        of the posterior, which is 0 at t = 1.

        Args:
            x_t: State (b, 3, h, w).
            x0: Predicted image, of the same shape.
            base: Base, of the same shape.
            t: Step.
            noise: Standard normal, of the same shape.
        """
        factors = self.back[self._index(t, x_t)].unbind(1)
        with self._exact(x_t):
            terms = [image.float() for image in (x_t, x0, base, noise)]
            if self.patch == 1:
                return torch.stack([z * f[:, None] for z, f in zip(terms, factors, strict=True)]).sum(0)
            parts = [
                to_frequencies(z, self.matrix) * f[:, None, None, None] for z, f in zip(terms, factors, strict=True)
            ]
            moved = to_images(torch.stack(parts).sum(0), self.matrix)
        first = torch.as_tensor(t, device=x_t.device).view(-1, 1, 1, 1) == 1
        return torch.where(first, x0.float(), moved)  # the same up to the rounding of the transform

    # ---------------------------------------------------------------------------------------------------- details

    def _index(self, t: Step, images: torch.Tensor) -> torch.Tensor:
        index = torch.as_tensor(t, dtype=torch.long).view(-1)
        if index.numel() not in (1, images.size(0)):
            raise ValueError(f'{index.numel()} steps were given for {images.size(0)} images.')
        # reading a value from a GPU would wait for it, in every step
        looks = index.device.type == 'cpu' and not torch.compiler.is_compiling()
        if looks and not bool(((index >= 1) & (index <= self.steps)).all()):
            raise ValueError(f'Steps go from 1 to {self.steps}, not {index.min().item()} to {index.max().item()}.')
        return index.to(self.etas.device)

    def _blur(self, images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """Multiply frequencies by (b or 1, p, p) factors."""
        if self.patch == 1:
            return images * factors[:, None]
        return to_images(to_frequencies(images, self.matrix) * factors[:, None, None, None], self.matrix)

    @staticmethod
    def _exact(images: torch.Tensor) -> torch.autocast:
        return torch.autocast(images.device.type, enabled=False)
