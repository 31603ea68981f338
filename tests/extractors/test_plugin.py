"""An extractor in one file of somebody else's: on the command line by ``--import``, and in an option file."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from helpers.project import ROOT, basicsr, write_options

from basicsr_semantic.cli import main
from basicsr_semantic.extractors import EXTRACTOR_REGISTRY, Extractor, FramePriors, build_extractor
from basicsr_semantic.extractors.runner import extract
from basicsr_semantic.models.semantic_source import SemanticSource
from basicsr_semantic.priors import PriorStore
from basicsr_semantic.utils.errors import UserError, missing_in

LENS = {
    'type': 'SemanticLens', 'mid_channels': 8, 'embed_dim': 12, 'depths': [1, 1], 'num_heads': [2, 2],
    'window_size': [3, 4, 4], 'image_window': 5, 'token_dim': 8, 'global_dim': 8,
}  # fmt: skip
TOY = ['--import', 'toy_extractor', '--extractor', 'toy_stripes']
CPU = torch.device('cpu')


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Nothing that a test registers is there for the next one."""
    monkeypatch.setattr(EXTRACTOR_REGISTRY, '_obj_map', dict(EXTRACTOR_REGISTRY._obj_map))
    monkeypatch.delitem(sys.modules, 'toy_extractor', raising=False)
    yield
    sys.modules.pop('toy_extractor', None)


@pytest.fixture
def store(clips, tmp_path) -> str:
    """A store that the toy has made."""
    out = str(tmp_path / 'store')
    assert main(['extract', *TOY, '--frames', str(clips / 'lq'), '--out', out, '--levels', '4']) == 0
    return out


def test_it_fills_a_store_from_the_command_line_and_all_its_flags_arrive(clips, tmp_path, capsys):
    arguments = ['extract', *TOY, '--frames', str(clips / 'lq'), '--out', str(tmp_path / 's'), '--levels', '3']
    more = ['--along', 'columns', '--ends', '0.1', '0.9', '--weights', '1', '2.5', '3', '--brighter', '--offset', '0.5']
    assert main([*arguments, *more]) == 0
    assert 'masks and tokens of 21 frames made' in capsys.readouterr().out
    reader = PriorStore(tmp_path / 's')
    assert (reader.kind, len(reader), reader.has_features) == ('toy_stripes', 21, False)
    expected = {'along': 'columns', 'ends': [0.1, 0.9], 'weights': [1.0, 2.5, 3.0], 'brighter': True}
    assert reader.meta['parameters'] == expected
    assert reader.masks('000/00000000', 3).sum((1, 2)).tolist() == [192, 192, 192]
    assert reader.clip_tokens(['000/00000000'])[0].min(where=np.arange(8) < 3, initial=1) >= 0.5


def test_the_help_has_its_name_and_its_flags(capsys):
    def text(*words: str) -> str:
        with pytest.raises(SystemExit) as done:
            main(['extract', *words, '--help'])
        assert done.value.code == 0
        return ' '.join(capsys.readouterr().out.split())

    assert 'toy_stripes Stripes of a frame as masks, and their mean colours as tokens.' in text(*TOY[:2])
    flags = text(*TOY)
    for words in (
        '--levels INTEGER Stripes of a frame; 100% of its pixels are in one (required)',
        "--along rows|columns Whether stripes are 'rows' or 'columns' (default rows)",
        '--ends NUMBER NUMBER Brightness that counts as dark and as bright, two numbers (default 0.25 0.75)',
        '--weights NUMBER [NUMBER ...] One or more factors on the colours',
        '--brighter [true|false]',
        '--offset NUMBER Added to the colours; None: nothing',
    ):
        assert words in flags
    assert '--min-size' not in flags


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        ([], "The extractor 'toy_stripes' needs the argument 'levels', on the command line --levels INTEGER."),
        (['--levels', '2', '--min-size', '3'], "takes no argument 'min_size': --min-size belongs to regions."),
        (['--levels', '2', '--checkpoint=x'], '--checkpoint belongs to sam, xdecoder and openseed.'),
        (['--levels', '2', '--alongside', 'rows'], 'takes no --alongside: did you mean --along?'),
        (['--levels', '9'], '--levels: It is 9, but must be at most 8.'),
        (['--levels', '2', '--zzz'], '"basicsr extract --extractor toy_stripes --help" lists what it takes.'),
    ],
)
def test_flags_that_do_not_fit_are_one_sentence(clips, tmp_path, capsys, more, said):
    where = ['--frames', str(clips / 'lq'), '--out', str(tmp_path / 's')]
    assert main(['extract', *TOY, *where, *more]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.startswith('basicsr: ') and printed.count('\n') == 1
    assert not (tmp_path / 's').exists()


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        (['--along', 'nowhere'], 'invalid choice'),
        (['--levels', '2.5'], 'invalid int value'),
        (['--ends', '1'], 'expected 2 arguments'),
        (['--brighter', 'yes'], "it must be true or false, not 'yes'"),
    ],
)
def test_values_of_another_type(clips, tmp_path, capsys, more, said):
    where = ['--frames', str(clips / 'lq'), '--out', str(tmp_path / 's')]
    with pytest.raises(SystemExit) as done:
        main(['extract', *TOY, *where, '--levels', '2', *more])
    assert done.value.code == 2 and said in capsys.readouterr().err


def test_without_the_import_there_is_no_such_extractor(tmp_path):
    done = basicsr('extract', *TOY[2:], '--frames', 'a', '--out', 'b', cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("basicsr: There is no extractor 'toy_stripes'. There are: sam, regions,")


def test_it_makes_priors_in_the_run_of_an_option_file(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    opt = options(network_g=LENS, network_s={'type': 'toy_stripes', 'extract_mode': 'online_full', 'levels': 4})
    opt['datasets']['train']['whole_frames'] = True
    file = str(write_options(opt, tmp_path / 'o.yml'))
    assert main(['train', '-opt', file, '--dry-run', '--import', 'toy_extractor']) == 0
    del opt['network_s']['levels']
    write_options(opt | {'network_s': opt['network_s'] | {'along': 'diagonals'}}, tmp_path / 'o.yml')
    capsys.readouterr()
    assert main(['check', '-opt', file, '--import', 'toy_extractor']) == 1
    message = capsys.readouterr().out
    assert 'extract_mode: online_full needs the levels of toy_stripes' in message
    assert 'One of rows, columns is expected' in message


def test_a_missing_store_of_its_kind_comes_with_the_whole_command(options, tmp_path, clips, capsys):
    opt = options(network_g=LENS, network_s={'type': 'stored_tokens', 'instance_source': 'mean_over_time'})
    opt['datasets']['train'] |= {'dataroot_priors': str(tmp_path / 'none'), 'prior_kind': 'toy_stripes'}
    file = str(write_options(opt, tmp_path / 'o.yml'))
    assert main(['check', '-opt', file, '--import', 'toy_extractor']) == 1
    message = '--extractor toy_stripes --levels LEVELS --import toy_extractor --frames '
    assert message + str(clips / 'lq') in capsys.readouterr().out


@pytest.mark.parametrize('source', [{'instance_source': 'mean_over_time'}, {}])
def test_its_tokens_are_taken_as_stored_without_its_name(options, store, tmp_path, monkeypatch, capsys, source):
    monkeypatch.chdir(tmp_path)
    opt = options(network_g=LENS, network_s={'type': 'stored_tokens', **source})
    opt['datasets']['train'] |= {'dataroot_priors': store, 'num_masks': 4}
    file = str(write_options(opt, tmp_path / 'o.yml'))
    if source:
        assert main(['train', '-opt', file, '--dry-run']) == 0
        return
    assert main(['check', '-opt', file]) == 1
    message = capsys.readouterr().out
    assert 'needs instance_tokens' in message and 'network_s: {type: stored_tokens, instance_checkpoint:' in message


def test_stored_tokens_look_at_no_frames(options, tmp_path, clips, capsys):
    opt = options(network_g=LENS, network_s={'type': 'stored_tokens', 'extract_mode': 'online_full'})
    opt['datasets']['train']['whole_frames'] = True
    assert main(['check', '-opt', str(write_options(opt, tmp_path / 'o.yml'))]) == 1
    assert 'so its only mode is cached; for online_full name xdecoder or openseed.' in capsys.readouterr().out
    where = ['--frames', str(clips / 'lq'), '--out', str(tmp_path / 's')]
    assert main(['extract', '--extractor', 'stored_tokens', *where]) == 2
    assert "'stored_tokens' makes no store of frames" in capsys.readouterr().err
    with pytest.raises(UserError, match="'stored_tokens' makes no store of frames"):
        extract(build_extractor('stored_tokens'), [], lambda key: np.zeros((4, 4, 3), np.uint8), tmp_path / 's')


def test_tokens_for_a_store_alone_are_no_priors_of_a_run():
    @EXTRACTOR_REGISTRY.register()
    class Offline(Extractor):
        """Tokens without a method describe."""

        kind = 'offline'

        def describe_frame(self, frame: np.ndarray) -> FramePriors:
            raise AssertionError

    assert Offline.by_frames() and Offline.fills_stores() and not Offline.online()
    message = 'offline gives tokens to a store alone and none in the run, .*type: stored_tokens'
    with pytest.raises(UserError, match=message) as caught:
        SemanticSource({'type': 'offline'}, ('frame_tokens',), CPU)
    missing = missing_in(caught.value)
    assert missing is not None and (missing.what, missing.values) == ('priors', {'kind': 'offline'})


def test_what_is_no_extractor_or_has_a_name_that_is_taken_is_not_registered():
    with pytest.raises(TypeError, match='not a subclass of Extractor'):
        EXTRACTOR_REGISTRY.register(dict)
    with pytest.raises(TypeError, match=r"kind of Nameless, .* must be a name, not ''"):
        EXTRACTOR_REGISTRY.register(type('Nameless', (Extractor,), {}))
    for _ in range(2):  # whether or not the module of ours is imported
        with pytest.raises(AssertionError, match="'sam' was already registered"):
            EXTRACTOR_REGISTRY.register(type('Mine', (Extractor,), {'kind': 'sam'}))
        EXTRACTOR_REGISTRY.get('sam')


def test_an_argument_with_a_name_of_the_command_is_refused(capsys):
    class Greedy(Extractor):
        """Masks."""

        kind = 'greedy'

        def __init__(self, out: str = 'x') -> None: ...

        def __call__(self, frame, key):
            raise AssertionError

    EXTRACTOR_REGISTRY.register(Greedy)
    assert main(['extract', '--extractor', 'greedy', '--frames', 'a', '--out', 'b']) == 2
    assert "'greedy' has an argument 'out'" in capsys.readouterr().err


def test_the_toy_is_one_file():
    assert 'toy_stripes' not in ''.join(path.read_text() for path in (ROOT / 'basicsr_semantic').rglob('*.py'))
