"""``basicsr upscale``: a video in, a better video out."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.errors import UserError
from ..utils.files import make_folder_of, write_whole
from ..utils.folder_lock import FolderLock
from ..utils.memory import peak_memory
from ..utils.printing import complain, printable, say
from .limits import add_max_megapixels, check_max_megapixels

if TYPE_CHECKING:
    from ..inference import Restorer
    from ..video.sources import Source
    from ..video.upscaling import Outputs, Upscaler, UpscalingReport

EXAMPLES = """examples:
  basicsr upscale in.mp4 out.mp4                                    with the small network that comes along
  basicsr upscale in.mp4 out.mp4 --model basicvsr-vimeo90k-bi       the released BasicVSR
  basicsr upscale in.mp4 frames/ --model mine.safetensors           PNG files
  basicsr upscale in.mp4 out.mp4 --side-by-side compare.mp4         the input next to the result
A run that was stopped goes on with --resume. What it has done can be played already.
"""
_KEEP_TIMES = ('.mp4', '.m4v', '.mov', '.mkv', '.webm')
OTHER_VIDEOS = ('.ts', '.mts', '.m2ts', '.3gp', '.ogv', '.ogg', '.vob', '.gif', '.asf', '.rm', '.h264', '.y4m')
"""Names of videos that are not written; nobody means a folder of PNG files by them."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb ``upscale``."""
    parser = subparsers.add_parser(
        'upscale',
        help='enlarge a video, an image or a folder of frames by a trained network',
        description='Enlarge a video by a trained network. Frame rate, time stamps, rotation, colours, sound, '
        'subtitles and chapters are kept. BasicVSR and its relatives see the whole scene, whatever its length; other '
        'networks see windows that overlap. A cut ends a scene.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('input', metavar='INPUT', type=Path, help='video, image, folder of frames or videos, or LMDB')
    parser.add_argument(
        'output', metavar='OUTPUT', type=Path, help='video file, image, or a folder for PNG files or videos'
    )
    model = parser.add_argument_group('model')
    model.add_argument(
        '--model',
        default='lite',
        help='a name of "basicsr models", a file, or hf:owner/repository/file (default: lite)',
    )
    model.add_argument('--adapter', metavar='FILE', help='tuned part that goes onto the model')
    model.add_argument('--device', help='cpu, cuda, cuda:1 (default: a GPU if there is one)')
    priors = parser.add_argument_group('priors, for a model that takes some')
    priors.add_argument('--priors', metavar='STORE', type=Path, help='read them from a store of the frames of INPUT')
    priors.add_argument('--no-priors', action='store_true', help='go on without')
    priors.add_argument('--extractor', metavar='NAME', help='what makes them (default: that of the training)')
    priors.add_argument(
        '--extractor-option', metavar='KEY=VALUE', nargs='+', default=[], help='options of the extractor'
    )
    result = parser.add_argument_group('result')
    result.add_argument('--codec', help='encoder of FFmpeg (default: H.264; H.265 for more than 8 bits)')
    result.add_argument('--crf', type=float, help='constant quality, smaller is better (default: looks lossless)')
    result.add_argument('--pix-fmt', help='pixel format (default: 4:2:0, with the bits of INPUT)')
    result.add_argument('--frames', metavar='FOLDER', type=Path, help='PNG files, too')
    result.add_argument('--side-by-side', metavar='FILE', type=Path, help='a video of INPUT next to the result')
    result.add_argument('--report', metavar='FILE', type=Path, help='settings, seconds and warping errors as JSON')
    result.add_argument('--niqe', action='store_true', help='NIQE of every frame in the report, too (slow)')
    how = parser.add_argument_group('how')
    how.add_argument(
        '--scenes', choices=('cuts', 'pyscenedetect', 'none'), default='cuts', help='what finds cuts, which end a scene'
    )
    how.add_argument('--window', type=int, metavar='FRAMES', help='restore windows of so many frames')
    how.add_argument('--overlap', type=int, metavar='FRAMES', help='frames that windows share')
    how.add_argument(
        '--tile', type=_tile, metavar='PIXELS', help='restore tiles of this side; none: whole frames (default: auto)'
    )
    how.add_argument('--ensemble', action='store_true', help='mean of eight results: mirrored, and backwards')
    how.add_argument('--fast', action='store_true', help='half precision and compiled, where measured to be faster')
    how.add_argument('--segment', type=int, default=48, metavar='FRAMES', help='frames written at a time (default: 48)')
    how.add_argument('--resume', action='store_true', help='go on with a run that was stopped')
    how.add_argument('--force', action='store_true', help='begin from the start, and replace results')
    how.add_argument(
        '--dry-run', action='store_true', help='restore a few frames, say sizes, memory, disk, time; write nothing'
    )
    add_max_megapixels(parser, 'refused')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Restore every input.

    Raises:
        UserError: A mistake in the arguments, an input that cannot be read or a result that cannot be written.
    """
    check_max_megapixels(args)
    _check(args)
    from ..video.sources import open_source

    inputs = _inputs(args)
    _check_places(args, inputs)
    sources = [(open_source(path, args.max_megapixels), out) for path, out in inputs]
    restorer = _load(args)
    for source, out in sources:
        _one(args, source, out, restorer)
    return 0


def _check(args: argparse.Namespace) -> None:
    for name, least in (('segment', 1), ('window', 1), ('overlap', 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f'--{name} must be at least {least}, not {value}.')
    if args.niqe and args.report is None:
        raise UserError('--niqe needs --report.')
    if args.priors is not None and args.no_priors:
        raise UserError('--priors and --no-priors contradict each other.')
    if args.resume and args.force:
        raise UserError('--resume and --force contradict each other.')


def _inputs(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """What is read, and where its result goes; of a folder of videos, each."""
    from ..data.clip_folders import is_image
    from ..data.videos import is_video

    folder = args.input.is_dir() and not (args.input / 'data.mdb').is_file()
    names = sorted(path.name for path in args.input.iterdir()) if folder else []
    videos = [args.input / name for name in names if is_video(name)]
    if videos and (images := [name for name in names if is_image(name)]):
        place = f'{args.input} has images ({images[0]}) and videos ({videos[0].name})'
        complain(f'{printable(place)}; the videos are restored. For the images, give a folder of them alone.')
    return [(path, args.output / _result_name(path)) for path in videos] or [(args.input, args.output)]


def _result_name(video: Path) -> str:
    """Of a video out of a folder: its own, but in Matroska where its format may not keep every frame's time."""
    return video.name if video.suffix.lower() in _KEEP_TIMES else f'{video.stem}.mkv'


def _check_places(args: argparse.Namespace, inputs: Sequence[tuple[Path, Path]]) -> None:
    """Refuse results that would replace the input, each other or, without --force, what is there."""
    from ..data.clip_folders import is_image
    from ..data.videos import is_video
    from ..utils.files import check_free

    extra = {'--frames': args.frames, '--side-by-side': args.side_by_side, '--report': args.report}
    extra = {name: path for name, path in extra.items() if path is not None}
    if len(inputs) > 1 and extra:
        raise UserError(f'{next(iter(extra))} is for one video, and {args.input} has {len(inputs)}.')
    taken = {args.input.resolve(): 'INPUT'}
    for source, _ in inputs:
        taken[source.resolve()] = 'INPUT'
        if is_image(source.name) and source.is_file():
            taken[source.resolve().parent] = 'the folder of INPUT'
    for _, out in inputs:
        if out.suffix.lower() in OTHER_VIDEOS and not out.is_dir():
            raise UserError(f'{out}: videos are written as {", ".join(_KEEP_TIMES)}. Give one of these names.')
        if args.frames is not None and not is_video(out.name):
            raise UserError(f'--frames is for a video as OUTPUT; {out} is PNG files already.')
        if args.side_by_side is not None and not is_video(args.side_by_side.name):
            raise UserError(f'--side-by-side writes a video; {args.side_by_side} is no name of one.')
        for name, path in {'OUTPUT': out, **extra}.items():
            if (other := taken.get(path.resolve())) is not None:
                raise UserError(f'{name} is {other}, {path}. Give another name.')
            taken[path.resolve()] = 'the result of another video' if len(inputs) > 1 else name
        if is_image(out.name):
            if out.is_dir():
                raise UserError(f'{out} is a folder, and its name that of an image. Give another name.')
            check_free(out, args.force)
    if args.report is not None:
        if args.report.is_dir():
            raise UserError(f'{args.report} is a folder; --report takes the name of a file.')
        if not args.dry_run:
            check_free(args.report, args.force or args.resume)
            make_folder_of(args.report)


def _load(args: argparse.Namespace) -> Restorer:
    import torch

    from ..video.models import open_model

    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return open_model(args.model, args.adapter, args.no_priors, device)


def _one(args: argparse.Namespace, source: Source, out: Path, restorer: Restorer) -> None:
    from ..data.clip_folders import is_image
    from ..data.videos import is_video
    from ..video.plan import Plan
    from ..video.scene_priors import PriorMaker
    from ..video.upscaling import Outputs, Settings, Upscaler

    for remark in source.remarks:
        complain(remark)
    image = is_image(out.name)
    if image and source.frames != 1:
        raise UserError(f'{out} is an image, but {source.name} has {source.frames or "many"} frames.')
    is_file = is_video(out.name)
    outputs = Outputs(out if is_file else None, args.frames, args.side_by_side)
    if not is_file:
        outputs.frames = out.with_name(f'{out.name}.image') if image else out
    priors = None
    given = {'--priors': args.priors, '--extractor': args.extractor, '--extractor-option': args.extractor_option}
    if not restorer.prior_fields and (unused := [name for name, value in given.items() if value]):
        raise UserError(f'{args.model} takes no priors, so it has no use for {unused[0]}.')
    if restorer.prior_fields and not args.no_priors:
        options = _options(args.extractor_option)
        priors = PriorMaker(restorer, outputs.work(), args.priors, args.extractor, options, args.device or 'cpu')
    plan = Plan(args.window, args.overlap, args.tile, args.ensemble, args.fast)
    settings = Settings(args.segment, args.scenes, plan, args.codec, args.crf, args.pix_fmt)
    measures = ['warping error'] * (args.report is not None) + ['NIQE'] * args.niqe
    bar, identity = _Progress(source), _identity(args, source)
    upscaler = Upscaler(source, restorer, outputs, settings, priors, identity, bar, measures)
    _say_what_comes(source, upscaler)
    if args.dry_run:
        _dry_run(source, upscaler)
        return
    make_folder_of(upscaler.work)
    with FolderLock(upscaler.work, otherwise='give another OUTPUT'):
        upscaler.prepare(args.resume, args.force)
        try:
            with bar:
                bar.start(upscaler.done())
                report = upscaler.run()
        except KeyboardInterrupt:
            whole = upscaler.report.frames
            place = f'{outputs.video or outputs.frames} has {whole} frames' if whole else 'No segment is whole yet'
            complain(f'{printable(place)}; the same call with --resume goes on.')
            raise
    for remark in report.remarks:
        complain(remark)
    if image:
        assert outputs.frames is not None
        _move_image(outputs.frames, out)
    _say_what_was_done(report, out, outputs)
    if args.report is not None:
        content = json.dumps(_as_json(upscaler.identity, report), indent=1) + '\n'
        write_whole(args.report, content.encode())


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    from ..config.option_file import parse_value

    options = {}
    for pair in pairs:
        name, equals, value = pair.partition('=')
        if not equals:
            raise UserError(f'--extractor-option {printable(pair)} is not KEY=VALUE.')
        options[name.replace('-', '_')] = parse_value(value, pair)
    return options


def _identity(args: argparse.Namespace, source: Source) -> dict[str, Any]:
    """What decides the result."""
    from ..inference.loading import find_checkpoint
    from ..utils.files import file_sha256
    from ..video.models import model_file

    path = source.path or args.input
    state = path.stat()
    parts = {'priors': args.priors, 'extractor': args.extractor, 'adapter': args.adapter}
    places = {'output': args.output, 'side by side': args.side_by_side, 'PNG files': args.frames}
    shape = [source.frames, source.height, source.width]
    return {
        'input': [str(path.resolve()), state.st_size if path.is_file() else None, *shape],
        'model': [args.model, file_sha256(find_checkpoint(model_file(args.model)))],
        'extractor options': args.extractor_option,
        'no priors': args.no_priors,
        **{name: None if place is None else str(place.resolve()) for name, place in places.items()},
        **{name: None if value is None else str(value) for name, value in parts.items()},
    }


class _Progress:
    """A bar of frames: frames a second, time left, memory."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.bar: Any = None
        self.backward = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def start(self, done: int) -> None:
        """Show it."""
        from tqdm import tqdm

        self.bar = tqdm(total=self.source.frames, initial=done, desc=self.source.name, unit='frame')

    def __call__(self, what: str, count: int) -> None:
        """Frames are done."""
        if self.bar is None:
            return
        if what == 'restored':
            self.bar.update(count)
        else:
            self.backward += count
        self.bar.set_postfix_str(f'backward {self.backward}, {_memory()}' if self.backward else '', False)


def _memory() -> str:
    return f'{peak_memory() / 1e9:.2f} GB'


def _say_what_comes(source: Source, upscaler: Upscaler) -> None:
    frames = '' if source.frames is None else f'{source.frames} frames, '
    say(f'{printable(source.name)}: {frames}{source.width}x{source.height} to {upscaler.size[1]}x{upscaler.size[0]}.')
    if upscaler.scenes.plan:
        say(upscaler.scenes.plan)
    if upscaler.scenes.disk(source.height, source.width):
        size = upscaler.disk() * (source.frames or 1)
        per = '' if source.frames else ' a frame'
        say(f'Up to {size / 1e9:.2f} GB{per} on disk until a scene is done, in {printable(upscaler.work)}.')
        free = shutil.disk_usage(upscaler.work.parent if upscaler.work.parent.exists() else Path()).free
        if source.frames and size > free:
            complain(f'Only {free / 1e9:.2f} GB are free there; without cuts it will not be enough. See --window.')


def _dry_run(source: Source, upscaler: Upscaler) -> None:
    """Restore a few frames, and say what all would take."""
    import itertools
    import tempfile

    from ..video.scenes import cut_into_scenes

    with tempfile.TemporaryDirectory() as folder:
        scene = next(cut_into_scenes(itertools.islice(source.read(), 6), Path(folder), 'none'))
        started = time.monotonic()
        for _ in upscaler.scenes.restore(scene):
            pass
        seconds = (time.monotonic() - started) / len(scene)
        scene.remove()
    whole = '' if source.frames is None else f', about {seconds * source.frames / 60:.1f} minutes for all'
    say(f'{seconds:.2f} s a frame in the network (priors and encoding not counted){whole}; {_memory()}.')


def _move_image(folder: Path, out: Path) -> None:
    import cv2
    import numpy as np

    from ..video.frame_file import eight_bits

    made = next(folder.glob('*.png'))
    image = cv2.imread(str(made), cv2.IMREAD_UNCHANGED)
    if image is not None and image.dtype != np.uint8 and out.suffix.lower() not in ('.png', '.tif', '.tiff'):
        # OpenCV would take all values above 255 for white
        image = eight_bits(image)
        complain(f'{printable(out)} has 8 bits, as its format holds; the input has more.')
    if image is None or not cv2.imwrite(str(out), image):
        raise UserError(f'{out} could not be written.')
    made.unlink()
    with contextlib.suppress(OSError):  # what else is in it is not ours
        folder.rmdir()


def _say_what_was_done(report: UpscalingReport, out: Path, outputs: Outputs) -> None:
    rate = report.restored / report.seconds if report.seconds else 0.0
    frames, scenes = (f'{n} {one}{"s" * (n != 1)}' for n, one in ((report.frames, 'frame'), (report.scenes, 'scene')))
    say(f'{printable(out)}: {frames}, {scenes}, {rate:.2f} frames a second.')
    for extra in (outputs.side_by_side, outputs.frames if outputs.video else None):
        if extra is not None:
            say(f'{printable(extra)} is written, too.')


def _as_json(identity: dict[str, Any], report: UpscalingReport) -> dict[str, Any]:
    return {
        **identity,
        'frames': report.frames,
        'restored in this run': report.restored,
        'size': list(report.size),
        'scenes': report.scenes,
        'seconds': round(report.seconds, 3),
        'seconds in the network': round(report.network_seconds, 3),
        'peak memory in bytes': peak_memory(),
        'remarks': report.remarks,
        **{name: _mean(values) for name, values in report.measured.items()},
        'of every frame': report.measured,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _tile(value: str) -> int | None:
    """``--tile`` as a side; None: the largest that fits, 0: whole frames."""
    if value in ('auto', 'none'):
        return None if value == 'auto' else 0
    try:
        return int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{value} is neither a number of pixels nor auto nor none.') from None
