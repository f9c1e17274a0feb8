"""Escape and shorten text for Markdown: cards, tables, headings."""

MOST_CHARACTERS = 200
_MARKS = ("\\", "|", "`", "<", "*", "_", "[", "]")
_STRUCTURE = ("|", "`", "<", "](")


def cell(text: object) -> str:
    """Return text for a line or table cell of Markdown, with all special characters escaped."""
    return _escaped(text, _MARKS)


def table_cell(text: object) -> str:
    """Return text for a table also read in terminals: only what breaks the table is escaped."""
    return _escaped(text, _STRUCTURE)


def code(text: object) -> str:
    """Return text for inline code: backticks are replaced."""
    return _one_line(text).replace("`", "'").replace("|", "/")


def _escaped(text: object, marks: tuple[str, ...]) -> str:
    line = _one_line(text)
    for mark in marks:
        line = line.replace(mark, f"{mark[:-1]}\\{mark[-1]}")
    return line


def _one_line(text: object) -> str:
    shown = "".join(mark if mark.isprintable() else " " for mark in str(text))
    line = " ".join(shown.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 3]}..."
