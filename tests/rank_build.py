"""A rank of a build for tests: a renderer without a model, under any real launcher.

torchrun --nproc-per-node 2 tests/rank_build.py RECIPE OUT [SECONDS_PER_BATCH]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from fault_parts import generate

from factory.builder.ranks import leave
from factory.common.entry import run_main


def main() -> None:
    recipe, out, *seconds = sys.argv[1:]
    report = generate([Path(recipe)], Path(out), batch_s=float(seconds[0]) if seconds else 0.0)
    sys.stdout.write(f"{report.generated} generated, {report.kept} kept\n")
    leave()


if __name__ == "__main__":
    run_main(main)
