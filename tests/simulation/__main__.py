"""A thousand ranks on a simulated clock: the real claiming code under failures and stragglers.

Only time and storage are simulated. Ranks take their turns from
`factory.builder.task_queue.Worklist` and settle who makes a shard by
`factory.builder.claims.Claims`, as a build does; what they share is a dictionary, and drawing a
shard is an entry in a calendar. Ranks die with their claims held, restart later, are slow, or stop
for longer than a claim lives and wake up again as if nothing had happened.

    python tests/simulation --ranks 1000 --shards 20000
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

if not __package__:
    # Run as a folder, sys.path[0] is the folder itself: put its parent there instead.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from factory.common import console
from simulation.machines import Simulation
from simulation.scenario import Scenario


def main() -> None:
    """Simulate from the command line and print what came out."""
    parser = argparse.ArgumentParser(prog="python tests/simulation", description=__doc__)
    for name, value in asdict(Scenario()).items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(value), default=value, help=f"default {value}")
    outcome = Simulation(Scenario(**vars(parser.parse_args()))).run()
    console.write(json.dumps(asdict(outcome) | {"over_ideal": outcome.over_ideal}, indent=2))


if __name__ == "__main__":
    main()
