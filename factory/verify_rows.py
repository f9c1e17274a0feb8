"""What is in one shard against the plan: hash, schema, every row's words and numbers, pictures."""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory import schema
from factory.planner import plan
from factory.recipe import Output, ResolvedRecipe
from factory.set_faults import SetFault, first_few, short
from factory.shards import sha256

if TYPE_CHECKING:
    import datasets

_DECODERS = 4
# What PIL's readers raise for bytes that are no picture.
_UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error)


@dataclass(frozen=True)
class ShardTask:
    """One shard to check.

    Attributes:
        path: Where it lies.
        file: Its name in messages: relative to the set's directory.
        recipe: What was planned, or None where the recipe is not to be trusted.
        rows: Which of the plan's rows it holds.
        sha256: As the manifest lists it, or None where the build did not finish.
        owners: By hash, the files the manifest lists: a swapped file is told by its own name.
    """

    path: Path
    file: str
    recipe: ResolvedRecipe | None
    rows: range
    sha256: str | None
    owners: Mapping[str, str]


@dataclass(frozen=True)
class ShardFindings:
    """What was found in a shard: its faults, and how often each label stands in it."""

    faults: list[SetFault]
    labels: Counter[int]
    rows: int = 0


def check_shard(task: ShardTask, features: datasets.Features) -> ShardFindings:
    """Read a shard from its first byte to its last picture.

    Args:
        task: Which shard, and what it should hold.
        features: Columns and types of the set.
    """
    if not task.path.is_file():
        lacking = SetFault(task.file, "file", "none", f"a shard of {len(task.rows)} rows")
        return ShardFindings([lacking], Counter())
    faults = list(_hash_faults(task))
    table = _read(task)
    if isinstance(table, SetFault):
        return ShardFindings([*faults, table], Counter())
    wrong = list(_schema_faults(task, table.schema, features))
    faults += wrong
    if table.num_rows != len(task.rows):
        faults.append(SetFault(task.file, "rows", str(table.num_rows), str(len(task.rows))))
    names = set(table.column_names)
    if not wrong and task.recipe is not None and table.num_rows == len(task.rows):
        faults += first_few(_plan_faults(task, task.recipe, table))
    if schema.IMAGE in names and task.recipe is not None:
        faults += first_few(_picture_faults(task, task.recipe, table))
    labels = table.column(schema.LABEL).to_pylist() if schema.LABEL in names else []
    return ShardFindings(faults, Counter(labels), table.num_rows)


def _hash_faults(task: ShardTask) -> Iterator[SetFault]:
    if task.sha256 is None:
        return
    found = sha256(task.path)
    if found == task.sha256:
        return
    owner = task.owners.get(found)
    whose = f" (the bytes of {owner})" if owner else ""
    yield SetFault(task.file, "sha256", f"{found[:16]}{whose}", task.sha256[:16])


def _read(task: ShardTask) -> Any:
    """Return the shard as an Arrow table, or the fault that keeps it from being read."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(task.path).read()
        table.validate(full=True)
        return table
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:100]
        return SetFault(task.file, "content", f"no readable Parquet ({reason})", "a whole file")


def _schema_faults(task: ShardTask, found: Any, features: datasets.Features) -> Iterator[SetFault]:
    from datasets import Features

    if found.names != list(features):
        yield SetFault(task.file, "schema", short(found.names), short(list(features)))
        return
    try:
        read: Mapping[str, Any] = Features.from_arrow_schema(found)
    except (ValueError, TypeError, KeyError) as error:
        yield SetFault(task.file, "schema", short(str(error)), "features that datasets reads")
        return
    for name, feature in features.items():
        if read[name] != feature:
            yield SetFault(task.file, f"schema of {name}", short(read[name]), short(feature))


def _plan_faults(task: ShardTask, recipe: ResolvedRecipe, table: Any) -> Iterator[SetFault]:
    """Yield the rows whose words or numbers are not the plan's, column by column within a row."""
    specs = plan(recipe).rows(task.rows.start, task.rows.stop)
    planned = [spec.as_row() for spec in specs]
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    columns.pop(schema.IMAGE)
    for number, row in enumerate(planned):
        for name, values in columns.items():
            if values[number] != row.get(name):
                found, expected = short(values[number]), short(row.get(name))
                yield SetFault(task.file, name, found, expected, row=number)


def _picture_faults(task: ShardTask, recipe: ResolvedRecipe, table: Any) -> Iterator[SetFault]:
    output = recipe.output
    pictures = table.column(schema.IMAGE).to_pylist()
    with ThreadPoolExecutor(_DECODERS) as pool:
        for number, wrong in enumerate(pool.map(lambda one: _picture_fault(one, output), pictures)):
            if wrong is not None:
                yield SetFault(task.file, schema.IMAGE, wrong, _wanted(output), row=number)


def _picture_fault(stored: Any, output: Output) -> str | None:
    """Return what is wrong with a stored picture, or None."""
    from PIL import Image

    data = stored.get("bytes") if isinstance(stored, dict) else None
    if not data:
        return "no picture"
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            kind, mode, size = picture.format, picture.mode, picture.size
    except (*_UNDECODABLE, zlib.error, Image.DecompressionBombError) as error:
        return f"an undecodable picture ({short(str(error))})"
    if kind != output.format.upper() or mode != "RGB":
        return f"{kind} {mode}"
    if output.shape is not None and size != (output.shape[1], output.shape[0]):
        return f"{size[0]} x {size[1]} pixels"
    return None


def _wanted(output: Output) -> str:
    size = f" of {output.shape[1]} x {output.shape[0]} pixels" if output.shape else ""
    return f"{output.format.upper()} RGB{size}"


def balance_faults(name: str, labels: Counter[int], names: Sequence[str]) -> list[SetFault]:
    """Return a fault for each class of a config that has more or fewer images than the others.

    Args:
        name: The config.
        labels: How often each label stands in all its shards.
        names: Class names by label.
    """
    planned = labels.total() // len(names)
    uneven = [
        SetFault(f"data/{name}", f"label balance of {one}", str(labels[label]), str(planned))
        for label, one in enumerate(names)
        if labels[label] != planned
    ]
    return first_few(uneven)
