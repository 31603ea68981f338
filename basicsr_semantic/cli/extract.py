"""``basicsr extract``: make the priors of frames and keep them in a store for training and testing."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..config.plugins import has_plugins, load_plugins
from ..utils.errors import UserError
from ..utils.limits import MAX_MEGAPIXELS
from ..utils.printing import complain, say
from .limits import add_max_megapixels, check_max_megapixels

if TYPE_CHECKING:
    import numpy as np

_ABOUT = (
    'Make the semantic priors of whole low-resolution frames and keep them in a store (dataroot_priors of an option '
    'file): masks for SEEM; with xdecoder tokens and the masks of instances for Semantic Lens; with openseed tokens '
    'and pixel features for SeeClear. Frames (with xdecoder: clips) that the store has already are skipped, so a run '
    'that was stopped is continued by the same command. Each extractor has flags of its own: see --extractor NAME '
    '--help.'
)


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser(
        'extract', help='make masks, tokens and pixel features of frames and keep them in a store', description=_ABOUT
    )
    _add_general(parser)
    parser.take_over = partial(_parse, type(parser), parser.prog)


def _add_general(parser: argparse.ArgumentParser) -> None:
    """Add what every extractor needs."""
    parser.add_argument('--extractor', required=True, metavar='NAME', help='what makes the priors')
    parser.add_argument(
        '--frames', required=True, type=Path, help='LMDB of LR frames, folder of clip folders and videos, or a video'
    )
    parser.add_argument('--out', required=True, type=Path, help='folder of the store, made if absent')
    parser.add_argument(
        '--shard',
        default='1/1',
        metavar='I/N',
        help='do every N-th frame (with an extractor of clips: clip) only, beginning with the I-th (from 1); '
        'the N processes may fill one store at the same time',
    )
    parser.add_argument(
        '--batch', type=int, default=16, metavar='FRAMES', help='frames that are written to disk at a time (default 16)'
    )
    add_max_megapixels(parser, 'refused')
    parser.add_argument(
        '--import',
        dest='imports',
        nargs='+',
        default=[],
        metavar='my.module',
        help='module to import first, for its extractors',
    )
    parser.set_defaults(run=run)


def _with_listing(
    kind: type[argparse.ArgumentParser], prog: str, summaries: Mapping[str, str]
) -> argparse.ArgumentParser:
    """The parser of the command where no extractor is named: its help ends in all of them."""
    raw, about = argparse.RawDescriptionHelpFormatter, textwrap.fill(_ABOUT, _width())
    parser = kind(prog=prog, description=about, epilog=_listing(summaries), formatter_class=raw)
    _add_general(parser)
    return parser


class _Glance(argparse.ArgumentParser):
    """Finds out which extractor is meant; mistakes are reported by the parser that comes after."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parse(
    kind: type[argparse.ArgumentParser],
    prog: str,
    arguments: Sequence[str],
    namespace: argparse.Namespace | None,
) -> tuple[Any, list[str]]:
    """Parse with the flags of the extractor that the arguments name.

    Raises:
        UserError: There is no such extractor, it needs a flag that is not there, or takes none of that name.
    """
    # without abbreviations, since --i may be a flag of the extractor
    glance = _Glance(add_help=False, allow_abbrev=False)
    glance.add_argument('--extractor')
    glance.add_argument('--import', dest='imports', nargs='+', default=[])
    try:
        seen = glance.parse_known_args(arguments)[0]
    except ValueError:
        seen = argparse.Namespace(extractor=None, imports=[])
    if {'-h', '--help'} & {*arguments} and seen.extractor is None and not seen.imports and not has_plugins():
        from ..extractors.names import summaries

        # the names of our own need nothing that takes seconds to import
        _with_listing(kind, prog, summaries()).parse_known_args(arguments)

    from ..extractors import extractor_class
    from .extractor_flags import add_flags, check_flags, known_extractors

    load_plugins(seen.imports)
    if seen.extractor is None:
        parser = _with_listing(kind, prog, known_extractors())
        seen = parser.parse_known_args(arguments)[0]  # which ends here, unless the name has an abbreviated flag
        load_plugins(seen.imports)
    chosen = extractor_class(seen.extractor)
    if not chosen.fills_stores():
        raise UserError(
            f'The extractor {seen.extractor!r} makes no store of frames: it is for network_s of an option file.'
        )
    parser = kind(prog=prog, description=_ABOUT)
    _add_general(parser)
    add_flags(parser, seen.extractor, chosen, [*(action.dest for action in parser._actions), 'run', 'chosen'])
    found, left = parser.parse_known_args(arguments, namespace or argparse.Namespace())
    if found.extractor != seen.extractor:
        raise UserError(f'Two extractors are named, {seen.extractor!r} and {found.extractor!r}; give --extractor once.')
    check_flags(left, seen.extractor, parser)
    found.chosen = chosen
    return found, left


def run(args: argparse.Namespace) -> int:
    """Extract; prints what was done."""
    from ..data.prepare.output import original_keys
    from ..extractors import build_extractor
    from ..extractors.runner import extract, parse_shard
    from .extractor_flags import given

    arguments = given(args, args.chosen)
    if args.batch < 1:
        raise UserError(f'--batch must be at least 1, not {args.batch}.')
    if args.out.resolve() == args.frames.resolve():
        raise UserError(f'--out {args.out} is the folder of --frames. Give the store a folder of its own.')
    shard = parse_shard(args.shard)
    check_max_megapixels(args)
    keys, read = open_frames(args.frames, args.max_megapixels)
    extractor = build_extractor(args.extractor, **arguments)
    # 'basicsr prepare clips' numbers frames again; annotations know them by the names of their files
    names = original_keys(args.frames)
    result = extract(extractor, keys, read, args.out, shard, args.batch, names=names)
    rate = f' ({result.made / result.seconds:.2f} frames per second)' if result.made else ''
    made = {'masks': extractor.max_masks, 'tokens': extractor.tokens, 'pixel features': extractor.features}
    *first, last = [what for what, sizes in made.items() if sizes] or ['priors']
    what = f'{", ".join(first)} and {last}' if first else last
    say(f'{args.out}: {what} of {result.made} frames made{rate}, {result.skipped} were there already.')
    return 0


def open_frames(root: Path, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[list[str], Callable[[str], np.ndarray]]:
    """Find frames.

    Args:
        root: LMDB folder, folder of clip folders and videos, or a video file.
        max_megapixels: Larger frames are not decoded.

    Returns:
        The keys of all frames, and a function that reads one by its key: (h, w, 3) uint8 RGB.

    Raises:
        UserError: There are no frames at ``root``.
    """
    import numpy as np

    from ..data.clips import ClipIndex
    from ..data.frame_reader import FrameReader

    backend = 'lmdb' if (root / 'data.mdb').is_file() else 'disk'
    reader = FrameReader(root, {'type': backend}, '--frames', max_megapixels)
    index = ClipIndex.load(root, backend, max_megapixels=max_megapixels)
    for remark in index.remarks:
        complain(remark)
    keys = [key for clip in index for key in clip.keys]
    return keys, lambda key: np.ascontiguousarray(reader.read(key)[..., ::-1])


def _width() -> int:
    """Columns of text, as argparse counts them."""
    return max(shutil.get_terminal_size().columns - 2, 40)


def _listing(summaries: Mapping[str, str]) -> str:
    """Extractors, one after the other.

    Args:
        summaries: Name -> what it is, in a line.
    """
    column = max(map(len, summaries)) + 4
    lines = ['extractors, each with flags of its own (basicsr extract --extractor NAME --help):']
    for name, summary in summaries.items():
        lines.append(textwrap.fill(f'  {name:<{column - 2}}{summary}', _width(), subsequent_indent=' ' * column))
    return '\n'.join(lines)
