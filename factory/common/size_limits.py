"""How much memory the rows of a file from others may take, by the size of the file."""

from dataclasses import dataclass
from typing import NoReturn

from factory.common.errors import UserError

SPARE_BYTES = 128 << 20
RATIO = 100
"""Files of images hardly shrink when compressed; files of numbers and texts rarely 30 times."""


@dataclass(frozen=True)
class Extra:
    """Bytes that rows take once they have the declared columns and types.

    A missing value of a type with a fixed length is as long as any other.

    Attributes:
        per_row: For each row.
        per_value: For each value, also inside lists.
    """

    per_row: int = 0
    per_value: int = 0

    def require_bounded(self, num_rows: int, num_values: int, *, size: int, shown: str) -> int:
        """Return the bytes of a number of rows and values, unless they are too many.

        Raises:
            UserError: They are more than the file's size in bytes allows.
        """
        found = num_rows * self.per_row + num_values * self.per_value
        if found > most_bytes(size):
            refuse_expansion(shown, size, advice="declare fewer columns, and shorter lists")
        return found


NOTHING = Extra()


def most_bytes(size: int) -> int:
    """Return how many bytes the rows of a file of `size` bytes may take."""
    return SPARE_BYTES + RATIO * size


def refuse_expansion(shown: str, size: int, *, advice: str) -> NoReturn:
    """Reject a file whose rows may take more.

    Raises:
        UserError: Always.
    """
    raise UserError(
        f"{shown}: its {size:,} bytes would become more than {most_bytes(size):,} bytes of rows; "
        f"{advice}"
    )
