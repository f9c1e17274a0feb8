"""Check the images that a shard stores: each can be decoded and has the planned format and size."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

from factory.common.image_bytes import MAX_ASPECT, ImageFault, load_image
from factory.data.columns import IMAGE
from factory.inspection.faults import SetFault, short
from factory.recipe.resolved import Output
from factory.shards.png import small_png_size

_DECODERS, _CHUNK = 4, 32


def image_faults(file: str, column: Any, output: Output) -> Iterator[SetFault]:
    """Yield the images of a shard that cannot be decoded, or have another format or size.

    Args:
        file: The shard, in messages.
        column: Its Arrow column of images.
        output: The planned format and size.
    """
    cells = _image_bytes(column)
    sizes = [_small_png_size(one, output) for one in cells]
    right = {size for size in set(sizes) if size is not None and _is_wanted(size, output)}
    left = [number for number, size in enumerate(sizes) if size not in right]

    def check(start: int) -> list[str | None]:
        return [_image_fault(cells[number], output) for number in left[start : start + _CHUNK]]

    if not left:
        return
    # A task per image would take longer than to decode a small one.
    with ThreadPoolExecutor(_DECODERS) as pool:
        found = chain.from_iterable(pool.map(check, range(0, len(left), _CHUNK)))
        for number, wrong in zip(left, found, strict=True):
            if wrong is not None:
                yield SetFault(file, IMAGE, wrong, _wanted(output), row=number)


def _image_bytes(column: Any) -> list[Any]:
    """Return the encoded images of a column; None for a cell of another type, or without one."""
    import pyarrow

    kind = column.type
    if not pyarrow.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return [None] * len(column)
    places = column.flatten()[kind.get_field_index("bytes")]
    return list(places.to_pylist())


def _small_png_size(data: Any, output: Output) -> tuple[int, int] | None:
    """Return width and height of an image that need not be decoded by Pillow, or None."""
    return small_png_size(data) if output.format == "png" and isinstance(data, bytes) else None


def _is_wanted(size: tuple[int, int], output: Output) -> bool:
    if max(size) > MAX_ASPECT * min(size):
        return False
    return output.size is None or size == (output.size[1], output.size[0])


def _image_fault(data: Any, output: Output) -> str | None:
    """Return the fault of a stored image, or None."""
    if not isinstance(data, bytes) or not data:
        return "no image"
    try:
        opened = load_image(data)
    except ImageFault as fault:
        return f"an image that cannot be decoded ({short(str(fault))})"
    kind, mode, size = opened.format, opened.mode, opened.size
    if kind != output.format.upper() or mode != "RGB":
        return f"{kind} {mode}"
    if output.size is not None and size != (output.size[1], output.size[0]):
        return f"{size[0]} x {size[1]} pixels"
    return None


def _wanted(output: Output) -> str:
    size = f" of {output.size[1]} x {output.size[0]} pixels" if output.size else ""
    return f"{output.format.upper()} RGB{size}"
