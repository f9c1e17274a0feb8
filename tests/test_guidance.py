"""The object passed as `guidance_scale` to a stock pipeline."""

from types import SimpleNamespace

import pytest
import torch

from factory.renderer.guidance import GuidancePerImage, guidance_as_input, takes_guidance_as_input


def test_each_image_is_scaled_by_its_own_number():
    prediction = torch.ones(3, 2, 4, 4)
    scaled = GuidancePerImage([2.0, 3.5, 7.0]) * prediction
    assert scaled[:, 0, 0, 0].tolist() == [2.0, 3.5, 7.0]
    assert torch.equal(scaled, prediction * GuidancePerImage([2.0, 3.5, 7.0]))


def test_text_sequences_without_height_and_width_work_too():
    assert (GuidancePerImage([2.0, 3.0]) * torch.ones(2, 5)).sum(dim=1).tolist() == [10.0, 15.0]


def test_a_batch_is_guided_when_any_image_is():
    assert GuidancePerImage([1.0, 1.5]) > 1
    assert not GuidancePerImage([1.0, 0.0]) > 1.0


def test_scales_below_one_mean_no_guidance():
    assert (GuidancePerImage([0.0, 0.5, 4.0]) * torch.ones(3, 1)).flatten().tolist() == [1, 1, 4]


def test_bfloat16_predictions_are_scaled_as_by_a_plain_number():
    prediction = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    scaled = GuidancePerImage([3.217]) * prediction
    assert scaled.dtype is torch.bfloat16
    assert torch.equal(scaled, 3.217 * prediction)


def test_another_batch_size_is_refused():
    with pytest.raises(ValueError, match="2 guidance scales for a batch of 3"):
        GuidancePerImage([1.0, 2.0]) * torch.ones(3, 1)


class _Network:
    def __init__(self, **config: object) -> None:
        self.config = type("Config", (), config)


class _Pipeline:
    def __init__(self, **networks: _Network) -> None:
        self.__dict__.update(networks)


def test_distilled_networks_are_recognised():
    assert takes_guidance_as_input(_Pipeline(unet=_Network(time_cond_proj_dim=256)))
    assert takes_guidance_as_input(_Pipeline(transformer=_Network(guidance_embeds=True)))
    assert not takes_guidance_as_input(_Pipeline(unet=_Network(time_cond_proj_dim=None)))
    assert not takes_guidance_as_input(_Pipeline(transformer=_Network(in_channels=4)))


@pytest.mark.parametrize(
    ("config", "expected"), [({}, [2, 5]), ({"guidance_embeds_scale": 0.1}, [0.2, 0.5])]
)
def test_a_network_gets_guidance_as_its_pipeline_would_scale_it(
    config: dict[str, float], expected: list[float]
) -> None:
    """Sana Sprint's pipeline multiplies by `guidance_embeds_scale`; others pass on the number."""

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(guidance_embeds=True, **config)

        def forward(self, *, guidance: torch.Tensor) -> torch.Tensor:
            return guidance

    pipeline = SimpleNamespace(transformer=Network())
    with guidance_as_input(pipeline, [2.0, 5.0]):
        found = pipeline.transformer(guidance=torch.tensor([4.5]))
    assert found.tolist() == pytest.approx(expected)
