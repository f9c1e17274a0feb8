"""Datasets of earlier versions can be verified, loaded, resumed, grown and replayed.

`tests/older` contains two datasets of version 0.1, whose file names include the number of shards,
and two (`keyed-`) built just before the modules of `factory` became packages. The card's images are
missing in all of them; those named `stopped` have one of their two shards.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from build_parts import SETTINGS, FakeRenderer, combination, recipe
from sleep_parts import images

from factory.builder.build import BuildReport, build
from factory.inspection.replay import replay
from factory.inspection.verify import Sample, verify_set
from factory.shards.manifest import read_manifest


@pytest.fixture(params=["finished", "stopped", "keyed-finished", "keyed-stopped"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def copied(tmp_path: Path, name: str) -> Path:
    return Path(shutil.copytree(Path(__file__).parent / "older" / name, tmp_path / name))


def generate(recipes: Any, out: Path) -> BuildReport:
    return build(
        recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=FakeRenderer
    )


def loaded(out: Path, tmp_path: Path, config: str) -> list[int]:
    cache = str(tmp_path / "cache")
    found: list[int] = datasets.load_dataset(str(out), config, split="train", cache_dir=cache)[
        "index"
    ][:]
    return found


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.parquet"))


FINISHED = pytest.mark.parametrize("finished", ["finished", "keyed-finished"])


@FINISHED
def test_a_dataset_of_an_older_version_is_verified_loaded_and_replayed(
    tmp_path: Path, finished: str
) -> None:
    out = copied(tmp_path, finished)
    whole = Sample(part=1.0, renderer_factory=FakeRenderer)
    report = verify_set(out, sample=whole)
    assert (report.faults, report.compared) == ((), 15 + 15 + 12)
    assert replay(out, config="word", index=7, renderer_factory=FakeRenderer).regenerated.same_bytes
    assert loaded(out, tmp_path, "base") == list(range(15))
    assert len(loaded(out, tmp_path, "both")) == 30


def test_a_stray_file_that_its_card_reads_is_a_fault(tmp_path: Path) -> None:
    out = copied(tmp_path, "finished")
    stray = shutil.copy(
        out / "data/base/train-00000-of-00002.parquet",
        out / "data/base/train-00000-of-00009.parquet",
    )
    found = [fault.file for fault in verify_set(out).faults]
    assert found == [Path(stray).relative_to(out).as_posix()], "its card's glob reads this too"


def test_a_build_of_an_older_version_is_repeated_and_resumed(tmp_path: Path, name: str) -> None:
    out = copied(tmp_path, name)
    before, kept = images(out), files(out)
    report = generate(recipe(tmp_path, "base"), out)
    assert (report.kept, report.generated) == ((15, 0) if "finished" in name else (8, 7))
    assert set(kept) <= set(files(out))
    assert before.items() <= images(out).items()
    assert verify_set(out).faults == ()
    assert loaded(out, tmp_path, "base") == list(range(15))


def test_a_dataset_of_an_older_version_grows(tmp_path: Path, name: str) -> None:
    out = copied(tmp_path, name)
    kept = files(out)[0]
    before = images(out)
    report = generate(recipe(tmp_path, "base", images_per_class=8), out)
    assert (report.kept, report.generated) == ((15, 9) if "finished" in name else (8, 16))
    assert before.items() <= images(out).items()
    assert verify_set(out).faults == ()
    assert loaded(out, tmp_path, "base") == list(range(24))
    found = read_manifest(out)
    assert found is not None
    listed = [one.file for entry in found.configs.values() for one in entry.shards]
    assert files(out) == sorted(listed), "the shard it grew from is gone"
    assert kept in listed, "a whole shard keeps its name"


@FINISHED
def test_a_dataset_of_an_older_version_gets_a_column_and_a_larger_share(
    tmp_path: Path, finished: str
) -> None:
    out = copied(tmp_path, finished)
    before = {key: data for key, data in images(out).items() if key[0] != "share"}
    recipe(tmp_path, "base")
    recipe(tmp_path, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]})
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=5)
    tone = recipe(tmp_path, "tone", prompt="a {t} {class}", variables={"t": ["x", "y"]})
    assert generate([share, tone], out).generated == 15 + 15, "a larger share has other rows"
    assert before.items() <= images(out).items()
    assert verify_set(out).faults == ()


class Dies(Exception):
    pass


class Dying(FakeRenderer):
    def render(self, rows: Any, *, batch_size: int) -> Any:
        if rows[0].index >= 20:
            raise Dies
        return super().render(rows, batch_size=batch_size)


def test_a_dataset_of_an_older_version_reads_the_same_while_it_grows(tmp_path: Path) -> None:
    """The glob in its card would match the rows of its last shard twice."""
    out = copied(tmp_path, "finished")
    (out / "README.md").write_text((out / "README.md").read_text() + "\nA word of its owner.\n")
    with pytest.raises(Dies):
        build(
            recipe(tmp_path, "base", images_per_class=8),
            out,
            settings=SETTINGS,
            show_progress=False,
            renderer_factory=Dying,
        )
    assert loaded(out, tmp_path, "base") == list(range(15))
    header = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert "*" not in str(header["configs"])
    assert "A word of its owner." in (out / "README.md").read_text()


def test_a_card_that_is_no_text_stops_no_build(tmp_path: Path) -> None:
    out = copied(tmp_path, "finished")
    path = out / "README.md"
    path.write_bytes(path.read_bytes() + b"\nA word of its \xff owner.\n")
    generate(recipe(tmp_path, "base", images_per_class=8), out)
    assert verify_set(out).faults == ()
    assert b"A word of its \xff owner." in (out / ".README.replaced.md").read_bytes()
