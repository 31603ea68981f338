"""The text branch of X-Decoder and OpenSeeD: class names to embeddings that class embeddings can be compared with.

Zou et al., "Generalized Decoding for Pixel, Image, and Language" (CVPR 2023); the text encoder is CLIP's (Radford et
al., ICML 2021) with its own weights. X-Decoder's tokens and masks do not depend on it. OpenSeeD (Zhang et al., ICCV
2023) has the same encoder under the same names, with a shorter context, and the same prompts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ...archs.layers.query_blocks import Attention
from ...utils.errors import UserError
from ..checkpoints import read_network_file
from ..layers.language import unit
from ..pretrained import misfit

#: Name of the text encoder in released files.
PREFIX = 'sem_seg_head.predictor.lang_encoder.'
#: The text that X-Decoder was trained with where there is no object.
BACKGROUND = 'A background in coco.'
#: From texts to token ids (n, length): each text between the start and the end token, which has the highest id of all,
#: filled up with the latter.
Tokenize = Callable[[Sequence[str]], torch.Tensor]


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), CLIP's approximation of GELU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(...) to (...)."""
        return x * torch.sigmoid(1.702 * x)


class TextBlock(nn.Module):
    """A pre-norm transformer layer in which tokens see themselves and those before them.

    Args:
        width: Width C.
        heads: Heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width, eps=1e-12)
        self.ln_2 = nn.LayerNorm(width, eps=1e-12)
        layers = {'c_fc': nn.Linear(width, 4 * width), 'gelu': QuickGELU(), 'c_proj': nn.Linear(4 * width, width)}
        self.mlp = nn.ModuleDict(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, length, C) to (n, length, C)."""
        y = self.ln_1(x)
        before = torch.ones(x.size(1), x.size(1), dtype=torch.bool, device=x.device).tril()
        x = x + self.attn(y, y, y, mask=before)
        y = self.ln_2(x)
        for layer in self.mlp.values():
            y = layer(y)
        return x + y


class TextTransformer(nn.Module):
    """Token ids to features of tokens.

    Args:
        vocabulary: Number of tokens.
        context: Longest text in tokens, start and end included.
        width: Width C.
        layers: Layers.
        heads: Heads.
    """

    def __init__(self, vocabulary: int, context: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.resblocks = nn.ModuleList(TextBlock(width, heads) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width, eps=1e-12)
        nn.init.trunc_normal_(self.token_embedding.weight, std=0.02)
        nn.init.trunc_normal_(self.positional_embedding, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, length) to (n, length, C)."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.size(1)]
        for block in self.resblocks:
            x = block(x)
        return self.ln_final(x)


class TextEncoder(nn.Module):
    """The text encoder, with the released names below ``sem_seg_head.predictor.lang_encoder``; defaults: X-Decoder's.

    Args:
        vocabulary: Number of tokens.
        context: Longest text in tokens.
        width: Width of the transformer.
        projection_dim: Width P of embeddings.
        layers: Layers.
        heads: Heads.
    """

    def __init__(
        self,
        vocabulary: int = 49408,
        context: int = 77,
        width: int = 512,
        projection_dim: int = 512,
        layers: int = 12,
        heads: int = 8,
    ) -> None:
        super().__init__()
        self.context = context
        self.lang_encoder = TextTransformer(vocabulary, context, width, layers, heads)
        self.lang_proj = nn.Parameter(torch.empty(width, projection_dim))
        nn.init.trunc_normal_(self.lang_proj, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embed texts.

        Args:
            ids: (n, length) int64 token ids; the embedding is read off the first token of the highest id.

        Returns:
            (n, P) of unit length.

        Raises:
            UserError: The texts are longer than the context.
        """
        if ids.size(1) > self.context:
            raise UserError(f'A text has {ids.size(1)} tokens; the text encoder reads {self.context} at most.')
        features = self.lang_encoder(ids)
        ends = features[torch.arange(len(ids), device=ids.device), ids.argmax(-1)]
        return unit(ends @ self.lang_proj)


def load_text_encoder(path: str | os.PathLike[str], heads: int = 8) -> TextEncoder:
    """The text encoder in a released file, on the CPU and in evaluation mode.

    Args:
        path: A released file of X-Decoder or OpenSeeD.
        heads: Its heads, which weights do not show; the released ones have 8.

    Raises:
        UserError: The file is missing, damaged or has no text encoder.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'The checkpoint {path} does not exist.')
    state, _ = read_network_file(path)
    state = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    state.pop('logit_scale', None)
    try:
        vocabulary, width = state['lang_encoder.token_embedding.weight'].shape
        sizes: dict[str, Any] = {
            'vocabulary': vocabulary,
            'context': state['lang_encoder.positional_embedding'].shape[0],
            'width': width,
            'projection_dim': state['lang_proj'].shape[1],
            'layers': len({key.split('.')[2] for key in state if key.startswith('lang_encoder.resblocks.')}),
        }
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f'The checkpoint {path} has no text encoder of X-Decoder or OpenSeeD ({PREFIX}*). Give a released file, '
            'not one of the vision network alone.'
        ) from error
    try:
        encoder = TextEncoder(**sizes, heads=heads)
    except ValueError as error:
        raise UserError(f'The text encoder in {path} does not have {heads} heads: {error}') from error
    if wrong := misfit(encoder.state_dict(), state):
        raise UserError(f'The text encoder in {path} does not fit: {wrong}.')
    encoder.load_state_dict(state)
    return encoder.eval()


@torch.no_grad()
def embed_classes(encoder: TextEncoder, tokenize: Tokenize, names: Sequence[str]) -> torch.Tensor:
    """Embed class names, each as the mean direction of its prompts.

    Args:
        encoder: The text encoder.
        tokenize: The tokenizer.
        names: Class names; underscores are read as spaces.

    Returns:
        (V, P) of unit length.
    """
    means = [encoder(tokenize(list(prompts(name)))).mean(0) for name in names]
    return F.normalize(torch.stack(means), dim=-1)


@torch.no_grad()
def embed_background(encoder: TextEncoder, tokenize: Tokenize) -> torch.Tensor:
    """(P,) the embedding of "no object"."""
    return F.normalize(encoder(tokenize([BACKGROUND]))[0], dim=-1)


def prompts(name: str) -> Iterator[str]:
    """The 81 sentences about a class: the name alone, and CLIP's 80 prompts for ImageNet.

    Args:
        name: Class name; the endings ``-other``, ``-merged`` and ``-stuff`` of COCO's names are left out.
    """
    for ending in ('-other', '-merged', '-stuff'):
        name = name.replace(ending, '')
    name = name.replace('_', ' ')
    yield f'{name}.'
    for whose in ('a', 'the', 'my', 'one', 'many'):
        yield f'a photo of {whose} {name}.'
    yield f'itap of my {name}.'
    yield f'a dark photo of the {name}.'
    yield f'a dark photo of a {name}.'
    for article in ('a', 'the'):
        for look in _LOOKS:
            yield f'a {look} photo of {article} {name}.'
        for kind in _KINDS:
            yield f'a photo of {article} {kind} {name}.'
        for work in _WORKS:
            yield f'{work} of {article} {name}.'
        for material in _MADE:
            yield f'{article} {material} {name}.'
        yield f'{article} {name} in a video game.'


_LOOKS = ('bad', 'low resolution', 'cropped', 'bright', 'close-up', 'black and white', 'pixelated', 'jpeg corrupted')
_LOOKS += ('blurry', 'good')
_KINDS = ('hard to see', 'clean', 'dirty', 'cool', 'large', 'nice', 'weird', 'small')
_WORKS = ('a sculpture', 'a rendering', 'graffiti', 'a tattoo', 'a drawing', 'a painting', 'a doodle', 'a sketch')
_WORKS += ('a rendition', 'art', 'itap')
_MADE = ('embroidered', 'plastic', 'origami', 'toy', 'cartoon', 'plushie')
