"""Weight gradients of small maps: those of torch but for rounding, and of nothing else."""

import copy
from typing import Any

import pytest
import torch
from timm.models import create_model
from torch import nn

from train.small_maps import _Convolution, use_matrix_products

_WIDE = {"in_channels": 256, "out_channels": 160}


def _gradients(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Return the output of a model and the gradients of its input and weights."""
    given = images.clone().requires_grad_()
    found = model(given)
    found.square().mean().backward()
    assert given.grad is not None
    return [found, given.grad, *(one.grad for one in model.parameters() if one.grad is not None)]


def _is_product(found: torch.Tensor) -> bool:
    """Return whether the gradient of the weights is computed as a product."""
    return type(found.grad_fn).__name__ == "_ConvolveBackward"


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 1, "stride": 3, "bias": False},
        {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
        {"kernel_size": (3, 1), "stride": (2, 1), "padding": (2, 0)},
    ],
    ids=["usual", "one position", "every second position", "not square"],
)
def test_gradients_are_those_of_torch(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(**_WIDE, **options))  # type: ignore[arg-type]
    plain.to(memory_format=torch.channels_last)
    changed = copy.deepcopy(plain)
    use_matrix_products(changed)
    assert isinstance(changed[0], _Convolution)
    images = torch.randn(8, 256, 5, 7).to(memory_format=torch.channels_last)
    expected, found = _gradients(plain, images), _gradients(changed, images)
    assert torch.equal(found[0], expected[0])
    assert _is_product(found[0])
    assert not _is_product(expected[0])
    for one, other in zip(found, expected, strict=True):
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_each_layer_is_changed_only_where_it_was_measured() -> None:
    same = {"kernel_size": 3, "padding": 1}
    model = nn.Sequential(
        nn.Conv2d(64, 64, **same),  # type: ignore[arg-type]
        nn.Conv2d(**_WIDE, **same, groups=2),  # type: ignore[arg-type]
        nn.Conv2d(**_WIDE, **same, padding_mode="reflect"),  # type: ignore[arg-type]
        nn.Conv2d(**_WIDE, kernel_size=3, padding="same"),
        nn.Conv2d(**_WIDE, kernel_size=3, dilation=2),
    )
    use_matrix_products(model)
    assert not [one for one in model if isinstance(one, _Convolution)]
    # The models of the quickstart and of the study: their figures do not depend on this.
    for name in ("test_resnet", "test_efficientnet"):
        small = create_model(name)
        use_matrix_products(small)
        assert not [one for one in small.modules() if isinstance(one, _Convolution)]


def test_other_types_and_larger_maps_are_computed_by_torch() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(**_WIDE, kernel_size=3, padding=1))
    changed = copy.deepcopy(layer)
    use_matrix_products(changed)
    with torch.autocast("cpu", torch.bfloat16):
        small = torch.randn(2, 256, 3, 3)
        assert not _is_product(changed(small))
        for one, other in zip(_gradients(changed, small), _gradients(layer, small), strict=True):
            assert torch.equal(one, other)
    large = torch.randn(2, 256, 8, 8)
    assert not _is_product(changed(large))
    one = nn.Conv2d(**_WIDE, kernel_size=1)
    use_matrix_products(one)
    assert _is_product(one(large[..., :3, :3])) and not _is_product(one(large[..., :4, :4]))
    for one, other in zip(_gradients(changed, large), _gradients(layer, large), strict=True):
        assert torch.equal(one, other)


def test_frozen_weights_and_copies_of_a_model_stay_what_they_are() -> None:
    model = nn.Sequential(nn.Conv2d(**_WIDE, kernel_size=3, padding=1))
    names = list(model.state_dict())
    use_matrix_products(model)
    assert list(model.state_dict()) == names
    copied = copy.deepcopy(model)
    model.requires_grad_(False)
    assert len(_gradients(model, torch.randn(2, 256, 2, 2))) == 2
    assert len(_gradients(copied, torch.randn(2, 256, 2, 2))) == 4
    assert copied[0].weight.data_ptr() != model[0].weight.data_ptr()


def test_a_compiled_model_stays_one_graph() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(**_WIDE, kernel_size=3, padding=1))
    changed = copy.deepcopy(plain)
    use_matrix_products(changed)
    compiled: Any = torch.compile(changed, backend="aot_eager", fullgraph=True)
    images = torch.randn(2, 256, 3, 3)
    for one, other in zip(_gradients(compiled, images), _gradients(plain, images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
