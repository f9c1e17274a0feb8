"""Run `docs/tour.ipynb` and store its outputs; `make tour` runs this."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from factory.common.console import write
from factory.common.entry import run_main

TOUR = Path(__file__).resolve().parent / "tour.ipynb"
_SECONDS_PER_CELL = 600


def run(notebook: Any, folder: Path) -> None:
    """Run a notebook in a folder; its cells get their outputs.

    Raises:
        CellExecutionError: A cell failed.
    """
    NotebookClient(
        notebook,
        # Sockets in the folder instead of ports, which other users of the machine could reach.
        km=AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(folder / ".kernel")),
        timeout=_SECONDS_PER_CELL,
        startup_timeout=_SECONDS_PER_CELL,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    ).execute()


def main() -> None:
    """Run the tour in an empty folder and write the outputs into the notebook."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # Bars and warnings of notebook libraries say nothing about the tour.
    os.environ |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
    notebook = nbformat.read(TOUR, as_version=4)
    with TemporaryDirectory() as folder:
        run(notebook, Path(folder))
        _tidy(notebook, folder)
    nbformat.write(notebook, TOUR)
    write(str(TOUR))


def _tidy(notebook: Any, folder: str) -> None:
    """Remove what differs on every run and every machine: the folder, and metadata."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = re.sub(rf"{re.escape(folder)}/?", "", output.text)
    notebook.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}


if __name__ == "__main__":
    run_main(main)
