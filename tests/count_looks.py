"""A rank of a build that counts how often it lists shards and reads the manifest.

torchrun --nproc-per-node 2 tests/count_looks.py RECIPES OUT COUNTS writes COUNTS-RANK.json.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from build_parts import SETTINGS, FakeRenderer

from factory.builder.build import build
from factory.builder.ranks import leave
from factory.common.entry import run_main
from factory.recipe.library import load_recipes


def main() -> None:
    recipes, out, counts = sys.argv[1:]
    seen: Counter[str] = Counter()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        """Count listings by name of the folder, and files opened for reading by name."""
        if event == "os.listdir" and arguments[0] is not None:
            path = Path(os.fsdecode(arguments[0]))
            if path.parent == Path(out) / "data":
                seen[path.name] += 1
        elif event == "open" and isinstance(arguments[0], str | os.PathLike):
            path = Path(os.fsdecode(arguments[0]))
            if path.name == "manifest.json" and (arguments[1] or "r").startswith("r"):
                seen[path.name] += 1

    sys.addaudithook(watch)
    report = build(
        load_recipes(recipes),
        out,
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=FakeRenderer,
    )
    path = Path(f"{counts}-{os.environ.get('RANK', '0')}.json")
    path.write_text(json.dumps(seen | {"generated": report.generated}))
    leave()


if __name__ == "__main__":
    run_main(main)
