"""What was found in a file of weights."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class CheckpointReport:
    """Where the weights of a network came from."""

    file: str
    """Name of the file."""
    sha256: str
    """SHA-256 of the file, as hex digits."""
    unused: dict[str, int] = field(default_factory=dict)
    """What the file holds beside the vision network -> number of its tensors."""
    has_logit_scale: bool = True
    """Whether the file has the scale of the similarity to texts; if not, it is that of a fresh network."""
    network: str = 'X-Decoder'
    """Name of the network."""

    def __str__(self) -> str:
        """One sentence for a log."""
        unused = ', '.join(f'{name} ({count})' for name, count in self.unused.items())
        scale = (
            '' if self.has_logit_scale else ' It has no logit_scale: class scores have the scale of a fresh network.'
        )
        return (
            f'{self.network} was read from {self.file} (SHA-256 {self.sha256}); '
            f'not needed: {unused or "nothing"}.{scale}'
        )
