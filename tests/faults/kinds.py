"""All faults, by kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import faulty_checkpoints  # noqa: F401  (each enters its own)
import faulty_frames  # noqa: F401
import faulty_options  # noqa: F401
import faulty_processes  # noqa: F401
import faulty_stores  # noqa: F401
from fault import CHECK, CLIPS, FAULTS, REGIONS, TEST, TRAIN, Fault
from helpers.children import Children, Outcome

KINDS = tuple(dict.fromkeys(fault.kind for fault in FAULTS))
ATTEMPTS = 'attempts to run code'
_IDLE = {'train': TRAIN, 'test': TEST, 'check': CHECK, 'prepare': CLIPS, 'extract': REGIONS}


def of_kind(kind: str, most: int | None = None) -> list[Fault]:
    """The faults of a kind, or so many of them, spread evenly, the first always among them."""
    faults = [fault for fault in FAULTS if fault.kind == kind]
    if most is None or len(faults) <= most:
        return faults
    return [faults[k * len(faults) // most] for k in range(most)]


def idle_command(fault: Fault) -> str:
    """The command that meets no fault, by which the bounds of this one are measured."""
    return _IDLE.get(fault.command.partition(' ')[0], 'components')


class Idle:
    """What the commands take that meet no fault, each measured once."""

    def __init__(self, children: Children, healthy: Path, place: Path) -> None:
        self._children, self._healthy, self._place = children, healthy, place
        self._known: dict[str, Outcome] = {}

    def of(self, fault: Fault) -> Outcome:
        """Of the command of this fault.

        Raises:
            RuntimeError: It fails, so the faults would say nothing.
        """
        command = idle_command(fault)
        if command not in self._known:
            folder = self._place / f'idle_{len(self._known)}'
            shutil.copytree(self._healthy, folder, symlinks=True)
            outcome = self._children.run(command.split(), folder)
            shutil.rmtree(folder)
            if outcome.code:
                raise RuntimeError(f'basicsr {command} fails without any fault: {outcome.output}')
            self._known[command] = outcome
        return self._known[command]
