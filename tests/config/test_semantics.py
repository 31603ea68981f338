"""The sections of Semantic Lens in option files: network_s and frame_decoder, in the checker and in the schema."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers.options import problems_of

from basicsr_semantic import config
from basicsr_semantic.cli.schema import option_schema
from basicsr_semantic.config import sections
from basicsr_semantic.config.components import components
from basicsr_semantic.config.declared import with_options
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.config.signatures import arguments_of, package_of

LENS = {
    'type': 'SemanticLens', 'embed_dim': 12, 'depths': [1], 'num_heads': [2], 'window_size': [3, 4, 4],
    'missing_priors': 'neutral',
}  # fmt: skip


@pytest.fixture(scope='module')
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(option_schema())


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    for name in ('x.pth', 'i.pth'):
        (tmp_path / name).touch()
    return {'checkpoint': str(tmp_path / 'x.pth'), 'instance_checkpoint': str(tmp_path / 'i.pth')}


@pytest.fixture
def stage_two(options, files):
    """A function: options of stage 2 with a changed section network_s."""
    return lambda **changes: options(network_g=LENS, network_s={'type': 'xdecoder', **files, **changes})


@pytest.fixture
def stage_one(options, files):
    """A function: options of stage 1 with a changed section frame_decoder."""

    def make(**changes) -> dict:
        opt = options(model_type='VideoInstanceModel', network_g={'type': 'InstanceTransformer', 'hidden_dim': 16})
        opt['frame_decoder'] = {'type': 'xdecoder', 'embed_dim': 8} | changes
        opt['path']['pretrain_frame_decoder'] = files['checkpoint']
        opt['train'] = {k: v for k, v in opt['train'].items() if k != 'pixel_opt'}
        return opt

    return make


@pytest.fixture
def check(tmp_path):
    """A function: options to the problems by key, as a file would have them."""

    def run(opt: dict) -> dict:
        path = tmp_path / 'o.yml'
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
        return {problem.key: problem for problem in problems_of(OptionFile.read(path), 'train' in opt)}

    return run


def schema_errors(validator, opt: dict) -> set[str]:
    """Where the schema finds something wrong."""
    found = set()

    def walk(error) -> None:
        for inner in error.context or ():
            walk(inner)
        found.add(':'.join(str(part) for part in error.absolute_path))

    for error in validator.iter_errors(opt):
        walk(error)
    return found


def test_good_sections_pass(check, validator, stage_two, stage_one):
    everything = {
        'extract_mode': 'online_full', 'instance_source': 'vita', 'short_side': 0, 'max_instances': 5,
        'score_threshold': 0.1, 'feature_memory': 1, 'frames_at_once': 2, 'checksum': None,
    }  # fmt: skip
    sizes = {'preset': 'focal_l', 'depths': [1, 1, 1, 1], 'hidden_dim': 16, 'drop_path': 0.1, 'text_embeddings': None}
    for opt in (stage_two(), stage_two(short_side=None), stage_two(**everything), stage_one(), stage_one(**sizes)):
        assert check(opt) == {}
        assert schema_errors(validator, opt) == set()


@pytest.mark.parametrize(
    ('changes', 'key', 'text'),
    [
        ({'short_sid': 3}, 'short_sid', 'Did you mean short_side?'),
        ({'device': 'cuda'}, 'device', "network_s has no key 'device'"),
        ({'extract_mode': 'online'}, 'extract_mode', 'One of cached, online_full, online_patch is expected'),
        ({'instance_source': 'vitae'}, 'instance_source', 'Did you mean vita?'),
        ({'score_threshold': 30}, 'score_threshold', 'must be less than 1'),
        ({'max_instances': 'ten'}, 'max_instances', 'An integer is expected'),
        ({'type': 'xdecodr'}, 'type', 'Did you mean xdecoder?'),
        ({'type': 'SemanticLens'}, 'type', 'SemanticLens is an arch'),
    ],
)
def test_mistakes_in_network_s(check, validator, stage_two, changes, key, text):
    problems = check(stage_two(**changes))
    assert list(problems) == [f'network_s:{key}']
    assert text in str(problems[f'network_s:{key}'])
    assert problems[f'network_s:{key}'].line is not None
    assert schema_errors(validator, stage_two(**changes)) & {'network_s', f'network_s:{key}'}


def test_an_extractor_of_frames_gives_no_tokens(check, stage_two):
    problems = check(stage_two(type='regions'))
    message = 'regions gives masks alone, no tokens; masks come from dataroot_priors and need no network_s.'
    assert f'{message} There are: openseed, stored_tokens, xdecoder.' in str(problems['network_s:type'])


def test_openseed_as_a_source(check, validator, options, tmp_path):
    names = ('checkpoint', 'text_embeddings')
    files = {name: str(tmp_path / f'{name}.pt') for name in names}

    def seen(**changes) -> dict:
        section = {'type': 'openseed', 'extract_mode': 'online_full', **files, **changes}
        return options(network_g=LENS, network_s=section)

    missing = check(seen())
    assert set(missing) == {f'network_s:{name}' for name in names}
    assert 'the released file of OpenSeeD' in str(missing['network_s:checkpoint'])
    assert 'basicsr prepare text OPENSEED' in str(missing['network_s:text_embeddings'])
    for path in files.values():
        Path(path).touch()
    good = seen(num_tokens=50, short_side=None)
    assert check(good) == {} and schema_errors(validator, good) == set()
    for changes, text in (
        ({'text_embeddings': None}, 'online_full needs the text embeddings of openseed'),
        ({'num_tokens': 0}, 'at least 1'),
        ({'instance_source': 'vita'}, "network_s has no key 'instance_source'"),
    ):
        ((key, problem),) = check(seen(**changes)).items()
        assert key == f'network_s:{next(iter(changes))}' and text in str(problem)


def test_files_that_a_mode_needs(check, stage_two):
    problems = check(stage_two(extract_mode='online_full', checkpoint=None))
    assert 'extract_mode: online_full needs the weights of xdecoder' in str(problems['network_s:checkpoint'])
    missing = check(stage_two(extract_mode='online_patch', checkpoint='no.pth', instance_checkpoint='none.pth'))
    assert set(missing) == {'network_s:checkpoint', 'network_s:instance_checkpoint'}
    assert all(problem.missing_file for problem in missing.values())
    assert 'Stage 1 trains it: basicsr train -opt' in str(missing['network_s:instance_checkpoint'])
    assert check(stage_two(extract_mode='cached', checkpoint='no.pth')) == {}


def test_what_a_model_declares_is_named_in_no_module_of_the_checker():
    """Sections beyond the network itself are known to those who declare them, whatever they are called."""
    models = [one.target for one in components('model').values() if package_of(one.target) == 'basicsr_semantic']
    own = {key for model in models for key in model.TopOptions.model_fields} - sections.TopOptions.model_fields.keys()
    own -= {'network_g'}  # the network itself, which BasicSR's models have too
    assert own
    for file in Path(config.__file__).parent.glob('*.py'):
        assert not [key for key in own if re.search(rf'\b{key}\b', file.read_text(encoding='utf-8'))], file


def test_the_extractor_has_no_keys_in_path(check, stage_two):
    opt = stage_two()
    opt['path']['pretrain_network_s'] = None
    assert list(check(opt)) == ['path:pretrain_network_s']


@pytest.mark.parametrize(
    ('changes', 'key', 'text'),
    [
        ({'hiden_dim': 3}, 'hiden_dim', 'Did you mean hidden_dim?'),
        ({'preset': 'focal_s'}, 'preset', 'One of focal_t, focal_l is expected'),
        ({'type': 'openseed'}, 'type', ': xdecoder is expected, but it is'),
        ({'depths': 2}, 'depths', 'list'),
        ({'text_embeddings': 'none.pt'}, 'text_embeddings', 'basicsr prepare text XDECODER'),
    ],
)
def test_mistakes_in_frame_decoder(check, validator, stage_one, changes, key, text):
    problems = check(stage_one(**changes))
    assert list(problems) == [f'frame_decoder:{key}']
    assert text in str(problems[f'frame_decoder:{key}'])
    if key != 'text_embeddings':
        assert schema_errors(validator, stage_one(**changes)) & {'frame_decoder', f'frame_decoder:{key}'}


def test_frame_decoder_belongs_to_stage_one_alone(check, validator, stage_two):
    opt = stage_two() | {'frame_decoder': {'type': 'xdecoder'}}
    assert list(check(opt)) == ['frame_decoder']
    assert schema_errors(validator, opt)


def test_a_misspelt_loss_of_stage_one_is_named(check, stage_one):
    opt = stage_one()
    opt['train']['instance_opt'] = {'type': 'VideoInstanceLoss', 'clas_weight': 2}
    assert 'Did you mean class_weight?' in str(check(opt)['train:instance_opt:clas_weight'])


def test_every_key_has_a_description():
    from basicsr_semantic.extractors.xdecoder import XDecoder
    from basicsr_semantic.extractors.xdecoder.extractor import XDecoderExtractor
    from basicsr_semantic.models.semantic_vsr_options import SourceOptions
    from basicsr_semantic.models.video_instance_options import FrameDecoderOptions

    for target, options in ((XDecoderExtractor, SourceOptions), (XDecoder, FrameDecoderOptions)):
        taken = with_options(arguments_of(target, frozenset({'device'})), options)
        assert {name for name, one in taken.model_fields.items() if not one.description} == set()
