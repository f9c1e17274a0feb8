"""Tables of rows are those of pyarrow. `test_build.py` checks that builds do not import pandas."""

import random
from collections.abc import Callable
from typing import Any

import pyarrow
import pytest

from factory.data.columns import arrow_schema
from factory.shards.row_table import row_table

TYPES = {"b": "bool", "d": "float64", "i": "int64", "s": "string"}
SCHEMA = arrow_schema(["cat", "dog"], TYPES)


def rows(count: int) -> list[dict[str, Any]]:
    """Return rows of all types that datasets have, with nulls and missing columns."""
    chance = random.Random(count)
    values: dict[str, Callable[[], Any]] = {
        "b": lambda: chance.random() < 0.5,
        "d": lambda: chance.choice([chance.random(), float("inf"), -0.0, 5e-324]),
        "i": lambda: chance.choice([-(2**63), 0, 2**63 - 1]),
        "s": lambda: chance.choice(["", "\u00e9\U0001f408" * 9, "a\0b"]),
    }
    return [
        {
            "image": {"bytes": chance.randbytes(chance.randrange(90)), "path": None},
            "label": number % 2,
            "guidance_scale": chance.gauss(0, 1e9),
            "attempt": number,
        }
        | {name: None if chance.random() < 0.3 else value() for name, value in values.items()}
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 8, 9, 300])
def test_a_table_is_that_of_pyarrow(count: int) -> None:
    wanted = pyarrow.Table.from_pylist(rows(count), schema=SCHEMA)
    table = row_table(rows(count), SCHEMA)
    table.validate(full=True)
    assert table.equals(wanted, check_metadata=True)
    # Row groups are cut by it.
    assert table.nbytes == wanted.nbytes


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pyarrow.uint64(), [2**64 - 1]),
        (pyarrow.list_(pyarrow.int64()), [[1, 2], None]),
        (pyarrow.float64(), [1, 2.5]),
        (pyarrow.struct({"x": pyarrow.int8()}), [{"x": 1}, None]),
    ],
)
def test_other_types_and_values_are_left_to_pyarrow(
    kind: pyarrow.DataType, values: list[Any]
) -> None:
    schema = pyarrow.schema({"x": kind, "y": pyarrow.int64()})
    given = [{"x": value, "y": 1} for value in values]
    assert row_table(given, schema).equals(pyarrow.Table.from_pylist(given, schema=schema))


def test_a_wrong_value_is_refused_as_by_pyarrow() -> None:
    with pytest.raises(pyarrow.ArrowInvalid, match="tried to convert to int64"):
        row_table([{"x": "1"}], pyarrow.schema({"x": pyarrow.int64()}))
