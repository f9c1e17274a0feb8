"""Fill the templates: one HTML file that needs no network and no other file.

Texts of datasets and runs come from strangers: templates escape all of them, JSON is embedded
without markup characters, and the page's policy allows no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eval.report_page import charts, text
from eval.report_page.gather import Report
from eval.report_page.headline import Table
from eval.report_page.sheets import ImageEntry
from factory.common.version import VERSION

_FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A section of the page; `template` is in `templates/`."""

    key: str
    title: str

    @property
    def template(self) -> str:
        """File name of its template."""
        return f"{self.key}.html.jinja"


SECTIONS = (
    Section("scores", "Scores on real images"),
    Section("curves", "Learning curves"),
    Section("classes", "Accuracy per class"),
    Section("confusion", "Confusion"),
    Section("calibration", "Calibration"),
    Section("images", "Images"),
    Section("variation", "Guidance and variables"),
    Section("space", "Real and synthetic images"),
    Section("duplicates", "Near-duplicates"),
    Section("margins", "Weakest images"),
    Section("measured", "Measured by gates"),
    Section("cost", "Cost"),
    Section("versions", "Versions and settings"),
    Section("commands", "Commands"),
    Section("shortfalls", "What fell short"),
)


class Entries:
    """Numbers the images that open a row, and collects the rows."""

    def __init__(self) -> None:
        """Start without images."""
        self._columns: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []

    def add(self, entry: ImageEntry) -> int:
        """Return the number of an image."""
        for name in entry.row:
            self._columns.setdefault(name, len(self._columns))
        self._rows.append(
            {
                "config": entry.config,
                "label": text.name(entry.label),
                "values": [entry.row.get(name) for name in self._columns],
            }
        )
        return len(self._rows) - 1

    @property
    def data(self) -> dict[str, Any]:
        """The rows for the page's script."""
        return {"columns": [text.name(name) for name in self._columns], "rows": self._rows}


def render(report: Report) -> str:
    """Return the page."""
    environment = _environment()
    entries = Entries()
    script = _file("theme.js") + _file("page.js")
    context = {
        "report": report,
        "entries": entries,
        "best": _best(report),
        "tiles": _tiles(report),
        "version": VERSION,
    }
    sections = [
        (section, environment.get_template(section.template).render(context))
        for section in SECTIONS
    ]
    page: str = environment.get_template("page.html.jinja").render(
        **context,
        sections=sections,
        style=_file("colours.css") + _file("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=entries.data,
    )
    return page


def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        name=text.name, number=text.number, seconds=text.seconds, signed=_signed
    )
    environment.globals.update(
        Scale=charts.Scale, marks=charts.marks, line_path=charts.line_path, count=text.count
    )
    return environment


def _signed(value: float, digits: int = 1) -> str:
    """Return a difference with its sign; the minus is a real one."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _best(report: Report) -> list[Table]:
    """Return the tables: those with the most real images first, then the best score.

    The highest score of several datasets is likely one of few images.
    """
    return sorted(report.tables, key=lambda table: (-table.real_images, -table.best.top1))


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    """Return the figures at the top: title, figure, what it is about."""
    dataset = report.dataset
    own = [name for name in dataset.stored if dataset.manifest.configs[name].kind == "set"]
    images = sum(dataset.rows(name) for name in own)
    configs = text.count(len(own), "config")
    classes = text.count(len(dataset.labels), "class", "classes")
    tiles = [("Images", f"{images:,}", f"{configs} of {classes}")]
    if report.tables:
        table = _best(report)[0]
        line = table.best
        tiles.append(
            ("Best accuracy", f"{line.top1:.1f} %", f"{text.name(line.row)}, {table.architecture}")
        )
        gain = line.difference
        if gain is not None:
            ends = "" if gain.low is None else f"{_signed(gain.low)} to {_signed(gain.high or 0)}, "
            shown = f"{ends}against {text.name(table.base)}"
            tiles.append(("Gain, points", _signed(gain.value), shown))
        tiles.append(
            (
                "Scored runs",
                f"{len(report.runs.scored):,}",
                f"on {text.count(table.real_images, 'real image')}",
            )
        )
    else:
        tiles.append(("Scored runs", "0", "give --runs to see scores"))
    return tiles
