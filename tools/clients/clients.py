"""Other people's BasicSR projects that have to run unmodified: where they are, what they import, what they need.

Nothing of theirs is in this repository. Check each out at its commit, all into one folder:

    git clone https://github.com/XPixelGroup/HAT CHECKOUTS/HAT && git -C CHECKOUTS/HAT checkout 1638a9a

``check_clients.py`` and ``train_clients.py`` work on copies of these checkouts, so that the originals stay as they are.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What a client's `python setup.py develop` writes; none of them ever had this release
VERSION_TEXT = "__version__ = '0.0.0'\n__gitsha__ = 'unknown'\nversion_info = (0, 0, 0)\n"


@dataclass(frozen=True)
class WrongFile:
    """An option file that cannot work as it was published, found by building what it names with BasicSR alone.

    Args:
        file: Path relative to the checkout.
        reason: What BasicSR raises.
    """

    file: str
    reason: str


@dataclass(frozen=True)
class Client:
    """A project that uses BasicSR.

    Args:
        name: Its name in tables.
        repository: ``owner/name`` on GitHub.
        commit: The commit that all statements about it hold for.
        folder: Folder of the checkout, below the folder of all checkouts.
        imports: Modules that register its parts; those that its training script imports.
        option_files: Glob patterns of its option files, relative to the checkout.
        packages: Packages from PyPI that importing those modules needs, in addition to BasicSR's own.
        train_script: Its training script, relative to the checkout.
        version_files: Modules that its ``setup.py`` writes and that are not in the repository.
        wrong_files: Option files that a check has to refuse; all others it has to accept.
        notes: What else a user has to know.
    """

    name: str
    repository: str
    commit: str
    folder: str
    imports: tuple[str, ...]
    option_files: tuple[str, ...]
    packages: tuple[str, ...] = ()
    train_script: str = 'train.py'
    version_files: tuple[str, ...] = ()
    wrong_files: tuple[WrongFile, ...] = ()
    notes: str = ''


CLIENTS = (
    Client(
        name='BasicSR',
        repository='XPixelGroup/BasicSR',
        commit='8d56e3a045f9fb3e1d8872f92ee4a4f07f886b0a',
        folder='BasicSR',
        imports=('basicsr',),
        option_files=('options/**/*.yml',),
        train_script='basicsr/train.py',
        version_files=('basicsr/version.py',),
        wrong_files=(
            WrongFile(
                'options/train/EDVR/train_EDVR_L_x4_SR_REDS.yml',
                "TypeError: EDVR.__init__() got an unexpected keyword argument 'ema_decay'",
            ),
            WrongFile(
                'options/train/EDVR/train_EDVR_L_x4_SR_REDS_woTSA.yml',
                "TypeError: EDVR.__init__() got an unexpected keyword argument 'ema_decay'",
            ),
            WrongFile(
                'options/train/HiFaceGAN/train_hifacegan.yml',
                "KeyError: No object named 'GANFeatLoss' found in 'loss' registry!",
            ),
        ),
        notes='the git head, whose basicsr/ is imported from the checkout in place of the release 1.4.2',
    ),
    Client(
        name='BasicSR-examples',
        repository='xinntao/BasicSR-examples',
        commit='13369021146202a8540371b23badf4be0b64f147',
        folder='BasicSR-examples',
        imports=('archs', 'data', 'losses', 'models'),
        option_files=('options/*.yml',),
    ),
    Client(
        name='HAT',
        repository='XPixelGroup/HAT',
        commit='1638a9a822581657811867bf670717f8371fc3e5',
        folder='HAT',
        imports=('hat.archs', 'hat.data', 'hat.models'),
        option_files=('options/**/*.yml',),
        packages=('einops',),
        train_script='hat/train.py',
        notes='written for BasicSR 1.3.4.9, which had rgb2ycbcr in basicsr.utils.matlab_functions',
    ),
    Client(
        name='Real-ESRGAN',
        repository='xinntao/Real-ESRGAN',
        commit='a4abfb2979a7bbff3f69f58f58ae324608821e27',
        folder='Real-ESRGAN',
        imports=('realesrgan.archs', 'realesrgan.data', 'realesrgan.models'),
        option_files=('options/*.yml',),
        train_script='realesrgan/train.py',
        version_files=('realesrgan/version.py',),
        notes='inference alone needs facexlib and gfpgan',
    ),
    Client(
        name='GFPGAN',
        repository='TencentARC/GFPGAN',
        commit='7552a7791caad982045a7bbe5634bbf1cd5c8679',
        folder='GFPGAN',
        imports=('gfpgan.archs', 'gfpgan.data', 'gfpgan.models'),
        option_files=('options/*.yml',),
        packages=('facexlib', 'filterpy'),
        train_script='gfpgan/train.py',
        notes='filterpy is what facexlib imports',
    ),
    Client(
        name='MM-RealSR',
        repository='TencentARC/MM-RealSR',
        commit='34731029750b7ca1c8d858b8ab963ae483f75e63',
        folder='MM-RealSR',
        imports=('mmrealsr.archs', 'mmrealsr.data', 'mmrealsr.losses', 'mmrealsr.models'),
        option_files=('options/*.yml',),
        train_script='mmrealsr/train.py',
        version_files=('mmrealsr/version.py',),
        wrong_files=(
            WrongFile('options/val.yml', "KeyError: 'model_type'; only inference_mmrealsr.py reads this file"),
        ),
    ),
    Client(
        name='AnimeSR',
        repository='TencentARC/AnimeSR',
        commit='80a24bf7a5270907c703158ff6affb3248bf0dc2',
        folder='AnimeSR',
        imports=('animesr.archs', 'animesr.data', 'animesr.models'),
        option_files=('options/*.yml',),
        packages=('ffmpeg-python',),
        train_script='animesr/train.py',
        notes='training calls the program ffmpeg',
    ),
    Client(
        name='PSRT',
        repository='XPixelGroup/RethinkVSRAlignment',
        commit='835fd3f1cd2442f053fb9ec07191233958235521',
        folder='RethinkVSRAlignment',
        imports=('archs', 'data', 'models'),
        option_files=('options/*.yml',),
        packages=('timm',),
        train_script='recurrent_mix_precision_train.py',
        notes='its own training loop for mixed precision',
    ),
    Client(
        name='IART',
        repository='kai422/IART',
        commit='d2f73917845111e90e6147dfc8b03ba5060cb721',
        folder='IART',
        imports=('archs', 'models'),
        option_files=('options/*.yml',),
        packages=('timm',),
        train_script='recurrent_mix_precision_train.py',
        notes='its own training loop for mixed precision',
    ),
    Client(
        name='MIA-VSR',
        repository='LabShuHangGU/MIA-VSR',
        commit='2f1b6ecffe164ca7db6cf79fd51bbaf79eb96522',
        folder='MIA-VSR',
        imports=('archs', 'data', 'models'),
        option_files=('options/*.yml',),
        packages=('timm', 'einops', 'tensorboardX'),
        train_script='recurrent_mix_precision_train.py',
        notes='its own training loop for mixed precision; imports torch._six, which PyTorch dropped in 1.13',
    ),
)


def find_checkout(client: Client, checkouts: Path) -> Path | None:
    """The checkout of a client below the folder of all checkouts; None if it is not there."""
    checkout = checkouts / client.folder
    return checkout if checkout.is_dir() else None


def list_option_files(client: Client, checkout: Path) -> list[Path]:
    """The option files of a client, relative to its checkout, in the order of their names."""
    found = {path for pattern in client.option_files for path in checkout.glob(pattern)}
    return sorted(path.relative_to(checkout) for path in found)


def copy_checkout(client: Client, checkout: Path, folder: Path) -> Path:
    """Copy a checkout to work on, with the version modules that its ``setup.py`` would write.

    Args:
        client: The client.
        checkout: Its checkout, which is only read.
        folder: Where the copy goes, in a folder of the client's name for it.

    Returns:
        The copy.
    """
    copy = folder / client.folder
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns('.git', '__pycache__'))
    for version_file in client.version_files:
        if not (copy / version_file).exists():
            (copy / version_file).write_text(VERSION_TEXT, encoding='utf-8')
    return copy


def client_environment(checkout: Path) -> dict[str, str]:
    """The environment of a child process that works for a client, to be started in the checkout.

    The checkout comes first, so that its packages are taken before installed ones, also its own ``basicsr``. Then comes
    this repository. A child has to ``import basicsr_semantic`` before anything else, as the command and ``python -m
    basicsr_semantic`` do.
    """
    paths = [str(checkout), str(ROOT), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(path for path in paths if path)}
