"""What is odd about the process: where it writes, what it may use, and when it is killed."""

from __future__ import annotations

from pathlib import Path

from fault import ANNOTATIONS, CHECK, CLIPS, EITHER, REGIONS, RESUME, TEST, TRAIN, WORKS, YTVIS, add, instead, nothing
from helpers.children import Setting

RUN = 'train -opt train.yml'
ALL = (TRAIN, TEST, CHECK, CLIPS, YTVIS, REGIONS, ANNOTATIONS, 'components', 'components --json', 'check --schema')
for name, setting, right in (
    ('output that nobody reads', Setting(stdout='unread'), EITHER),
    ('output to a full disk', Setting(stdout='/dev/full'), EITHER),
    ('output that is closed', Setting(stdout='closed'), WORKS),
    ('a language of other letters', Setting(environment={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'}), WORKS),
    ('no home', Setting(environment={'HOME': '/nonexistent'}), WORKS),
    ('a narrow terminal', Setting(environment={'COLUMNS': '1'}), WORKS),
    ('a terminal of no number', Setting(environment={'COLUMNS': 'x'}), WORKS),
    ('few open files', Setting(limits={'NOFILE': 20}), EITHER),
):
    add('odd processes', name, nothing, *ALL, right=right, setting=setting)
# the files hold the output, too; the frames and weights are larger than what is said about them
short = Setting(limits={'FSIZE': 60_000})
add('odd processes', 'files of at most 60 kB', nothing, RESUME, TEST, CLIPS, REGIONS, right=EITHER, setting=short)
for megabytes in (32, 128, 512):
    little = Setting(limits={'AS': megabytes << 20})
    name = f'{megabytes} MB of address space'
    add('odd processes', name, nothing, TRAIN, TEST, CLIPS, REGIONS, right=EITHER, setting=little)
for name, make in {
    'a file': Path.touch,
    'a folder': Path.mkdir,
    'a link to nothing': lambda path: path.symlink_to('nowhere/x'),
    'a link to a device': lambda path: path.symlink_to('/dev/null'),
}.items():
    for target, commands in (
        ('made', (CLIPS, YTVIS, REGIONS)),
        ('results', (TEST,)),
        ('made/gt.lmdb', (CLIPS,)),
        ('made/manifest.json', (CLIPS,)),
        ('made/unfinished.json', (CLIPS,)),
        ('experiments/tiny/train.yml', (RESUME,)),
        ('experiments/tiny/models/net_g_4.pth', (RESUME,)),
        ('experiments/tiny/training_states/4.state', (RESUME,)),
        ('experiments/tiny/visualization', (RUN, RESUME)),
        ('experiments/tiny/validation', (RUN, RESUME)),
        ('results/held_out', (TEST,)),
        ('results/tiny', (TEST,)),
        ('results/tiny/visualization', (TEST,)),
    ):
        arrange = instead(target, lambda path, make=make: (path.parent.mkdir(parents=True, exist_ok=True), make(path)))
        add('targets that are taken', f'{name} for {target}', arrange, *commands, right=EITHER)
