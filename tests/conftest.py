"""Every test runs without a network, on one thread, with caches of its own."""

import os
import signal
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from localhub import LocalHub

# Read at import by datasets, huggingface_hub and evaluate: set before any test module imports them.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-home-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(params=["xet", "lfs"])
def hub(request: pytest.FixtureRequest) -> "Iterator[LocalHub]":
    """A loopback Hub, once with Xet and once with plain LFS; see `hub_parts` for its clients."""
    from localhub import LocalHub

    with LocalHub(xet=request.param == "xet") as started:
        yield started


@pytest.fixture(params=["xet", pytest.param("lfs", marks=pytest.mark.soak)])
def either_hub(request: pytest.FixtureRequest) -> "Iterator[LocalHub]":
    """The same for what hardly depends on the mode: the second one only in the long run."""
    from localhub import LocalHub

    with LocalHub(xet=request.param == "xet") as started:
        yield started


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """Commands that are called in this process stay deaf to a second signal, for good."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
