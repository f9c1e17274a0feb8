"""Passes of the embedded generator's UNet and decoder in other ways, against those of a build.

    python -m tests.benchmarks.network_variants [--rounds 24] [--images 32] [--dtype TYPE]
        [--compile]

Each variant and the network as it is in turn, batches of guided images, one thread, CPU time of
this process. Prints the median ratio of pairs, its quartiles, how many of the outputs differ, and
the CPU time of the first call with that of compilers; empty TORCHINDUCTOR_CACHE_DIR before, or it
contains what an earlier process has compiled. With torchao installed, also `--quantize int8`.
Weights of convolutions are packed only on processors for which oneDNN has bfloat16 (AVX-512).
"""

from __future__ import annotations

import argparse
import copy
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from factory.models.inference import InferenceSettings
from factory.planner.plan import plan
from factory.recipe.library import load_recipe
from factory.renderer.pool import Renderers

from .cpu_generation import recipe_file, usual_dtype
from .passes import Passes

_DECODER = "decoder"
_WINOGRAD = (
    "4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1",
    "6 0 0; -4 -4 -4; -4 4 -4; 1 2 4; 1 -2 4; 0 0 24",
    "1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 1",
)
"""For F(4, 3) and the points 0, 1, -1, 2, -2, infinity: of inputs, weights (24 times), outputs."""


class _Replaced(nn.Module):
    """A layer that computes in another way."""

    def __init__(self, layer: Any, compute: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.compute = layer, compute

    def forward(self, images: Tensor, *_: Any) -> Tensor:
        """Compute the layer."""
        return self.compute(self.layer, images)


def _replace(network: Any, wanted: Callable[[str, Any], bool], make: Callable[[Any], Any]) -> Any:
    """Replace layers of a copy of the network."""
    made = copy.deepcopy(network)
    for name, layer in [*made.named_modules()]:
        if wanted(name, layer):
            parent, _, attribute = name.rpartition(".")
            setattr(made.get_submodule(parent), attribute, make(layer))
    return made


def _kept(layer: Any) -> _Replaced:
    """Return a layer that computes again only if its input is another object."""
    last: list[Any] = [None, None]

    def compute(layer: Any, text: Tensor) -> Tensor:
        if last[0] is not text:
            last[:] = text, layer(text)
        found: Tensor = last[1]
        return found

    return _Replaced(layer, compute)


def _float_norm(layer: Any, images: Tensor) -> Tensor:
    weight, bias = layer.weight.float(), layer.bias.float()
    found = functional.group_norm(images.float(), layer.num_groups, weight, bias, layer.eps)
    return found.to(images.dtype)


def _contiguous_norm(layer: Any, images: Tensor) -> Tensor:
    found: Tensor = layer(images.contiguous())
    last = torch.channels_last if images.ndim == 4 else torch.contiguous_format
    return found.contiguous(memory_format=last)


def _packed(layer: Any) -> _Replaced:
    """Return a convolution whose weights have oneDNN's order before the first call."""
    shape = list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    weight = reorder(layer.weight.detach().to_mkldnn(), *shape)
    convolve: Any = torch.ops.mkldnn._convolution_pointwise
    return _Replaced(
        layer, lambda one, images: convolve(images, weight, one.bias, *shape, "none", [], "")
    )


def _winograd(layer: Any) -> _Replaced:
    """Return a 3x3 convolution of maps whose side is a multiple of 4 by Winograd's F(4x4, 3x3).

    Each tile of 4 x 4 outputs needs 36 multiplications per pair of channels instead of 144.
    """
    to_points, to_weights, to_outputs = (
        torch.tensor([[float(one) for one in row.split()] for row in rows.split(";")])
        for rows in _WINOGRAD
    )
    scaled = layer.weight / 24**2
    weight = torch.einsum("ai,bj,kcij->abck", to_weights, to_weights, scaled).flatten(0, 1)
    last = torch.kron(to_outputs, to_outputs)

    def compute(layer: Any, images: Tensor) -> Tensor:
        count, channels, side, _ = images.shape
        tiles = side // 4
        padded = torch.zeros(tiles, 6, side + 2)
        for number, tile in enumerate(padded):
            tile[:, 4 * number : 4 * number + 6] = to_points
        first = padded[..., 1:-1]
        # Rows of tiles, then columns in an order that the products below can read without a copy.
        rows = images.permute(0, 2, 3, 1).reshape(count, side, side * channels)
        found = torch.bmm(first.flatten(0, 1).expand(count, -1, -1), rows)
        found = found.view(count * tiles * 6, side, channels)
        columns = first.transpose(0, 1).flatten(0, 1)
        found = torch.bmm(columns.expand(len(found), -1, -1), found)
        found = found.view(count * tiles, 36, tiles, channels)
        made = images.new_empty(count * tiles, 4, tiles, 4, layer.out_channels)
        for number in range(tiles):
            products = torch.bmm(found[:, :, number].transpose(0, 1), weight).transpose(0, 1)
            outputs = torch.bmm(last.expand(count * tiles, -1, -1), products)
            made[:, :, number] = outputs.view(count * tiles, 4, 4, -1) + layer.bias
        return made.view(count, side, side, -1).permute(0, 3, 1, 2)

    return _Replaced(layer, compute)


def _fused(network: Any) -> Any:
    made = copy.deepcopy(network)
    made.fuse_qkv_projections()
    return made


def _variants(network: Any) -> dict[str, Any]:
    def is_text(name: str, _: Any) -> bool:
        return name == "add_embedding" or name.endswith(("attn2.to_k", "attn2.to_v"))

    def is_wide(_: str, layer: Any) -> bool:
        shape = [getattr(layer, name, 0) for name in ("kernel_size", "stride")]
        return shape == [(3, 3), (1, 1)] and min(layer.in_channels, layer.out_channels) >= 128

    def norms(compute: Callable[[Any, Tensor], Tensor]) -> Any:
        is_norm = lambda _, layer: isinstance(layer, nn.GroupNorm)  # noqa: E731 (short)
        return _replace(network, is_norm, lambda layer: _Replaced(layer, compute))

    contiguous = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    made = {"unchanged": copy.deepcopy(network)}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        made["weights of convolutions packed once"] = _replace(
            network, lambda _, layer: isinstance(layer, nn.Conv2d), _packed
        )
    if network.dtype == torch.float32:
        made["Winograd F(4x4, 3x3)"] = _replace(network, is_wide, _winograd)
    return made | {
        "one product for queries, keys and values": _fused(network),
        "projections of the text once per image": _replace(network, is_text, _kept),
        "group norm in float32": norms(_float_norm),
        "group norm in contiguous order": norms(_contiguous_norm),
        "all layers in contiguous order": contiguous,
    }


def _compiled() -> dict[str, Any]:
    """Return functions that compile a network, by name."""

    def blocks(network: Any) -> Any:
        network.compile_repeated_blocks(dynamic=False)
        return network

    def constants(network: Any) -> Any:
        return torch.compile(network, dynamic=False, options={"freezing": True})

    return {
        "--compile network": partial(torch.compile, dynamic=False),
        "--compile blocks": blocks,
        "torch.compile, weights as constants": constants,
    }


def passes_of(folder: Path, images: int, dtype: str, quantize: str | None = None) -> Passes:
    """Return the passes of one batch of guided images of a build."""
    recipe = load_recipe(str(recipe_file(folder, 100)))
    settings = InferenceSettings(dtype=dtype, quantize=quantize)
    renderer: Any = Renderers(None, device="cpu").get(recipe, settings)
    rows = plan(recipe).rows(0, images)
    return Passes.of(renderer._pipeline, lambda: renderer.render(rows, batch_size=images))


def _decoders(passes: Passes, *, compiles: bool) -> dict[str, Any]:
    """Return other ways to decode a batch, by name."""
    usual: Any = passes.decode
    decoder = copy.deepcopy(usual.__self__)
    if compiles:
        return {f"{_DECODER}, torch.compile": torch.compile(decoder.decode, dynamic=False)}
    contiguous = copy.deepcopy(decoder).to(memory_format=torch.contiguous_format)
    return {
        f"{_DECODER}, unchanged": decoder.decode,
        f"{_DECODER}, contiguous order": contiguous.decode,
    }


def _line(name: str, variant: Any, passes: Passes, rounds: int) -> str:
    usual, (args, kwargs) = passes.network, passes.arguments
    if name.startswith(_DECODER):
        usual, (args, kwargs) = passes.decode, passes.latents
    expected, started = usual(*args, **kwargs)[0], _cpu_s()
    found, ratios = variant(*args, **kwargs)[0], []
    first = _cpu_s() - started
    for number in range(rounds):
        seconds = {}
        for one in [usual, variant][:: 1 if number % 2 else -1]:
            started = time.process_time()
            one(*args, **kwargs)
            seconds[one is variant] = time.process_time() - started
        ratios.append(seconds[True] / seconds[False])
    low, median, high = statistics.quantiles(ratios, n=4)
    share = (found != expected).float().mean().item()
    return f"| {name} | {median:.2f} [{low:.2f}, {high:.2f}] | {share:.0%} | {first:.1f} |\n"


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=24, help="pairs for each variant, 2 or more")
    parser.add_argument("--images", type=int, default=32, help="images per batch")
    kinds = ["bfloat16", "float32"]
    parser.add_argument("--dtype", default=usual_dtype(), choices=kinds, help="as a build's")
    parser.add_argument("--compile", action="store_true", help="only torch.compile: minutes")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        where = (Path(folder), args.images, args.dtype)
        passes = passes_of(*where)
        if args.compile:
            made = _compiled().items()
            variants = {name: make(copy.deepcopy(passes.network)) for name, make in made}
        else:
            variants = _variants(passes.network)
            if find_spec("torchao"):
                variants["--quantize int8"] = passes_of(*where, "int8").network
        variants |= _decoders(passes, compiles=args.compile)
        sys.stdout.write("| variant | CPU time, ratio | other outputs | first call (CPU s) |\n")
        sys.stdout.write("|---|---:|---:|---:|\n")
        for name, variant in variants.items():
            sys.stdout.write(_line(name, variant, passes, args.rounds))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
