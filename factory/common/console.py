"""Terminal output shared by the three packages: log lines, progress bars, plain tables.

Results go to stdout, everything else to stderr.
"""

import argparse
import difflib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn, cast

from factory.common.redaction import for_json, for_terminal, one_line
from factory.common.text import expected_word, suggest

_bars_hidden = False
# How argparse begins the message about a value.
_FAULT = "argument "
_EXCLUSIVE = re.compile(r"(\S+): not allowed with argument (\S+)")
_KINDS = {int: "a whole number", float: "a number"}


class Parser(argparse.ArgumentParser):
    """Accept old spellings with a hint, and suggest the closest word for an unknown one.

    Values of unknown options may be secrets and are not repeated.
    """

    _given: Sequence[str] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Python 3.14 and newer colour helps and errors.
        self.color = False
        self._new_names: dict[str, str] = {}
        self._old_lists: set[str] = set()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Reject unknown options in the command's own parser, which knows its options."""
        self._given = self._respelt(list(sys.argv[1:] if args is None else args))
        found, unknown = super().parse_known_args(list(self._given), namespace)
        if unknown and not self._subparsers:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        quiet = getattr(found, "quiet", False)
        show_bars(not quiet, libraries=getattr(found, "quiet_libraries", True))
        return found, unknown

    def _respelt(self, words: list[str]) -> list[str]:
        """Return the words with old spellings replaced, each with a hint."""
        found: list[str] = []
        while words:
            word, *words = words
            if word == "--":
                return [*found, word, *words]
            option, equals, value = word.partition("=")
            new = self._new_names.get(option, option)
            if option in self._old_lists and (equals or (words and words[0][:1] != "-")):
                if not equals:
                    value, *words = words
                if not value.strip(" ,"):
                    self.error(f"{_FAULT}{option} {shlex.quote(value)}: is empty; name a value")
                found += _repeated(option, new, value)
                continue
            if new != option:
                _hint(f"{option} is now called {new}")
            found.append(f"{new}{equals}{value}")
        return found

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Convert a value; a wrong one is reported as `--option VALUE: what is expected`."""
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            kind = _KINDS.get(cast("Any", action.type))
            expected = f"expected {kind}" if kind else error.message
            raise _wrong(action, arg_string, expected) from None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Reject a word that is none of an option's, or no command."""
        if action.choices is not None and value not in action.choices:
            known = [*action.choices]
            if isinstance(action, argparse._SubParsersAction):
                hint = suggest(value, known, otherwise="known")
                raise argparse.ArgumentError(None, f"{_FAULT}{value}: unknown command; {hint}")
            raise _wrong(action, value, expected_word(str(value), known))

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 after a one-line message, and the usage unless a value is wrong."""
        if message.startswith(_FAULT):
            fault = message.removeprefix(_FAULT)
            fault = _EXCLUSIVE.sub(r"\1 cannot be used with \2; remove one of them", fault)
            self.exit(2, f"{for_terminal(fault)}\n")
        start, colon, given = message.partition("unrecognized arguments: ")
        options = [one.partition("=")[0] for one in given.split() if one.startswith("-")]
        # Values of unknown options may be secrets.
        shown = f"{start}{colon}{' '.join(options)}" if options else message
        found = (self._nearest(word.partition("=")[0]) for word in self._given)
        near = dict(filter(None, found))
        hints = ", ".join(f"{known} instead of {word}" for word, known in near.items())
        if len(options) == 1 and options == [*near]:
            # The message names it already.
            hints = near[options[0]]
        super().error(for_terminal(f"{shown}; did you mean {hints}?" if hints else shown))

    def _nearest(self, word: str) -> tuple[str, str] | None:
        """Return an unknown option and the most similar one."""
        known = list(self._option_string_actions) if word.startswith("-") else []
        if any(one.startswith(word) for one in known):
            return None
        near = difflib.get_close_matches(f"--{word.strip('-')}", known, n=1)
        return (word, near[0]) if near else None


def _wrong(action: argparse.Action, value: Any, expected: str) -> argparse.ArgumentError:
    name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
    return argparse.ArgumentError(None, f"{_FAULT}{name} {value}: {expected}")


def renamed(
    parser: argparse.ArgumentParser, old: str, new: str, *, had_commas: bool = False
) -> None:
    """Keep an old spelling of an option working, with a hint on stderr.

    Args:
        parser: The parser of the command.
        old: The option's name before.
        new: Its name now; the same if only `had_commas` changed.
        had_commas: The option took a list separated by commas; now it is repeated.
    """
    assert isinstance(parser, Parser), "an argparse parser knows no old spellings"
    assert new in parser._option_string_actions, f"{new} is not an option yet"
    parser._new_names[old] = new
    if had_commas:
        # The new name was an abbreviation of the old one, and took the same list.
        parser._old_lists |= {old, new}


def _repeated(option: str, new: str, text: str) -> list[str]:
    """Return the words of an option that is given once for each value of a list."""
    values = [value.strip() for value in text.split(",") if value.strip()]
    if option == new and len(values) == 1:
        return [f"{option}={text}"]
    shown = " ".join(f"{new} {shlex.quote(value)}" for value in values)
    _hint(f"{option} {shlex.quote(text)} is read as {shown}")
    return [f"{new}={value}" for value in values]


def _hint(text: str) -> None:
    if launched_as()[0] == 0:
        log(text)


def write_json(document: Any, *, indent: int | None = 2) -> None:
    """Write one JSON document to stdout, without secrets and control characters.

    Args:
        document: Plain values.
        indent: Spaces per level; None for one line.
    """
    sys.stdout.write(f"{for_json(document, indent=indent)}\n")


def write(text: str = "") -> None:
    """Write a line of results to stdout."""
    sys.stdout.write(f"{for_terminal(text)}\n")


def launched_as() -> tuple[int, int]:
    """Return this process's rank and the number of processes, as set by its launcher.

    (0, 1) for a single process, even if another launch left variables in the environment.
    """
    rank, world_size = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    if not (rank.isdecimal() and world_size.isdecimal()) or int(world_size) < 2:
        return 0, 1
    return int(rank), int(world_size)


def log(text: str) -> None:
    """Write a log line to stderr; of several processes, all but the first name their rank."""
    rank, _ = launched_as()
    prefix = f"[rank {rank}] " if rank else ""
    _leave_bars()
    sys.stderr.write(f"{prefix}{for_terminal(text)}\n")
    sys.stderr.flush()


def log_loading() -> None:
    """Log that libraries are loaded, which takes seconds, so that a user sees a sign of life.

    Nothing is logged with `--quiet`, by further processes of a launch, or if torch is there.
    """
    if not (_bars_hidden or launched_as()[0] or "torch" in sys.modules):
        log("loading the libraries")


def show_bars(shown: bool, *, libraries: bool = True) -> None:
    """Show progress bars, or hide them (`--quiet`), with or without those of huggingface_hub."""
    global _bars_hidden
    _bars_hidden = not shown
    if not shown and libraries:
        # Read by huggingface_hub when it is imported.
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def close_bars() -> None:
    """Close every open progress bar, so that the next output starts on a new line."""
    for bar in _open_bars():
        bar.close()


def _leave_bars() -> None:
    """Move the cursor to the start of a line; a bar reappears at its next update."""
    for bar in _open_bars():
        if sys.stderr.isatty():
            bar.clear()
        elif getattr(bar, "left_at", None) != bar.last_print_t:
            bar.left_at = bar.last_print_t
            sys.stderr.write("\n")


def _open_bars() -> list[Any]:
    # Without tqdm there is no bar; importing it here would slow down every command.
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    return [bar for bar in list(getattr(tqdm, "_instances", ())) if not bar.disable]


def progress(
    total: int,
    *,
    unit: str,
    description: str,
    initial: int = 0,
    show: bool = True,
    in_bytes: bool = False,
) -> Any:
    """Return a tqdm bar with rate and time left.

    Without a terminal it writes a line every 30 s, to keep logs readable, and never moves the
    cursor: a bar inside another one has its own line.

    Args:
        total: Total number of units.
        unit: Name of a unit, singular, e.g. `image`.
        description: Label of the bar.
        initial: Units done before this run; they count in the bar but not in the rate.
        show: False on ranks that should be silent.
        in_bytes: Units are bytes, shown as kB, MB, GB.
    """
    terminal = sys.stderr.isatty()
    if not terminal and show and not _bars_hidden:
        _leave_bars()
    return _bar_class()(
        total=total,
        initial=initial,
        unit="B" if in_bytes else f" {unit}s",
        unit_scale=in_bytes,
        desc=description,
        disable=_bars_hidden or not show,
        dynamic_ncols=terminal,
        ncols=None if terminal else 100,
        position=None if terminal else 0,
        mininterval=0.2 if terminal else 30.0,
        maxinterval=10.0 if terminal else 60.0,
        file=sys.stderr,
    )


@cache
def _bar_class() -> Any:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        """A bar of tqdm that writes `2.18s/image` instead of `2.18s/ images`."""

        @staticmethod
        def format_meter(*args: Any, **given: Any) -> str:
            unit: str = given["unit"]
            right = f"s/{unit.strip().removesuffix('s')}"
            return tqdm.format_meter(*args, **given).replace(f"s/{unit}", right)

    return Bar


def table(rows: Sequence[Sequence[str]], *, header: Sequence[str] = (), align: str = "") -> str:
    """Format rows as a plain text table.

    Args:
        rows: Cells as text; all rows have the same length.
        header: Column titles, optional.
        align: One letter per column, `l` or `r`; missing ones are `l`.
    """
    lines = [[one_line(cell) for cell in row] for row in ([header] if header else []) + [*rows]]
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    align = align.ljust(len(widths), "l")

    def one(line: Sequence[str]) -> str:
        cells = [
            c.rjust(w) if a == "r" else c.ljust(w)
            for c, w, a in zip(line, widths, align, strict=True)
        ]
        return "  ".join(cells).rstrip()

    text = [one(line) for line in lines]
    if header:
        text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)
