"""Datasets at URLs: in memory, and on a local S3 server."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe, shard, shards_of, tree
from fault_parts import build_once, finished, start
from moto.server import ThreadedMotoServer
from sleep_parts import CHANGES, OTHERS, SLEEPERS, damage, images, leave_over, quick, ready
from suspend_parts import changes_of, suspended_in_turn, suspended_process, woken_up

from factory.builder.build import BuildReport, build
from factory.builder.markers import Markers, list_markers
from factory.cli.main import main
from factory.common.errors import Failure, UserError
from factory.common.local_paths import COSTS, WORKING
from factory.common.storage import open_path, write_bytes
from factory.inspection.verify import verify_set
from factory.recipe.library import load_recipe
from factory.renderer.pool import Renderers
from factory.shards.generations import FOLDER
from factory.shards.manifest import read_manifest


def generate(recipes: Any, out: str | Path, **changes: Any) -> BuildReport:
    options = {"settings": SETTINGS, "show_progress": False, "renderer_factory": FakeRenderer}
    return build(recipes, out, **(options | changes))


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """Start a server on loopback; return its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty bucket."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    store = fsspec.filesystem("s3", skip_instance_cache=True)
    # Instances are remembered whatever the environment: one of another test has its server.
    store.clear_instance_cache()
    store.mkdir(f"bucket-{bucket}")
    return f"s3://bucket-{bucket}"


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty directory of each kind."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/some/set"
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return f"memory://{name}/set"


def remote_tree(url: str) -> dict[str, str]:
    """Return the SHA-256 of every file below a URL, by relative path."""
    fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return {
        name.removeprefix(root).lstrip("/"): hashlib.sha256(fs.cat_file(name)).hexdigest()
        for name in sorted(fs.find(root))
        if not {FOLDER, COSTS} & set(name.split("/"))
    }


def test_a_dataset_at_a_url_has_the_bytes_of_a_local_one(place: str, tmp_path: Path) -> None:
    recipe(tmp_path, "base")
    recipe(tmp_path, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]})
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=4)
    both = combination(tmp_path, "both", ["base", "word"])
    report = generate([share, both], place)
    generate([share, both], tmp_path / "local")
    assert remote_tree(place) == tree(tmp_path / "local")
    assert report.generated == 15 + 15 + 12
    (record,) = (open_path(place) / COSTS).iterdir()
    images = {
        name: one["images"] for name, one in json.loads(record.read_text())["configs"].items()
    }
    assert images == {"base": 15, "word": 15}
    manifest = read_manifest(open_path(place))
    assert manifest is not None
    assert manifest.in_order() == ["base", "word", "both", "share"]


class Dies(Exception):
    pass


class Dying(FakeRenderer):
    def render(self, rows: Any, *, batch_size: int) -> Any:
        if rows[0].index >= 12:
            raise Dies
        return super().render(rows, batch_size=batch_size)


def test_a_dataset_at_a_url_is_resumed_repaired_and_grown(place: str, tmp_path: Path) -> None:
    base = recipe(tmp_path, "base")
    with pytest.raises(Dies):
        generate(base, place, renderer_factory=Dying)
    (kept,) = [name for name in remote_tree(place) if WORKING in name]
    assert kept.startswith(f"{WORKING}/base/train-00001-")
    report = generate(base, place)
    assert (report.kept, report.generated) == (12, 3)
    assert [name for name in remote_tree(place) if WORKING in name] == []
    damaged = shard(open_path(place))
    write_bytes(damaged, damaged.read_bytes()[:-9])
    report = generate(base, place)
    assert (report.kept, report.generated, report.regenerated) == (7, 8, 8)
    grown = generate(recipe(tmp_path, "base", images_per_class=8), place)
    assert (grown.kept, grown.generated) == (15, 9)
    word = recipe(tmp_path, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]})
    generate(word, place)
    generate([recipe(tmp_path, "base", images_per_class=8), word], tmp_path / "once")
    assert shards_of(remote_tree(place)) == shards_of(tree(tmp_path / "once"))


def test_datasets_reads_the_shards_of_a_bucket(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Offline, datasets reaches no other host either, not even this one.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    generate(recipe(tmp_path, "base"), f"{s3}/set")
    files = f"{s3}/set/data/base/train-*.parquet"
    read = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read["index"][:] == list(range(15))


@pytest.mark.soak
def test_two_launches_share_the_work_in_one_bucket(s3: str, tmp_path: Path) -> None:
    recipe(tmp_path, "large", images_per_class=24, classes=["cat", "dog"])
    files = [tmp_path / "large.yaml"]
    out = f"{s3}/set"
    both = [start(build_once, files, out, 0.3, tmp_path / "counts") for _ in range(2)]
    assert [finished(one) for one in both] == [0, 0]
    generated = [int(line) for line in (tmp_path / "counts").read_text().split()]
    assert 48 <= sum(generated) <= 48 + 8, "at most the last shard was generated twice"
    assert min(generated) >= 8
    generate(load_recipe(files[0]), tmp_path / "alone")
    assert remote_tree(out) == tree(tmp_path / "alone")


# Gates need a local directory.
PAIRS = [
    (sleeper, other) for sleeper in SLEEPERS for other in OTHERS if "gates" not in (sleeper, other)
]


# Launches, and the calls of the store before which they sleep until the next ones have ended.
IN_TURN = {
    "new": [("finishes", 9), ("finishes", 21), ("finishes", 28), ("finishes", 0)],
    "damaged": [("repairs", 15), ("repairs", 21), ("tidies", 3), ("grows", 0)],
    "whole": [
        *(("adds a column", 40), ("grows more", 26), ("tidies", 3)),
        *(("adds another column", 33), ("finishes", 0)),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "states"),
    [
        ("memory", list(IN_TURN)),
        # In a bucket a call takes milliseconds, and only its conditional puts differ.
        ("s3", ["new"]),
        pytest.param("s3", list(IN_TURN), marks=pytest.mark.soak),
    ],
    indirect=["place"],
)
def test_suspended_launches_resume_at_a_url_without_harm(
    place: str, states: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 22 interleavings: each launch sleeps while those after it run to their ends."""
    quick(monkeypatch.setattr)
    folder, found = tmp_path / "recipes", {}
    ready(folder, place, "finishes")
    for state in states:
        if state == "damaged":
            leave_over(open_path(place))
            damage(open_path(place))
        found[state], before = suspended_in_turn(folder, place, IN_TURN[state])
        assert state == "whole" or verify_set(place).faults == ()
    # In the first state they share a plan.
    expected = {"new": [0, 0, 0, 0], "damaged": [1, 1, 0, 0], "whole": [1, 1, 0, 1, 0]}
    assert found == {state: expected[state] for state in states}
    last = ("finishes", "adds a column", "adds another column") if "whole" in states else ()
    for what in last:
        CHANGES[what](folder, place)
    assert verify_set(place).whole
    assert before.items() <= images(place).items()


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_hundred_suspended_processes_resume_at_a_bucket_without_harm(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that signals stop and resume, at random calls."""
    assert len(PAIRS) == 25
    quick(monkeypatch.setattr)

    @cache
    def steps(sleeper: str) -> int:
        name = sleeper.replace(" ", "-")
        return len(changes_of(tmp_path / f"count-{name}", f"{s3}/count-{name}", sleeper))

    chance = random.Random(4)
    for number, (sleeper, other) in enumerate(PAIRS * 4):
        event, place = chance.randint(1, steps(sleeper)), f"{s3}/set-{number}"
        folder = tmp_path / str(number)
        woken_up(folder, place, sleeper, event, other, suspended=suspended_process)


def test_a_marker_behind_a_url_is_created_by_one(place: str) -> None:
    out = open_path(place)
    first, second = Markers(out), Markers(open_path(place))
    assert first.add("a", 0, 0)
    assert not second.add("a", 0, 0)
    assert second.next_numbers({"a", "b"}) == {("a", 0): 1}
    assert second.add("a", 0, 1)
    assert [(one.config, one.shard, one.number) for one in list_markers(out)] == [
        ("a", 0, 0),
        ("a", 0, 1),
    ]
    assert "process" in list_markers(out)[0].process()
    first.remove("a", 0, range(2))
    assert list_markers(out) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://bucket/set", "nosuch://bucket/set: .*nosuch.*, or name a directory"),
        ("gs://bucket/set", r"(?s)gs://bucket/set: .*gcsfs.*, or name a directory"),
    ],
)
def test_unreachable_urls_are_refused(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        generate(recipe(tmp_path, "base"), url)


def test_an_unreachable_store_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(UserError, match=r"s3://bucket/set: cannot be reached: "):
        generate(recipe(tmp_path, "base"), "s3://bucket/set")


def test_the_build_command_writes_to_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Renderers, "_make", lambda self, recipe, dtype: FakeRenderer(recipe))
    recipe(tmp_path, "base")
    main(
        ["build", str(tmp_path / "base.yaml"), "memory://command/set", "--quiet", "--threads", "1"]
    )
    assert "memory://command/set: 15 images generated" in capsys.readouterr().out
    assert "README.md" in remote_tree("memory://command/set")


class Away:
    """A store whose every put fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def pipe_file(self, *args: Any, **kwargs: Any) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (PermissionError("Access Denied"), PermissionError, r"Errno 13.*memory://away/set"),
        (TypeError("connection reset"), Failure, r"memory://away/set.* \(connection reset\)"),
    ],
)
def test_a_store_that_refuses_or_goes_away_is_named(
    error: Exception, kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Any = open_path("memory://away/set")
    monkeypatch.setattr(type(path), "fs", Away(error))
    with pytest.raises(kind, match=message):
        write_bytes(path, b"x")


def test_a_store_that_stops_answering_ends_the_build_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import EndpointConnectionError

    def away(*args: Any, **kwargs: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="http://bucket")

    monkeypatch.setattr("factory.builder.build.look_at", away)
    with pytest.raises(Failure, match=r"memory://gone/set: the store does not respond \(Could not"):
        generate(recipe(tmp_path, "base"), "memory://gone/set")
