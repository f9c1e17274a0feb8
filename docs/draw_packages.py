"""Writes docs/packages.svg and the table of packages in docs/design.md, from the code.

Run it with `make graph`. The layers are those of the import-linter contract in `pyproject.toml`;
everything else is read from the code.
"""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from factory.common.plot_style import own_style

OTHERS = ("train", "eval")
ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- packages: written by `make graph` -->", "<!-- end of packages -->"
INK, SOFT, GRID = "#1f2933", "#627282", "#d9e0e7"


@cache
def layers() -> list[str]:
    """Return the packages of factory from the lowest layer to the highest."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    found = next(one for one in contracts["contracts"] if one.get("containers") == ["factory"])
    return [name for layer in reversed(found["layers"]) for name in layer.split(" | ")]


def package_of(name: str) -> str:
    """Return the package of a dotted module name: `factory.X` as X, else one of `OTHERS`."""
    parts = name.split(".")
    return parts[1] if parts[0] == "factory" and len(parts) > 1 else parts[0]


def folder_of(package: str) -> Path:
    """Return the folder of a package."""
    return ROOT / package if package in OTHERS else ROOT / "factory" / package


def imports() -> Counter[tuple[str, str]]:
    """Count the import statements from one package to another."""
    found = Counter((package, package_of(name)) for package, name in _imported())
    return Counter({pair: number for pair, number in found.items() if pair[0] != pair[1]})


@cache
def _imported() -> list[tuple[str, str]]:
    """Return each imported module of ours, with the package that imports it."""
    return [
        (package, name)
        for package in packages()
        for path in sorted(folder_of(package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _names(node)
        if package_of(name) in packages()
    ]


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom) and node.module:
        # `from factory.hub import client` imports a module, `from factory.hub.client import x` too.
        if node.module.count(".") < 2 and node.module.startswith("factory"):
            return [f"{node.module}.{alias.name}" for alias in node.names]
        return [node.module]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def packages() -> list[str]:
    """Return all packages, lowest first."""
    return [*layers(), *OTHERS]


def purpose(package: str) -> str:
    """Return the first line of a package's docstring."""
    text = (folder_of(package) / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").splitlines()[0].replace("`", "")


def size(package: str) -> tuple[int, int]:
    """Return the number of modules and lines of a package."""
    files = [path for path in folder_of(package).rglob("*.py") if path.name != "__init__.py"]
    return len(files), sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def draw(path: Path) -> None:
    """Write the figure as SVG; the same code gives the same bytes on one machine."""
    names = list(reversed(packages()))
    count, between = len(names), imports()
    with own_style({"svg.hashsalt": "packages", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(12, 0.36 * count + 1.5))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 36.5), ylim=(-0.6, count + 2.6))
        axes.axis("off")
        left, top = 18.2, max(between.values())
        for row, name in enumerate(names):
            y = count - 1 - row
            modules, lines = size(name)
            axes.text(0.3, y, name, va="center", color=INK, weight="bold", size=10)
            axes.text(3.5, y, purpose(name), va="center", color=INK)
            axes.text(left - 0.4, y, f"{modules} | {lines:,}", va="center", ha="right", color=SOFT)
            axes.plot([0.2, left + count], [y - 0.5, y - 0.5], color=GRID, lw=0.6)
            axes.text(left + row + 0.5, count - 0.2, name, rotation=60, color=INK, va="bottom")
            axes.plot([left + row] * 2, [-0.5, count - 0.5], color=GRID, lw=0.6)
            _cell(axes, left + row, y, color=GRID)
            for column, other in enumerate(names):
                number = between[name, other]
                if number:
                    shade = 0.18 + 0.6 * (number / top) ** 0.5
                    _cell(axes, left + column, y, color="#2f6fb0", alpha=shade)
                    place = {"ha": "center", "va": "center", "size": 8}
                    ink = "white" if shade > 0.5 else INK
                    axes.text(left + column + 0.5, y, str(number), color=ink, **place)
        axes.text(left - 0.4, count - 0.1, "modules | lines", ha="right", color=SOFT)
        title = "Packages, highest layer first"
        axes.text(0.3, count + 1.6, title, color=INK, size=12, weight="bold")
        legend = "A number: how often the row's package imports from the column's."
        axes.text(0.3, count + 0.8, legend, color=SOFT)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def table() -> str:
    """Return the table of packages as Markdown, lowest layer first."""
    found = imports()
    lines = ["| package | purpose | imports | used by others |", "|---|---|---|---|"]
    for package in packages():
        below = [name for name in packages() if found[package, name]]
        own = "all modules" if package == "common" else ", ".join(sorted(faces()[package]))
        lines.append(f"| `{package}` | {purpose(package)} | {', '.join(below)} | {own} |")
    return "\n".join(lines)


def faces() -> dict[str, set[str]]:
    """Return the modules of each package that other packages import."""
    found: dict[str, set[str]] = {package: set() for package in packages()}
    for package, name in _imported():
        parts = [*name.split("."), ""]
        owner, module = package_of(name), parts[2] if parts[0] == "factory" else ""
        if owner != package and (folder_of(owner) / f"{module}.py").is_file():
            found[owner].add(module)
    return found


def write_table(page: Path) -> None:
    """Put the table into a page, between its two marks."""
    before, rest = page.read_text(encoding="utf-8").split(f"{BEGIN}\n")
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


def _cell(axes: Any, x: float, y: float, **style: Any) -> None:
    axes.fill([x, x + 1, x + 1, x], [y - 0.5, y - 0.5, y + 0.5, y + 0.5], lw=0, **style)


if __name__ == "__main__":
    draw(ROOT / "docs" / "packages.svg")
    write_table(ROOT / "docs" / "design.md")
