"""Random augmentation of image batches, as tensor operations on the batch's device.

All geometric changes are combined into one affine map per image and resampled once; colours follow.
The random numbers come from outside (`train.uniforms`), so this module has no state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from train.settings import Augmentation

_CROP_ATTEMPTS = 10  # as torchvision's RandomResizedCrop
CROP_SIZES = slice(0, 2 * _CROP_ATTEMPTS)
"""Draws for area and ratio of the candidates for a crop."""
(
    _CROP_X,
    _CROP_Y,
    _FLIP_X,
    _FLIP_Y,
    _ROTATION,
    _SHIFT_X,
    _SHIFT_Y,
    _ZOOM,
    _SHEAR,
    _BRIGHTNESS,
    _CONTRAST,
    _SATURATION,
    _GREY,
    _INVERT,
) = range(2 * _CROP_ATTEMPTS, 2 * _CROP_ATTEMPTS + 14)
NUM_DRAWS = 2 * _CROP_ATTEMPTS + 14
CROP_POSITION = (_CROP_X, _CROP_Y)
"""Draws for the place of a crop."""

# The fields of `Augmentation` that move pixels.
_MOVES = (
    "crop_scale",
    "crop_ratio",
    "horizontal_flip",
    "vertical_flip",
    "rotation",
    "translate",
    "zoom",
    "shear",
)
_LUMA = (0.299, 0.587, 0.114)


def to_float(pixels: Tensor) -> Tensor:
    """Convert uint8 (B, H, W, 3) to float32 (B, 3, H, W) in 0 to 1, channels last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def normalise(images: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Subtract `mean` and divide by `std`, one number per channel; shape (B, 3, H, W)."""
    shift = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    return (images - shift) / scale


def augment(images: Tensor, draws: Tensor, policy: Augmentation) -> Tensor:
    """Augment each image at random.

    Args:
        images: Float32 in 0 to 1, shape (B, 3, S, S).
        draws: Uniform in [0, 1), shape (B, NUM_DRAWS), same device.
        policy: Strength of each change.

    Returns:
        Same shape and range as `images`, channels last in memory.
    """
    theta = affine_maps(draws, policy)
    if theta is not None:
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        images = functional.grid_sample(
            images, grid, mode="bilinear", padding_mode=policy.fill, align_corners=False
        )
    return _change_colours(images, draws, policy).contiguous(memory_format=torch.channels_last)


def centre_crop(images: Tensor, part: float) -> Tensor:
    """Return the central `part` of each side of the images, enlarged to their original size."""
    theta = torch.tensor([[part, 0.0, 0.0], [0.0, part, 0.0]], device=images.device)
    grid = functional.affine_grid(
        theta.expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return functional.grid_sample(images, grid, mode="bilinear", align_corners=False)


def affine_maps(draws: Tensor, policy: Augmentation) -> Tensor | None:
    """Return the maps from result to image positions, or None for the identity.

    Positions are in -1 to 1 from edge to edge, as in `torch.nn.functional.affine_grid`.

    Returns:
        Shape (B, 2, 3), or None if the policy moves no pixels.
    """
    none = Augmentation()
    if all(getattr(policy, name) == getattr(none, name) for name in _MOVES):
        return None
    linear = _rotation_zoom_shear(draws, policy) @ _flips(draws, policy)
    shift = torch.stack((draws[:, _SHIFT_X], draws[:, _SHIFT_Y]), dim=1)
    # The image is 2 wide, so a fraction t of it is 2 t.
    shift = (2 * shift - 1) * 2 * policy.translate
    size, centre = _crops(draws, policy)
    linear = size[:, :, None] * linear
    return torch.cat((linear, (size * shift + centre)[:, :, None]), dim=2)


def _crops(draws: Tensor, policy: Augmentation) -> tuple[Tensor, Tensor]:
    """Sample crops as torchvision's RandomResizedCrop: size and centre, shape (B, 2) each.

    The first of ten candidates that fits inside the image is used, else the largest that does.
    """
    area_draw, ratio_draw = draws[:, CROP_SIZES].chunk(2, dim=1)
    low, high = policy.crop_scale
    area = low + (high - low) * area_draw
    low, high = (math.log(ratio) for ratio in policy.crop_ratio)
    ratio = torch.exp(low + (high - low) * ratio_draw)
    sizes = torch.stack((torch.sqrt(area * ratio), torch.sqrt(area / ratio)), dim=2)
    fits = (sizes <= 1 + 1e-6).all(dim=2)
    first = fits.to(torch.uint8).argmax(dim=1)
    size = sizes[torch.arange(len(draws), device=draws.device), first].clamp(max=1)
    place = torch.stack((draws[:, _CROP_X], draws[:, _CROP_Y]), dim=1)
    return size, (2 * place - 1) * (1 - size)


def _flips(draws: Tensor, policy: Augmentation) -> Tensor:
    x = torch.where(draws[:, _FLIP_X] < policy.horizontal_flip, -1.0, 1.0)
    y = torch.where(draws[:, _FLIP_Y] < policy.vertical_flip, -1.0, 1.0)
    return torch.diag_embed(torch.stack((x, y), dim=1))


def _rotation_zoom_shear(draws: Tensor, policy: Augmentation) -> Tensor:
    angle = (2 * draws[:, _ROTATION] - 1) * math.radians(policy.rotation)
    shear = torch.tan((2 * draws[:, _SHEAR] - 1) * math.radians(policy.shear))
    low, high = policy.zoom
    # Enlarging means that a step in the result is a smaller step in the image.
    step = 1 / (low + (high - low) * draws[:, _ZOOM])
    cos, sin = torch.cos(angle) * step, torch.sin(angle) * step
    rows = torch.stack((cos, cos * shear - sin, sin, sin * shear + cos), dim=1)
    return rows.view(-1, 2, 2)


def _change_colours(images: Tensor, draws: Tensor, policy: Augmentation) -> Tensor:
    if policy.brightness:
        images = (images * _factors(draws[:, _BRIGHTNESS], policy.brightness)).clamp_(0, 1)
    if policy.contrast:
        mean = _luma(images).mean(dim=(1, 2, 3), keepdim=True)
        images = _blend(mean, images, _factors(draws[:, _CONTRAST], policy.contrast))
    if policy.saturation or policy.greyscale:
        factors = _factors(draws[:, _SATURATION], policy.saturation)
        drop = (draws[:, _GREY] < policy.greyscale).view(-1, 1, 1, 1)
        images = _blend(_luma(images), images, factors.masked_fill(drop, 0.0))
    if policy.invert:
        inverted = (draws[:, _INVERT] < policy.invert).view(-1, 1, 1, 1)
        images = torch.where(inverted, 1 - images, images)
    return images


def _factors(draw: Tensor, strength: float) -> Tensor:
    return (1 + (2 * draw - 1) * strength).view(-1, 1, 1, 1)


def _luma(images: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def _blend(base: Tensor, images: Tensor, factors: Tensor) -> Tensor:
    return (base + (images - base) * factors).clamp_(0, 1)
