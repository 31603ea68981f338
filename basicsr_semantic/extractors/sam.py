"""Segment Anything as an extractor: everything in the frame, one mask an object, part or sub-part.

Kirillov et al., "Segment Anything" (ICCV 2023), through the package ``segment-anything`` and its official weights.
SEEM prompts it with a grid of 8x8 points and keeps at most 64 masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..utils.devices import put_on
from ..utils.errors import UserError
from .base import EXTRACTOR_REGISTRY, MAX_MASKS, Extractor, check_frame, check_max_masks, check_number
from .checkpoints import read_state_dict, verified_sha256
from .ordering import check_order, order_and_keep, stack_masks

#: model type -> (width of the image encoder, number of its blocks)
MODEL_SIZES: dict[str, tuple[int, int]] = {'vit_h': (1280, 32), 'vit_l': (1024, 24), 'vit_b': (768, 12)}

#: SHA-256 of the official files. The six digits in their names are the beginning of the MD5, which is too short as a
#: check.
OFFICIAL_SHA256: dict[str, str] = {
    'sam_vit_h_4b8939.pth': 'a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e',
    'sam_vit_l_0b3195.pth': '3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622',
    'sam_vit_b_01ec64.pth': 'ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912',
}
DOWNLOAD = 'https://github.com/facebookresearch/segment-anything#model-checkpoints'
MOST_POINTS_PER_SIDE = 1024
MOST_CROP_LAYERS = 6  # 4^6 crops in the last one


@EXTRACTOR_REGISTRY.register()
class SAMExtractor(Extractor):
    """Masks of Segment Anything's automatic mask generator.

    The defaults of the generator are those of ``segment-anything``; only the grid is 8x8, as in the SEEM paper.

    Args:
        checkpoint: file with official weights: sam_vit_h_4b8939.pth, sam_vit_l_0b3195.pth or sam_vit_b_01ec64.pth. A
            file of an official name must have the official content.
        model_type: 'vit_h', 'vit_l' or 'vit_b'.
        device: where the network runs: 'cpu', 'cuda', 'cuda:1', ...
        checksum: SHA-256 that the checkpoint must have; None checks official names only.
        points_per_side: points of the grid along each side.
        points_per_batch: points the network handles at once; more is faster and needs more memory.
        pred_iou_thresh: masks with a lower predicted IoU are dropped; 0 keeps all.
        stability_score_thresh: masks with a lower stability are dropped; 0 keeps all.
        stability_score_offset: by how much the cut-off is moved to measure the stability.
        box_nms_thresh: of two masks whose boxes overlap by a higher IoU, the less confident one is dropped.
        crop_n_layers: also segment crops of the frame, 2^i along each side in layer i.
        crop_nms_thresh: as ``box_nms_thresh``, between crops.
        crop_overlap_ratio: overlap of the crops as a share of the frame's side.
        crop_n_points_downscale_factor: the grid of layer i is divided by this to the power of i.
        min_mask_region_area: holes and islands smaller than this many pixels are removed; 0 removes none.
        order: order of the masks: 'area', 'iou' or 'grid'.
        keep: which masks stay when there are more than ``max_masks``: 'area' (largest) or 'iou' (most confident).
        max_masks: most masks a frame.

    Raises:
        UserError: The checkpoint is missing, damaged or of another model, a value is unknown, the device cannot be
            used, or ``segment-anything`` is not installed.
    """

    kind = 'sam'

    def __init__(
        self,
        *,
        checkpoint: str,
        model_type: str = 'vit_h',
        device: str = 'cpu',
        checksum: str | None = None,
        points_per_side: int = 8,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        min_mask_region_area: int = 0,
        order: str = 'area',
        keep: str = 'area',
        max_masks: int = MAX_MASKS,
    ) -> None:
        if model_type not in MODEL_SIZES:
            raise UserError(
                f'The model type of Segment Anything must be one of {", ".join(MODEL_SIZES)}, not {model_type!r}.'
            )
        check_order(order, keep)
        self.order, self.keep = order, keep
        self.max_masks = check_max_masks(max_masks)
        self.model_type = model_type
        self._generator_arguments = {
            'points_per_side': points_per_side,
            'pred_iou_thresh': pred_iou_thresh,
            'stability_score_thresh': stability_score_thresh,
            'stability_score_offset': stability_score_offset,
            'box_nms_thresh': box_nms_thresh,
            'crop_n_layers': crop_n_layers,
            'crop_nms_thresh': crop_nms_thresh,
            'crop_overlap_ratio': crop_overlap_ratio,
            'crop_n_points_downscale_factor': crop_n_points_downscale_factor,
            'min_mask_region_area': min_mask_region_area,
        }
        check_number('points_per_batch', points_per_batch, 1, MOST_POINTS_PER_SIDE**2, whole=True)
        _check_generator_arguments(self._generator_arguments)
        path = Path(checkpoint)
        self.checkpoint = {'file': path.name, 'sha256': _verify(path, checksum)}
        model = _load_model(path, model_type, device)
        self._generator = _generator_class()(
            model, points_per_batch=points_per_batch, output_mode='binary_mask', **self._generator_arguments
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the masks, for the metadata of a store. The device and the batch of points do not."""
        return {'model_type': self.model_type, **self._generator_arguments, 'keep': self.keep}

    def __call__(self, frame: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Segment one frame.

        Args:
            frame: (h, w, 3) uint8 RGB, the whole frame; the network sees it with its longer side resized to 1024.
            key: not used.

        Returns:
            Masks (n, h, w) bool and the IoU (n,) that the network predicts for each; n is 0 where it finds nothing.
        """
        check_frame(frame)
        found: list[dict[str, Any]] = self._generator.generate(frame)
        kept = order_and_keep(
            [item['area'] for item in found],
            [(item['bbox'][1], item['bbox'][0]) for item in found],
            [item['predicted_iou'] for item in found],
            [(item['point_coords'][0][1], item['point_coords'][0][0]) for item in found],
            self.order,
            self.keep,
            self.max_masks,
        )
        masks = stack_masks([found[i]['segmentation'] for i in kept], *frame.shape[:2])
        return masks, np.array([found[i]['predicted_iou'] for i in kept], np.float64)


def _check_generator_arguments(given: dict[str, Any]) -> None:
    """Refuse what the generator would fail on at the first frame, or would take to mean that it finds nothing."""
    for name, most in (
        ('points_per_side', MOST_POINTS_PER_SIDE),
        ('crop_n_layers', MOST_CROP_LAYERS),
        ('crop_n_points_downscale_factor', MOST_POINTS_PER_SIDE),
        ('min_mask_region_area', 10**9),
    ):
        check_number(name, given[name], 0 if name in ('crop_n_layers', 'min_mask_region_area') else 1, most, whole=True)
    for name in (
        'pred_iou_thresh', 'stability_score_thresh', 'box_nms_thresh', 'crop_nms_thresh', 'crop_overlap_ratio'
    ):  # fmt: skip
        check_number(name, given[name], 0, 1)
    check_number('stability_score_offset', given['stability_score_offset'], 0, 1000)
    points, layers, factor = (
        given[name] for name in ('points_per_side', 'crop_n_layers', 'crop_n_points_downscale_factor')
    )
    if points < factor**layers:
        raise UserError(
            f'points_per_side is {points}, of which crop_n_points_downscale_factor {factor} leaves no point in crop '
            f'layer {layers}. It must be at least {factor**layers}, or crop_n_layers smaller.'
        )


def _verify(path: Path, checksum: str | None) -> str:
    """SHA-256 of the checkpoint, checked against the argument, or against the official digits of an official name."""
    if not path.is_file():
        raise UserError(f'The checkpoint {path} does not exist. The official ones are at {DOWNLOAD}')
    if checksum is not None:
        return verified_sha256(path, checksum, 'the checksum that was asked for')
    return verified_sha256(path, OFFICIAL_SHA256.get(path.name), 'that of the official file of this name')


def _load_model(path: Path, model_type: str, device: str) -> Any:
    state = read_state_dict(path)
    found = _model_type_of(state)
    if found is None:
        raise UserError(
            f'The checkpoint {path} is not one of Segment Anything: it has no image encoder of the size of '
            f'{", ".join(MODEL_SIZES)}. The official ones are at {DOWNLOAD}'
        )
    if found != model_type:
        raise UserError(f'The checkpoint {path} is {found}, but {model_type} was asked for. Use: --model-type {found}')
    model = _import_sam().sam_model_registry[model_type]()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        detail = ' '.join(str(error).split())
        raise UserError(
            f'The checkpoint {path} does not fit {model_type} of Segment Anything: {detail[:300]}'
        ) from error
    return put_on(device, model, 'Segment Anything').eval()


def _model_type_of(state: dict[str, Tensor]) -> str | None:
    """The model type by the width and depth of the image encoder, read off the names and shapes of the weights."""
    weight = state.get('image_encoder.patch_embed.proj.weight')
    if weight is None or weight.dim() != 4:
        return None
    depth = len({name.split('.')[2] for name in state if name.startswith('image_encoder.blocks.')})
    size = (weight.shape[0], depth)
    return next((name for name, known in MODEL_SIZES.items() if known == size), None)


def _generator_class() -> Any:
    """The generator of the package, made to work on frames in which nothing is found."""
    package = _import_sam()
    from segment_anything.utils.amg import MaskData

    class Generator(package.SamAutomaticMaskGenerator):
        def generate(self, image: np.ndarray) -> list[dict[str, Any]]:
            return super().generate(image) if self._sees(*image.shape[:2]) else []

        def _process_crop(self, image: np.ndarray, crop_box: list[int], *others: Any) -> MaskData:
            left, top, right, bottom = crop_box
            if not self._sees(bottom - top, right - left):  # which happens with some crops of a small frame
                return MaskData()
            found = super()._process_crop(image, crop_box, *others)
            # without masks it is (0,), of which the package asks the columns when no crop has any
            found['crop_boxes'] = found['crop_boxes'].reshape(-1, 4)
            return found

        def _sees(self, height: int, width: int) -> bool:
            """Whether anything is left at the size that the network takes, where the longer side decides."""
            transform = self.predictor.transform
            return (
                min(height, width) > 0
                and min(transform.get_preprocess_shape(height, width, transform.target_length)) > 0
            )

    return Generator


def _import_sam() -> Any:
    try:
        import segment_anything
    except ImportError as error:
        raise UserError(
            'The extractor "sam" needs the package segment-anything. Install it with: pip install segment-anything'
        ) from error
    return segment_anything
