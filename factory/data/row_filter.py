"""Row filters over metadata columns: `guidance_scale < 3 and domain in ("photo", "sketch")`.

An expression is parsed with Python's grammar and translated to an Arrow expression node by node.
Nothing is executed as code: only the comparisons, names and literals listed here are supported.
"""

from __future__ import annotations

import ast
import functools
import keyword
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.row_options import row_option
from factory.common.text import plural, suggest

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


_OF_FILTERS = {"and", "or", "not", "in", "is", "None", "True", "False"}


class FilterError(UserError):
    """An invalid filter; its message names no option, since the viewer has none."""


@contextmanager
def filter_option() -> Iterator[None]:
    """Name the option or key of the filter in errors, for commands that have one."""
    try:
        yield
    except FilterError as error:
        raise UserError(f"{row_option('filter')} {error}") from None


def is_comparable(name: str) -> bool:
    """Return whether a filter can name a column."""
    return name.isidentifier() and not keyword.iskeyword(name)


def check_syntax(expression: str) -> None:
    """Reject an expression that is no filter, whatever columns there are.

    Raises:
        UserError: It cannot be parsed. One with a reserved word, which may be the name of a column,
            is not rejected.
    """
    words = set(re.findall(r"\w+", expression))
    if not words & set(keyword.kwlist) <= _OF_FILTERS:
        return
    with filter_option():
        _parse(expression, [])


def filter_rows(dataset: datasets.Dataset, expression: str) -> datasets.Dataset:
    """Return the rows of `dataset` that match `expression`, in order.

    A comparison with null is false. Class labels are compared by name or by number.

    Args:
        dataset: Any dataset; only columns in the expression are read.
        expression: Comparisons (`<`, `<=`, `>`, `>=`, `==`, `!=`, `in`, `not in`, `is None`,
            `is not None`) of columns with literals, joined by `and`, `or`, `not` and parentheses.

    Raises:
        UserError: The expression is invalid, uses an unknown column, or matches no row.
    """

    def read(names: list[str]) -> pa.Table:
        return dataset.select_columns(names).with_format("arrow")[:]

    with filter_option():
        rows = matching_rows(expression, dataset.features, read)
        if not len(rows):
            raise _fault(expression, f"it matches none of {plural(len(dataset), 'row')}")
    return dataset.select(rows)


def matching_rows(
    expression: str, features: Mapping[str, Any], read: Callable[[list[str]], pa.Table]
) -> NDArray[np.int64]:
    """Return the numbers of the rows that match an expression, ascending; maybe none.

    Args:
        expression: See `filter_rows`.
        features: All columns, with their types of `datasets`.
        read: Returns a table of some columns.

    Raises:
        FilterError: The expression is invalid, or uses an unknown column.
    """
    import numpy as np
    import pyarrow
    import pyarrow.compute as pc
    import pyarrow.dataset

    tree = _parse(expression, list(features))
    columns = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
    _check_columns(columns, features, expression)
    used = {name: features[name] for name in columns}
    condition = _Translator(expression, used).visit(tree.body)
    if not isinstance(condition, pc.Expression):
        raise _fault(expression, "it compares no column; write e.g. guidance_scale < 3")
    table = read(columns)
    table = table.append_column("__row__", [np.arange(table.num_rows)])
    try:
        kept = pyarrow.dataset.dataset(table).to_table(columns=["__row__"], filter=condition)
    except (
        pyarrow.ArrowInvalid,
        pyarrow.ArrowNotImplementedError,
        pyarrow.ArrowTypeError,
    ) as error:
        raise _fault(expression, f"these columns and values cannot be compared ({error})") from None
    return np.sort(kept["__row__"].to_numpy())


def _parse(expression: str, known: Sequence[str]) -> ast.Expression:
    if len(expression) > 2000:
        raise _fault(expression[:40], f"longer than 2000 characters ({len(expression)})")
    try:
        return ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or type(error).__name__
        reason = _reserved(expression, known) or f"{reason}; write e.g. guidance_scale < 3"
        raise _fault(expression, reason) from None


def _reserved(expression: str, known: Sequence[str]) -> str | None:
    """Return advice for a column whose name is a reserved word, if the expression uses one."""
    unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", expression)
    if re.search("['\"]", unquoted):
        return None  # Unclosed quote: the rest may be text.
    for word in ("class", *filter(keyword.iskeyword, known)):
        if not re.search(rf"\b{word}\b", unquoted):
            continue
        if word == "class" and "label" in known:
            return "class is a reserved word; compare label, e.g. label == 'cat'"
        return f"{word} is a reserved word, and a column of that name cannot be compared"
    return None


def _check_columns(names: Sequence[str], features: Mapping[str, Any], expression: str) -> None:
    known = [name for name in features if is_comparable(name)]
    # An image can be compared with None only.
    compared = [name for name in known if type(features[name]).__name__ != "Image"]
    for name in names:
        if name not in known:
            hint = suggest(name, compared, otherwise="columns")
            raise _fault(expression, f"no column {name}; {hint}")


def _fault(expression: str, message: str) -> FilterError:
    return FilterError(f"{expression!r}: {message}")


class _Translator(ast.NodeVisitor):
    """Turns an expression tree into an Arrow expression and rejects unknown nodes."""

    def __init__(self, expression: str, features: dict[str, Any]) -> None:
        self.expression = expression
        self.features = features

    def generic_visit(self, node: ast.AST) -> Any:
        kind = type(node).__name__
        raise _fault(self.expression, f"{kind} is not allowed; compare columns with literals")

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        return functools.reduce(join, map(self.visit, node.values))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return ~self.visit(node.operand)
        return self._literal(node)

    def visit_Compare(self, node: ast.Compare) -> Any:
        sides = [node.left, *node.comparators]
        return functools.reduce(operator.and_, map(self._one, sides, node.ops, sides[1:]))

    def visit_Name(self, node: ast.Name) -> Any:
        import pyarrow.compute as pc

        if self._dtype(node.id) != "bool":
            hint = f"compare it, e.g. {node.id} == ..."
            raise _fault(self.expression, f"a bare column must be true or false; {hint}")
        return pc.field(node.id)

    def _dtype(self, column: str) -> str:
        """Return the column's type in plain words; nested columns are `other`."""
        dtype = str(getattr(self.features[column], "dtype", "other"))
        kinds = {"string": "text", "large": "text", "int": "whole number", "uint": "whole number"}
        kinds |= {"float": "number", "double": "number", "bool": "bool"}
        return next((kind for start, kind in kinds.items() if dtype.startswith(start)), "other")

    def _one(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Any:
        import pyarrow.compute as pc

        if not isinstance(left, ast.Name):
            if not isinstance(right, ast.Name) or type(op) not in _COMPARE:
                raise _fault(self.expression, "one side of a comparison must be a column")
            column, literal = self._sides(right.id, left)
            return _COMPARE[type(op)](literal, column)
        field = pc.field(left.id)
        if isinstance(op, ast.Is | ast.IsNot):
            if self._literal(right) is not None:
                raise _fault(self.expression, "`is` compares with None only; use ==")
            return field.is_null() if isinstance(op, ast.Is) else field.is_valid()
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise _fault(self.expression, f"`in` needs a list, e.g. {left.id} in ['a', 'b']")
            inside = field.isin([self._value(left.id, item) for item in right.elts])
            return inside if isinstance(op, ast.In) else ~inside & field.is_valid()
        if isinstance(right, ast.Name):
            return _COMPARE[type(op)](field, pc.field(right.id))
        return _COMPARE[type(op)](*self._sides(left.id, right))

    def _sides(self, name: str, node: ast.expr) -> tuple[Any, Any]:
        """Return a column and a literal in one type, so that equal numbers compare as equal."""
        import pyarrow as pa
        import pyarrow.compute as pc

        field, value = pc.field(name), self._value(name, node)
        dtype = str(getattr(self.features[name], "dtype", ""))
        if dtype in ("float16", "float32") and isinstance(value, int | float):
            # 1.1 differs between 32 and 64 bits.
            return field, pc.scalar(pa.scalar(value, dtype))
        if dtype.startswith(("int", "uint")) and isinstance(value, float):
            if value.is_integer() and abs(value) < 2**63:
                return field, pc.scalar(int(value))
            # Arrow rejects columns with numbers beyond 2**53, such as seeds.
            return field.cast("float64", safe=False), pc.scalar(value)
        return field, pc.scalar(value)

    def _value(self, column: str, node: ast.expr) -> Any:
        value, names = self._literal(node), getattr(self.features[column], "names", None)
        if names is None:
            kind = self._dtype(column)
            if value is not None and (kind == "text") != isinstance(value, str):
                found = "a text" if isinstance(value, str) else "not a text"
                raise _fault(self.expression, f"{column} is a {kind} column, {value!r} is {found}")
            return value
        if not isinstance(value, str):
            return value
        if value not in names:
            hint = suggest(value, names, otherwise="classes")
            raise _fault(self.expression, f"column {column} has no class {value!r}; {hint}")
        return names.index(value)

    def _literal(self, node: ast.expr) -> Any:
        with suppress(ValueError, TypeError, RecursionError):
            value = ast.literal_eval(node)
            if value is None or isinstance(value, int | float | str | bool):
                return value
        raise _fault(self.expression, f"{ast.unparse(node)} is not a number, a text or None")
