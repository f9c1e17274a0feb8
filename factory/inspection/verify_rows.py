"""Check one shard against the plan: hash, schema, values of every row, images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.parquet_bounds import require_bounded
from factory.common.storage import AnyPath
from factory.common.text import plural
from factory.data import columns as schema
from factory.inspection.faults import SetFault, first_few, short
from factory.inspection.verify_decoding import image_faults
from factory.planner.plan import ImageSpec, column_of, plan
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.manifest import FailedImage, ShardEntry
from factory.shards.stamp import Inspection, Stamp, inspect_file

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class ShardTask:
    """One shard to check.

    Attributes:
        path: Its path.
        file: Its name in messages, relative to the dataset directory.
        recipe: The planned recipe, or None if it cannot be trusted.
        stamp: Expected stamp, without hash and failed images.
        listed: Its manifest entry, or None if the build did not finish.
        owners: Listed files by hash, to name the file that was swapped.
        measured: Columns of gates, which no recipe plans.
    """

    path: AnyPath
    file: str
    recipe: ResolvedRecipe | None
    stamp: Stamp
    listed: ShardEntry | None
    owners: Mapping[str, str]
    measured: frozenset[str] = frozenset()

    @property
    def images(self) -> range:
        """Image indexes of the shard."""
        return range(self.stamp.start, self.stamp.stop)


@dataclass(frozen=True)
class ShardFindings:
    """Result for a shard: its faults, and the number of rows per label."""

    faults: list[SetFault]
    labels: Counter[int]
    rows: int = 0


def check_shard(task: ShardTask, wanted: pyarrow.Schema) -> ShardFindings:
    """Read and check a shard completely; `wanted` is the schema of the dataset's files."""
    if not task.path.is_file():
        lacking = SetFault(
            task.file, "file", "none", f"a shard of {plural(len(task.images), 'image')}"
        )
        return ShardFindings([lacking], Counter())
    with task.path.open("rb") as file:
        seen = inspect_file(file)
        damage = [*_byte_faults(task, seen), *_stamp_faults(task, seen.stamp)]
        try:
            read = _read_content(task, file, seen, wanted)
        except Exception as error:
            if not damage:
                raise
            # Damaged bytes can cause any error in the libraries that read them.
            words = short(f"{type(error).__name__}: {error}")
            unreadable = SetFault(task.file, "content", words, "a complete file")
            return ShardFindings([*damage, unreadable], Counter())
    return ShardFindings([*damage, *read.faults], read.labels, read.rows)


def _read_content(
    task: ShardTask, file: Any, seen: Inspection, wanted: pyarrow.Schema
) -> ShardFindings:
    """Compare columns, rows and images with schema and plan."""
    failed = frozenset(image.index for image in _failed(task, seen.stamp))
    wanted_rows = len(task.images) - len(failed)
    if seen.rows > wanted_rows:
        # They are not read: nobody knows how much memory they need.
        more = SetFault(task.file, "rows", str(seen.rows), str(wanted_rows))
        return ShardFindings([more], Counter())
    table = _read(task, file)
    if isinstance(table, SetFault):
        return ShardFindings([table], Counter())
    wrong = list(_schema_faults(task, table.schema, wanted))
    faults = [*wrong]
    if table.num_rows != wanted_rows:
        faults.append(SetFault(task.file, "rows", str(table.num_rows), str(wanted_rows)))
    names = set(table.column_names)
    if not wrong and task.recipe is not None and table.num_rows == wanted_rows:
        faults += first_few(_plan_faults(task, task.recipe, table, failed=failed))
    if schema.IMAGE in names and task.recipe is not None:
        column = table.column(schema.IMAGE)
        faults += first_few(image_faults(task.file, column, task.recipe.output))
    labels = table.column(schema.LABEL).to_pylist() if schema.LABEL in names else []
    return ShardFindings(faults, Counter(labels), table.num_rows)


def _byte_faults(task: ShardTask, seen: Inspection) -> Iterator[SetFault]:
    """Yield differences between the bytes and the hashes in manifest and stamp."""
    if task.listed is not None and seen.sha256 != task.listed.sha256:
        owner = task.owners.get(seen.sha256)
        whose = f" (the bytes of {owner})" if owner else ""
        found, expected = f"{seen.sha256[:16]}{whose}", task.listed.sha256[:16]
        yield SetFault(task.file, "sha256", found, expected)
    if seen.fault is not None:
        yield SetFault(task.file, "seal", f"it {seen.fault}", "the file as written")


def _stamp_faults(task: ShardTask, stamp: Stamp | None) -> Iterator[SetFault]:
    """Yield where a shard's stamp is not the one that this place of the dataset has."""
    if stamp is None:
        return
    for name in ("config", "fingerprint", "settings", "start", "stop"):
        said, wanted = getattr(stamp, name), getattr(task.stamp, name)
        if said != wanted:
            yield SetFault(task.file, f"stamp, {name}", short(said), short(wanted))
    if task.listed is not None and stamp.failed != task.listed.failed:
        found, expected = short(list(stamp.failed)), short(list(task.listed.failed))
        yield SetFault(task.file, "stamp, failed", found, expected)


def _failed(task: ShardTask, stamp: Stamp | None) -> tuple[FailedImage, ...]:
    if task.listed is not None:
        return task.listed.failed
    return stamp.failed if stamp is not None else ()


def _read(task: ShardTask, file: Any) -> Any:
    """Return the shard as an Arrow table, or the fault that prevents reading it."""
    import pyarrow
    import pyarrow.parquet

    try:
        require_bounded(file, shown=task.file)
        # Threads take a third more CPU time for a file in memory.
        table = pyarrow.parquet.ParquetFile(file).read(use_threads=False)
        table.validate(full=True)
        return table
    except UserError as error:
        found = str(error).removeprefix(f"{task.file}: ")
        return SetFault(task.file, "content", found, "rows of about the size of the file")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        return SetFault(
            task.file, "content", f"not readable as Parquet ({reason})", "a complete file"
        )


def _schema_faults(
    task: ShardTask, found: pyarrow.Schema, wanted: pyarrow.Schema
) -> Iterator[SetFault]:
    if found.names != wanted.names:
        yield SetFault(task.file, "schema", short(found.names), short(wanted.names))
        return
    if found.equals(wanted) and _described(found) == _described(wanted):
        # Equal types and descriptions are equal features, and datasets takes a second to import.
        return
    from datasets import Features

    features = Features.from_arrow_schema(wanted)
    try:
        read: Mapping[str, Any] = Features.from_arrow_schema(found)
    except (ValueError, TypeError, KeyError) as error:
        yield SetFault(task.file, "schema", short(str(error)), "features that datasets reads")
        return
    for name, feature in features.items():
        if read[name] != feature:
            yield SetFault(task.file, f"schema of {name}", short(read[name]), short(feature))


def _described(one: pyarrow.Schema) -> bytes | None:
    """Return the part of a schema's metadata from which datasets reads features."""
    return (one.metadata or {}).get(b"huggingface")


def _plan_faults(
    task: ShardTask, recipe: ResolvedRecipe, table: Any, *, failed: frozenset[int]
) -> Iterator[SetFault]:
    """Yield the rows that differ from the plan, column by column within a row."""
    skipped = (schema.IMAGE, *task.measured)
    columns = {
        name: table.column(name).to_pylist() for name in table.column_names if name not in skipped
    }
    rows = _planned_rows(task, recipe, columns[schema.ATTEMPT], failed=failed)
    # Whole columns are compared much faster than values.
    planned = {name: column_of(rows, name) for name in columns}
    different = [name for name, values in columns.items() if values != planned[name]]
    for number in range(len(rows) if different else 0):
        for name in different:
            found, expected = columns[name][number], planned[name][number]
            if found != expected:
                yield SetFault(task.file, name, short(found), short(expected), row=number)


def _planned_rows(
    task: ShardTask, recipe: ResolvedRecipe, stored: Sequence[Any], *, failed: frozenset[int]
) -> list[ImageSpec]:
    """Return the planned rows of a shard, each of the attempt that is stored."""
    attempts = int(task.stamp.settings["attempts"])
    specs = plan(recipe).rows(task.images.start, task.images.stop)
    kept = [spec for at, spec in zip(task.images, specs, strict=True) if at not in failed]
    return [
        # A later attempt starts from other noise, determined by its number.
        spec.again(attempt) if attempt and attempt in range(attempts) else spec
        for spec, attempt in zip(kept, stored, strict=True)
    ]


def balance_faults(
    name: str, labels: Counter[int], names: Sequence[str], recipe: ResolvedRecipe | None
) -> list[SetFault]:
    """Return a fault for each class of a config with more or fewer images than planned.

    Args:
        name: Name of the config.
        labels: Its images by label, failed ones included.
        names: Class names.
        recipe: Its recipe; None if it cannot be read.
    """
    planned = [labels.total() // len(names)] * len(names)
    if recipe is not None and recipe.rows and len(recipe.classes) == len(names):
        planned = list(recipe.class_counts)
    uneven = [
        SetFault(f"data/{name}", f"label balance of {one}", str(labels[label]), str(planned[label]))
        for label, one in enumerate(names)
        if labels[label] != planned[label]
    ]
    return first_few(uneven)
