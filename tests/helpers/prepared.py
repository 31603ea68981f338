"""What `basicsr prepare` has written, and a process that ends in the middle of it."""

from __future__ import annotations

import lmdb


def content(folder) -> dict:
    """All that a run leaves, but for the layout of pages inside an LMDB."""
    files = {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob('*') if p.suffix in ('.txt', '.json')
    }
    for side in ('gt', 'lq'):
        with lmdb.open(str(folder / f'{side}.lmdb'), readonly=True, lock=False) as env, env.begin() as transaction:
            files[side] = dict(transaction.cursor())
    return files


class KilledError(BaseException):
    """Stands for a kill: nothing that the program does afterwards may matter."""
