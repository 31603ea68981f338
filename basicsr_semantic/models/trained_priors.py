"""What priors a network was trained with: remembered in its checkpoints, compared with what it is given later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from basicsr.utils import get_root_logger

from ..utils.errors import UserError


class TrainedPriors:
    """Kind, origin and instance network of the priors of training.

    The first kind and origin that are compared are those of training, unless a checkpoint named them before.

    Args:
        allow_mismatch: Whether priors of another kind pass.

    Attributes:
        kind: Kind of the priors, e.g. ``sam``; None as long as there were none.
        origin: Weights and vocabulary that made their tokens; None if no data set said so.
        instances: What made the instance tokens, see :attr:`SemanticSource.identity`.
    """

    def __init__(self, allow_mismatch: bool = False) -> None:
        self.allow_mismatch = allow_mismatch
        self.kind: str | None = None
        self.origin: str | None = None
        self.instances: dict[str, Any] | None = None
        self._warned_of: set[str] = set()

    def read(self, content: Mapping[str, Any]) -> None:
        """Load what a checkpoint says, as :meth:`metadata` gave it."""
        kind, origin, instances = (content.get(name) for name in ('prior_kind', 'prior_origin', 'instances'))
        self.kind = kind if isinstance(kind, str) else self.kind
        self.origin = origin if isinstance(origin, str) else self.origin
        self.instances = instances if isinstance(instances, dict) else self.instances

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint records; unknown values are left out."""
        known = {'prior_kind': self.kind, 'prior_origin': self.origin, 'instances': self.instances}
        return {name: value for name, value in known.items() if value}

    def compare(self, kind: str | Sequence[str] | None, origin: str | Sequence[str] | None = None) -> None:
        """Refuse priors of another kind, and warn once where tokens are of other weights or another vocabulary.

        Args:
            kind: Kind of the given priors, or one for each sample of a batch; None if it is not known.
            origin: Their origin, or one for each sample; None if it is not known.

        Raises:
            UserError: They are of another kind, and this is not allowed.
        """
        for given in _different(kind):
            if self.kind is None:
                self.kind = given
            elif given != self.kind and not self.allow_mismatch:
                raise UserError(
                    f'The network was trained with priors of kind {self.kind!r}, but dataroot_priors holds {given!r}. '
                    'Extract priors of its kind, or set path:allow_prior_mismatch: true to mix them.'
                )
        for given in _different(origin):
            if self.origin is None:
                self.origin = given
            elif given not in self._warned_of | {self.origin}:
                self._warned_of.add(given)
                get_root_logger().warning(
                    f'The network was trained with tokens of {self.origin}; these are of {given}. They may mean '
                    'something else to it. Extract them as those of training were.'
                )


def _different(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(dict.fromkeys(value or ()))
