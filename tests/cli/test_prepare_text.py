"""`basicsr prepare text`: text embeddings of class names."""

from __future__ import annotations

import pytest
import torch
from helpers.xdecoder_files import TINY, released_file

from basicsr_semantic.cli import main
from basicsr_semantic.cli.prepare import CLASSES
from basicsr_semantic.extractors import text_embeddings
from basicsr_semantic.utils.files import file_sha256

END = TINY['vocabulary'] - 1


@pytest.fixture
def call(tmp_path, monkeypatch):
    """The command on a tiny checkpoint, with letters as tokens instead of CLIP's vocabulary."""

    def tokenizer(folder, context):
        assert str(folder) == 'vocabulary' and context == TINY['context']
        return lambda texts: torch.tensor([[*(ord(text.split()[-1][i]) % 38 for i in range(2)), END] for text in texts])

    monkeypatch.setattr(text_embeddings, 'clip_tokenizer', tokenizer)
    checkpoint, out = released_file(tmp_path / 'xdecoder.pt'), tmp_path / 'out.pt'

    def run(*more: str) -> int:
        fixed = ['prepare', 'text', str(checkpoint), str(out), '--tokenizer', 'vocabulary', '--heads', '4']
        return main([*fixed, *more])

    return run


@pytest.mark.parametrize(('more', 'names'), [([], 'ytvis2019'), (['--classes', 'ytvis2021'], 'ytvis2021')])
def test_the_classes_of_youtube_vis(call, tmp_path, capsys, more, names):
    assert call(*more) == 0
    content = torch.load(tmp_path / 'out.pt', weights_only=True)
    assert content['names'] == text_embeddings.CLASSES[names] and len(set(content['names'])) == 40
    assert tuple(content['embeddings'].shape) == (40, 20) and tuple(content['background'].shape) == (20,)
    assert torch.allclose(content['embeddings'].norm(dim=-1), torch.ones(40))
    assert content['checkpoint'] == file_sha256(tmp_path / 'xdecoder.pt')
    assert f'embeddings (40, 20) of {content["names"][0]} to {content["names"][-1]}' in capsys.readouterr().out


def test_names_of_ones_own(call, tmp_path, capsys):
    names = tmp_path / 'names.txt'
    names.write_text('red car\n\n  dog \n', encoding='utf-8-sig')
    assert call('--names', str(names)) == 0
    assert torch.load(tmp_path / 'out.pt', weights_only=True)['names'] == ['red car', 'dog']
    assert call('--names', str(names)) == 2 and 'exists already' in capsys.readouterr().err
    names.write_text('dog\ndog\n')
    assert call('--names', str(names), '--force') == 2 and 'none of them twice' in capsys.readouterr().err
    assert call('--names', str(tmp_path / 'absent.txt'), '--force') == 2
    assert 'absent.txt cannot be read' in capsys.readouterr().err


def test_wrong_checkpoints_are_refused_and_nothing_is_written(call, tmp_path, capsys):
    assert call('--checksum', '00') == 2 and 'the checksum that was asked for is 00' in capsys.readouterr().err
    torch.save({'a': torch.ones(1)}, tmp_path / 'xdecoder.pt')
    assert call() == 2 and 'has no text encoder' in capsys.readouterr().err
    (tmp_path / 'xdecoder.pt').unlink()
    assert call() == 2 and 'cannot be read' in capsys.readouterr().err
    assert not (tmp_path / 'out.pt').exists()


def test_the_choices_of_the_command_are_the_classes_that_there_are():
    assert tuple(text_embeddings.CLASSES) == CLASSES
