"""What a run found out for itself, kept with what it has done: a run that is resumed must not choose again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from ..utils.files import write_whole


class Choices:
    """Values by name, in a small file.

    Args:
        path: The file; None: they are forgotten with the object.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._values: dict[str, Any] = {}

    def _load(self) -> dict[str, Any]:
        """They are read late: a run that begins from the start removes the file first."""
        if not self._values and self.path is not None and self.path.is_file():
            self._values = read_json(self.path)
        return self._values

    def get(self, name: str) -> Any:
        """What was chosen; None: nothing yet."""
        return self._load().get(name)

    def put(self, name: str, value: Any) -> None:
        """Keep a choice."""
        self._load()[name] = value
        if self.path is not None and self.path.parent.is_dir():  # a dry run has no folder
            write_whole(self.path, json.dumps(self._values).encode())


def read_json(path: Path) -> dict[str, Any]:
    """What a run has kept in its working folder.

    Raises:
        UserError: The file is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f'{path} is damaged, so the run cannot go on; --force begins from the start.') from error
