"""Run the commands of `docs/gallery.md`; write each section's contact sheet and time.

Run it with `make gallery`. It takes a few minutes on two cores.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from factory.common.console import write
from factory.common.entry import run_main

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "gallery.md"
FOLDER = DOCS / "images" / "gallery"
_TIME = re.compile(r"(<!-- time: -->\n).*?(<!-- end -->)", re.DOTALL)
_SIDE = 640
_QUALITY = 72


def commands(section: str) -> str:
    """Return the indented lines of a section."""
    return "\n".join(re.findall(r"^    (.*)", section, re.MULTILINE))


def slug(section: str) -> str:
    """Return the file name of a section, from its title."""
    return "-".join(re.findall(r"[a-z0-9]+", section.partition("\n")[0].lower()))


def built(section: str) -> str:
    """Run a section's commands; return it with its time and sheet."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with TemporaryDirectory() as folder:
        began = time.monotonic()
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands(section)],
            cwd=folder,
            env=environment,
            check=True,
        )
        seconds = time.monotonic() - began
        (sheet,) = Path(folder, "out").glob("*/card/contact-sheet.jpg")
        file = FOLDER / f"{slug(section)}.jpg"
        _shrink(sheet, file)
    title = section.partition("\n")[0]
    shown = f"![{title}: contact sheet](images/gallery/{file.name})"
    return _TIME.sub(rf"\1Time: {seconds:.0f} s.\n\n{shown}\n\2", section)


def _shrink(sheet: Path, file: Path) -> None:
    image = Image.open(sheet).convert("RGB")
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, quality=_QUALITY, optimize=True)


def main() -> None:
    """Write the page and its sheets."""
    head, *sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    for number, section in enumerate(sections):
        write(section.partition("\n")[0])
        sections[number] = built(section)
        PAGE.write_text("\n## ".join([head, *sections]), encoding="utf-8")


if __name__ == "__main__":
    run_main(main)
