"""A training step on fake tensors of a GPU, up to the backward pass, and what it has in memory then."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import inspect
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from basicsr_semantic.archs.layers import mfsa, tiles, window_attention, windows
from basicsr_semantic.engine.loss_guard import begin_iteration
from basicsr_semantic.losses.matcher import HungarianMatcher
from basicsr_semantic.losses.set_loss import Instances


class _Saved:
    """A tensor that the graph keeps; gone when the graph forgets it."""

    __slots__ = ('__weakref__', 'tensor')

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor.detach()  # a result that knew its own node would hold itself


class SavedForBackward:
    """Counts what autograd keeps while it is entered.

    Args:
        known: Tensors that are there anyway and do not count.

    Attributes:
        peak: The most bytes that were there when a checkpointed part is worked out again, 0 without such parts.
    """

    def __init__(self, known: list[torch.Tensor]) -> None:
        self.known = {_storage(tensor) for tensor in known}
        self.kept: weakref.WeakSet[_Saved] = weakref.WeakSet()
        self.peak = 0
        self._enclosed: list[_Saved] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> SavedForBackward:
        self._stack.enter_context(self._hooks(self.kept))
        self._stack.enter_context(mock.patch.object(mfsa, 'checkpoint', self._checkpoint))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.close()

    def bytes(self, *more: weakref.WeakSet[_Saved]) -> int:
        """Bytes of the distinct storages that are kept now."""
        tensors = [one.tensor for kept in (self.kept, *more) for one in kept]
        sizes = {_storage(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}
        return sum(size for storage, size in sizes.items() if storage not in self.known)

    @staticmethod
    def _hooks(kept: weakref.WeakSet[_Saved]) -> saved_tensors_hooks:
        def pack(tensor: torch.Tensor) -> _Saved:
            saved = _Saved(tensor)
            kept.add(saved)
            return saved

        return saved_tensors_hooks(pack, lambda saved: saved.tensor)

    def _checkpoint(self, function: Callable[..., Any], *inputs: Any, use_reentrant: bool) -> Any:
        """Checkpoint a part, and look at what it will save when it runs again: all that came later is gone then."""
        result = checkpoint(function, *inputs, use_reentrant=use_reentrant)
        for one in inputs:
            if not isinstance(one, torch.Tensor):  # PyTorch holds these without saving them
                self._enclosed += map(_Saved, _tensors_in(one))
        self.kept.update(self._enclosed)
        inner: weakref.WeakSet[_Saved] = weakref.WeakSet()
        with self._hooks(inner):
            again = function(*inputs)
        self.peak = max(self.peak, self.bytes(inner))
        del again
        return result


class _Alive(TorchDispatchMode):
    """Knows the storages of all results of operations, as long as anybody holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors_in(result):
            storage = tensor.untyped_storage()
            self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return result

    def bytes(self, known: set[int]) -> int:
        """Bytes that are held now, without those of known storages."""
        return sum(
            size
            for storage, (reference, size) in self.storages.items()
            if storage not in known and not reference.expired()
        )


def _tensors_in(thing: Any) -> list[torch.Tensor]:
    """The tensors in nested lists, tuples, dicts and dataclasses."""
    if isinstance(thing, torch.Tensor):
        return [thing]
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        thing = vars(thing)
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors_in(part)]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def bytes_of(tensors: list[torch.Tensor]) -> int:
    """Bytes of the numbers in tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class OnGpu:
    """Lets what a model holds be fake tensors of a GPU.

    Attributes:
        weights: Parameters and buffers that were moved, each once.
        others: All other tensors.
    """

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.others: list[torch.Tensor] = []
        self._made: dict[int, tuple[Any, Any]] = {}

    def model(self, model: Any) -> None:
        """Move a model class, in place."""
        for name, value in list(vars(model).items()):
            if name != 'opt':
                setattr(model, name, self.moved(value))
        model.device = torch.device('cuda')

    def moved(self, thing: Any) -> Any:
        """The copy of a thing on the GPU: modules, dataclasses and what functions enclose change in place."""
        if isinstance(thing, torch.Tensor):
            return self._tensor(thing, self.others)
        if type(thing) in (list, tuple):
            return type(thing)(self.moved(one) for one in thing)
        if type(thing) is dict:
            return {key: self.moved(value) for key, value in thing.items()}
        if id(thing) in self._made:
            return thing
        if isinstance(thing, nn.Module):
            self._made[id(thing)] = thing, thing
            for module in thing.modules():
                self._module(module)
        elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
            self._made[id(thing)] = thing, thing
            for one in dataclasses.fields(thing):
                object.__setattr__(thing, one.name, self.moved(getattr(thing, one.name)))
        elif inspect.isfunction(thing):
            self._made[id(thing)] = thing, thing
            for cell in thing.__closure__ or ():
                cell.cell_contents = self.moved(cell.cell_contents)
        return thing

    def _module(self, module: nn.Module) -> None:
        for name, value in vars(module).items():
            if name in ('_parameters', '_buffers'):
                for key, tensor in value.items():
                    value[key] = None if tensor is None else self._tensor(tensor, self.weights)
            elif isinstance(value, torch.Tensor):
                vars(module)[name] = self._tensor(value, self.others)

    def _tensor(self, real: torch.Tensor, kind: list[torch.Tensor]) -> torch.Tensor:
        if id(real) not in self._made:
            fake = torch.empty_strided(real.size(), real.stride(), dtype=real.dtype, device='cuda')
            fake = nn.Parameter(fake, real.requires_grad) if isinstance(real, nn.Parameter) else fake
            self._made[id(real)] = real, fake
            kind.append(fake)
        return self._made[id(real)][1]


class _ReachedError(Exception):
    """The backward pass would begin."""


@dataclass(frozen=True)
class Counted:
    """What a step has in memory, in bytes."""

    saved: int
    """Saved for the backward pass when it begins."""
    held: int
    """Also held by the step: its own variables."""
    again: int
    """What checkpointing adds to ``saved`` at the worst moment."""
    there: OnGpu
    """The tensors that were there before."""


def count(model: Any, step: int = 1) -> Counted:
    """Run the training step of a model, which must have been fed, up to its first backward pass, on fake tensors.

    Args:
        model: The model, on the CPU; it is of no use afterwards.
        step: Number of the iteration.
    """
    there, result = OnGpu(), []
    with _fresh_caches(), FakeTensorMode(), as_on_a_gpu():
        there.model(model)
        ledger = SavedForBackward([*there.weights, *there.others])

        def stop(loss: torch.Tensor) -> None:
            gc.collect()  # what ran to count checkpointed parts
            saved = ledger.bytes()
            result.append(Counted(saved, alive.bytes(ledger.known) - saved, max(0, ledger.peak - saved), there))
            raise _ReachedError

        no_backward = mock.patch.object(torch.Tensor, 'backward', stop)
        with ledger, _Alive() as alive, no_backward, contextlib.suppress(_ReachedError):
            model.optimize_parameters(step)
    if not result:
        raise RuntimeError('The training step ended without a backward pass.')
    return result[0]


@contextlib.contextmanager
def _fresh_caches() -> Iterator[None]:
    """No index tensors and no losses of another mode, before and after."""
    functions = [one for module in (tiles, windows, window_attention) for one in vars(module).values()]
    clear = [one.cache_clear for one in functions if hasattr(one, 'cache_clear')]
    clear.append(lambda: begin_iteration(1))
    for each in clear:
        each()
    try:
        yield
    finally:
        for each in clear:
            each()


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Autocast and fused attention of CUDA, and decisions that depend on values, replaced by some of the same size."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        for owner, name, stand_in in (
            (torch.cuda.amp.common, 'amp_definitely_not_available', lambda: False),
            (torch.cuda, 'is_bf16_supported', lambda *_: True),
            (F, 'scaled_dot_product_attention', _fused_attention),
            (HungarianMatcher, '__call__', _some_match),
            (Instances, 'present', lambda found: found),
        ):
            stack.enter_context(mock.patch.object(owner, name, stand_in))
        yield


_attention = F.scaled_dot_product_attention


def _fused_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_mask: torch.Tensor | None = None, **rest: Any
) -> torch.Tensor:
    """Attention by the kernel that CUDA takes: a fake tensor is given the plain one, which saves every score."""
    trains = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (q, k, v, attn_mask))
    rows = [x.size(-1) * x.element_size() for x in (q, k, v)]
    if not trains or q.dim() != 4 or any(row % 16 for row in rows) or set(rest) - {'scale'}:
        return _attention(q, k, v, attn_mask=attn_mask, **rest)
    if attn_mask is not None:
        added = attn_mask
        if added.dtype == torch.bool:
            added = torch.zeros_like(added, dtype=q.dtype).masked_fill_(~added, float('-inf'))
        columns = added.size(-1)
        if columns % 16:  # as PyTorch aligns it
            added = F.pad(added, (0, -columns % 16))[..., :columns]
        attn_mask = added.expand(*q.shape[:3], columns)
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, True, **rest)[0]


def _some_match(self: HungarianMatcher, class_logits: Any, mask_logits: Any, labels: Any, masks: Any) -> Any:
    """As many matches as there would be."""
    number = min(len(class_logits), len(labels))
    return tuple(torch.zeros(number, dtype=torch.int64, device=mask_logits.device) for _ in range(2))
