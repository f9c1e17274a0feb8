"""Write parts of pages from the program: all commands from their parsers, and the models."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence

from factory.cli import models
from factory.common.program import NAME, start_of
from factory.models.presets import PRESETS

# As wide as a code block of the page.
_WIDTH = 88


def reference(parser: argparse.ArgumentParser) -> str:
    """Return Markdown: one section per command of a parser, with its usage and arguments."""
    return "\n\n".join(_sections(parser))


def model_tables() -> str:
    """Return the models known by name as two Markdown tables: settings, and needs."""
    return "\n\n".join(
        _grid(header, [cells(one) for one in PRESETS])
        for header, cells in ((models.SETTINGS, models.settings), (models.NEEDS, models.needs))
    )


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sections(parser: argparse.ArgumentParser) -> Iterator[str]:
    inner = next(
        (one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None
    )
    if inner is None:
        yield _section(parser)
        return
    for one in inner.choices.values():
        yield from _sections(one)


def _section(parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=_WIDTH)
    usage = textwrap.dedent(parser.format_usage().replace("usage: ", " " * 7, 1)).rstrip()
    rows = [
        f"| {_name(one)} | {_cell(_help(parser, one))} |"
        for one in parser._actions
        if not isinstance(one, argparse._HelpAction) and one.help != argparse.SUPPRESS
    ]
    table = "\n".join(["| argument | meaning |", "|---|---|", *rows]) if rows else ""
    text = _named(parser.description or "")
    return f"## {parser.prog}\n\n{_cell(text)}\n\n```text\n{usage}\n```\n\n{table}"


def _name(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    shown = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return f"`{shown}`"
    if action.choices is not None and action.metavar is None:
        shown = "{" + ",".join(str(one) for one in action.choices) + "}"
    return f"`{', '.join(action.option_strings)}{f' {shown}' if action.nargs != 0 else ''}`"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return _named(parser._get_formatter()._expand_help(action)) if action.help else ""


def _named(text: str) -> str:
    """Return a help text whose command lines are those of the console script."""
    for package in ("factory", "train", "eval"):
        here = start_of(package)
        if here != NAME:
            text = text.replace(here, f"{NAME} train" if package == "train" else NAME)
    return text


def _cell(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    for mark in r"\`*_<>[]|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
