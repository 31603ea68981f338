"""The recurrent and windowed networks of this package in spandrel, for those who restore single frames by it.

    from basicsr_semantic.inference.spandrel_archs import install
    install()
    model = spandrel.ModelLoader().load_from_file('mine.safetensors')

spandrel tells a network and its arguments by its weights alone, so those that only data or options decide are left at
their defaults. Networks with SEEM go on without masks. SemanticLens and SeeClear need tokens, so they are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ..utils.errors import UserError

if TYPE_CHECKING:
    from spandrel import ArchSupport

State = Mapping[str, Tensor]


def install() -> list[ArchSupport]:
    """Add the networks to spandrel's own registry; a second call changes nothing.

    Returns:
        What was added.

    Raises:
        UserError: spandrel is not installed.
    """
    try:
        from spandrel import MAIN_REGISTRY, Architecture, ArchSupport, ImageModelDescriptor, SizeRequirements
    except ImportError:
        raise UserError('spandrel is not installed: pip install spandrel.') from None

    class _FrameByFrame(Architecture[nn.Module]):
        """One network, given single frames as clips in which nothing moves."""

        def __init__(self, name: str, detect: Callable[[State], bool], arguments: Callable[[State], dict]) -> None:
            super().__init__(id=f'basicsr_semantic.{name}', name=name, detect=detect)
            self.arguments = arguments

        def load(self, state_dict: dict[str, Any]) -> ImageModelDescriptor[nn.Module]:
            """Build the network and give it its weights."""
            net = ARCH_REGISTRY.get(self.name)(**self.arguments(state_dict))
            needs = net.size_requirements
            return ImageModelDescriptor(
                net,
                state_dict,
                architecture=self,
                purpose='SR',
                tags=[],
                supports_half=False,
                supports_bfloat16=True,
                scale=4,
                input_channels=3,
                output_channels=3,
                size_requirements=SizeRequirements(minimum=needs.minimum, multiple_of=needs.multiple_of),
                call_fn=_restore,
            )

    known = [_FrameByFrame(name, detect, arguments) for name, (detect, arguments) in _NETWORKS.items()]
    return MAIN_REGISTRY.add(*map(ArchSupport.from_architecture, known), ignore_duplicates=True)


def _restore(net: nn.Module, frames: Tensor) -> Tensor:
    """(b, 3, h, w) to (b, 3, 4 h, 4 w)."""
    count = getattr(net, 'num_frame', None)
    if count is not None:
        return net(frames[:, None].expand(-1, count, -1, -1, -1))
    return net(frames[:, None])[:, 0]


def _is_basicvsr(state: State) -> bool:
    return {'backward_trunk.main.0.weight', 'forward_trunk.main.0.weight', 'fusion.weight'} <= state.keys()


def _is_lite(state: State) -> bool:
    return _is_basicvsr(state) and 'spynet.step.0.weight' in state


def _is_released_basicvsr(state: State) -> bool:
    return _is_basicvsr(state) and 'spynet.basic_module.0.basic_module.0.weight' in state


def _is_edvr_seem(state: State) -> bool:
    return {'sam_embed.conv1.weight', 'pcd_align.cas_dcnpack.weight', 'conv_l2_1.weight'} <= state.keys()


def _basicvsr_arguments(state: State) -> dict[str, Any]:
    branches = [name for name in ('backward', 'forward') if any(key.startswith(f'seem_{name}') for key in state)]
    return {
        'num_feat': state['fusion.weight'].size(0),
        'num_block': _count(state, 'backward_trunk.main.2'),
        'branches': branches,
        **_seem_arguments(state),
    }


def _lite_arguments(state: State) -> dict[str, Any]:
    return {**_basicvsr_arguments(state), 'flow_feat': state['spynet.step.0.weight'].size(0)}


def _edvr_arguments(state: State) -> dict[str, Any]:
    num_feat, with_tsa = state['conv_l2_1.weight'].size(0), 'fusion.temporal_attn1.weight' in state
    fusion = state['fusion.feat_fusion.weight' if with_tsa else 'fusion.weight']
    positions = [name for name in ('align', 'aggr', 'recon') if f'seem_{name}.conv1.weight' in state]
    return {
        'num_feat': num_feat,
        'num_frame': fusion.size(1) // num_feat,
        'deformable_groups': state['pcd_align.cas_dcnpack.conv_offset.weight'].size(0) // 27,  # 3 for each of 3x3
        'num_extract_block': _count(state, 'feature_extraction'),
        'num_reconstruct_block': _count(state, 'reconstruction'),
        'with_tsa': with_tsa,
        'positions': positions,
        **_seem_arguments(state),
    }


def _seem_arguments(state: State) -> dict[str, Any]:
    found: dict[str, Any] = {'missing_priors': 'neutral'}
    down = next((value for key, value in state.items() if key.endswith('.fc_down.weight')), None)
    if down is None:
        return {**found, 'reduction': 1}  # any that divides the channels: nothing has it
    found['num_masks'] = state['sam_embed.conv1.weight'].size(1) - 3  # the frame comes first
    return {**found, 'reduction': down.size(1) // down.size(0)}


def _count(state: State, prefix: str) -> int:
    """Blocks of a sequence of them."""
    return len({key[len(prefix) + 1 :].split('.')[0] for key in state if key.startswith(f'{prefix}.')})


_NETWORKS: dict[str, tuple[Callable[[State], bool], Callable[[State], dict[str, Any]]]] = {
    'BasicVSRLite': (_is_lite, _lite_arguments),
    'BasicVSRSEEM': (_is_released_basicvsr, _basicvsr_arguments),
    'EDVRSEEM': (_is_edvr_seem, _edvr_arguments),
}
