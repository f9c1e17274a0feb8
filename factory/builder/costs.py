"""Record what a process of a build generated and how long it took, in a file of its own.

The files are in `OUT/.costs`, outside of what is compared and published: no byte of the dataset
depends on time. A process writes its file once, when it ends or is stopped by a signal, so several
processes and launches never write the same one. A process that is killed leaves none.
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from factory.common import console
from factory.common.devices import device_name
from factory.common.errors import Failure, first_line
from factory.common.local_paths import COSTS
from factory.common.storage import AnyPath, is_local, write_bytes


class Costs:
    """Images and seconds of this process, by config."""

    def __init__(self) -> None:
        """Start the clock of the whole process."""
        self._started = self._since = time.monotonic()
        self._config: str | None = None
        self._seconds: dict[str, float] = {}
        self._images: Counter[str] = Counter()

    def add(self, config: str, images: int) -> None:
        """Count generated images."""
        self._images[config] += images

    @contextmanager
    def timed(self, config: str) -> Iterator[None]:
        """Count the time of a block for a config; a block within it has its own time alone."""
        before = self._switch(config)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, config: str | None) -> str | None:
        """Count the time until now for the config at work; return it, and begin with another."""
        now, before = time.monotonic(), self._config
        if before is not None:
            self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._config, self._since = config, now
        return before

    def write(self, out: AnyPath, device: str) -> None:
        """Write the record of a process that has generated images.

        A record that cannot be written is reported, and is no error: the images are there.

        Args:
            out: Dataset directory.
            device: Of this process, e.g. `cuda:1`.
        """
        if not self._images:
            return
        record = {
            "device": device_name(device.partition(":")[0]),
            "seconds": round(time.monotonic() - self._started, 3),
            "configs": {
                name: {"images": images, "seconds": round(self._seconds[name], 3)}
                for name, images in self._images.items()
            },
        }
        text = json.dumps(record, ensure_ascii=False) + "\n"
        path = out / COSTS / f"{secrets.token_hex(8)}.json"
        try:
            write_bytes(path, text.encode(), exclusive=True)
        except (OSError, Failure) as error:
            if is_local(out):
                with suppress(OSError):
                    path.parent.rmdir()
            console.log(f"{path}: the time of this process is not recorded: {first_line(error)}")
