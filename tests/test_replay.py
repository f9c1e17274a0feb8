"""`replay` and `verify --rebuild`: images regenerated from rows; differences are reported."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from build_parts import SETTINGS, FakeRenderer, combination, recipe, shard
from damaged_sets import rewrite
from PIL import Image

from factory.builder.build import build
from factory.cli import replay as replay_command
from factory.cli import verify as verify_command
from factory.common.errors import UserError
from factory.inspection.regenerate import batch_of
from factory.inspection.replay import replay
from factory.inspection.verify import Sample, verify_set
from factory.planner.plan import ImageSpec
from factory.shards.parquet import read_rows
from factory.shards.settings import BuildSettings


class Neighbourly(FakeRenderer):
    """An image depends on its batch, as the last digits of real models do."""

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[Any]:
        shift = np.uint8(sum(row.index for row in rows) % 5)
        return [image // 2 + shift for image in super().render(rows, batch_size=batch_size)]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build two configs, a share and a union, with images that depend on their batch."""
    folder = tmp_path_factory.mktemp("replay")
    base = recipe(folder, "base")
    word = recipe(folder, "word", prompt="{d} {class}", variables={"d": ["wet", "dry"]})
    share = combination(folder, "share", ["base", "word"], images_per_class=4)
    both = combination(folder, "union", ["base", "word"])
    build(
        [base, word, share, both],
        folder / "out",
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=Neighbourly,
    )
    return folder / "out"


def width(path: Path) -> int:
    with Image.open(path) as image:
        return image.width


@pytest.mark.parametrize(
    ("config", "index", "origin"),
    [
        ("base", 0, ("base", 0)),
        ("base", 14, ("base", 14)),
        ("word", 7, ("word", 7)),
        ("share", 3, ("base", 3)),
        ("share", 8, ("word", 2)),
        ("union", 20, ("word", 5)),
    ],
)
def test_a_row_regenerates_the_same_bytes(
    out: Path, config: str, index: int, origin: tuple[str, int]
) -> None:
    done = replay(out, config=config, index=index, renderer_factory=Neighbourly)
    assert (done.config, done.regenerated.spec.index) == origin
    assert done.regenerated.same_bytes
    assert done.regenerated.describe() == "identical bytes"
    assert done.notes == ()


def test_alone_an_image_may_differ_and_the_difference_is_reported(
    out: Path, tmp_path: Path
) -> None:
    done = replay(out, config="base", index=3, alone=True, renderer_factory=Neighbourly)
    one = done.regenerated
    assert (one.same_bytes, one.differing, one.pixels) == (False, 64, 64)
    # The batch shifts its images by (0 + 1 + 2 + 3) % 5, the image alone by 3.
    assert one.max_difference == one.mean_difference == 2
    done.sheet().save(tmp_path / "sheet.png")
    assert width(tmp_path / "sheet.png") > 3 * 112


def test_invalid_replays_are_refused(out: Path) -> None:
    with pytest.raises(UserError, match="base has images 0 to 14, not 15"):
        replay(out, config="base", index=15)
    with pytest.raises(UserError, match="no config 'bass'; it has: base, share, union, word"):
        replay(out, config="bass", index=0)
    with pytest.raises(UserError, match=r"device cuda was requested.*--device"):
        replay(out, config="base", index=0, device="cuda")


@pytest.mark.parametrize("index", range(20))
def test_a_batch_stays_within_its_shard(index: int) -> None:
    batch = batch_of(index, num_images=20, shard_size=8, batch_size=3)
    assert index in batch
    assert len({place // 8 for place in batch}) == 1
    assert (batch.start % 8) % 3 == 0


def whole_again(out: Path, factory: Any = Neighbourly, **changes: Any) -> Any:
    return verify_set(out, sample=Sample(**({"part": 1.0, "renderer_factory": factory} | changes)))


def test_a_rebuilt_sample_is_compared(out: Path) -> None:
    report = whole_again(out)
    assert (report.whole, report.compared) == (True, 15 + 15 + 12)
    assert 3 * 1 <= whole_again(out, part=0.01).compared <= 3 * 4


def test_images_that_rows_do_not_give_are_named(out: Path) -> None:
    faults = whole_again(out, FakeRenderer).faults
    assert len(faults) == 30
    assert str(faults[0]).startswith(
        f"{shard(out).relative_to(out)}: image 0 regenerated: found max difference "
    )
    assert whole_again(out, FakeRenderer, tolerance=255).whole


def test_a_share_that_is_no_copy_is_named(out: Path, tmp_path: Path) -> None:
    """Two images are swapped, and manifest and card are adjusted."""

    def exchange(rows: list[dict[str, Any]]) -> None:
        rows[0]["image"], rows[1]["image"] = rows[1]["image"], rows[0]["image"]

    place = Path(shutil.copytree(out, tmp_path / "out"))
    rewrite(place, shard(place, "share").relative_to(place).as_posix(), exchange)
    named = [fault.what for fault in whole_again(place).faults if fault.file.startswith("data/")]
    assert named == ["image 0 of base", "image 1 of base"]


class Moody(Neighbourly):
    """Image 3 is black in the first attempt, image 5 in all."""

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[Any]:
        black = {(3, 0), *((5, attempt) for attempt in range(10))}
        return [
            image * 0 if (row.index, row.attempt) in black else image
            for row, image in zip(rows, super().render(rows, batch_size=batch_size), strict=True)
        ]


@pytest.fixture
def moody(tmp_path: Path) -> Path:
    """Build a config with a second attempt and a failed image, and a share of it."""
    base = recipe(tmp_path, "base")
    word = recipe(tmp_path, "word", prompt="{class}")
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=4)
    options: dict[str, Any] = {"settings": SETTINGS, "show_progress": False}
    build([base, word, share], tmp_path / "out", renderer_factory=Moody, **options)
    return tmp_path / "out"


def test_later_attempts_are_generated_again_as_they_were(moody: Path) -> None:
    for index in range(15):
        if index != 5:
            done = replay(moody, config="base", index=index, renderer_factory=Moody)
            assert done.regenerated.same_bytes
            assert done.regenerated.spec.attempt == int(index == 3)
    with pytest.raises(UserError, match=r"image 5 of base failed \(black, 4 attempts\)"):
        replay(moody, config="base", index=5)


def test_failed_images_that_are_listed_are_no_fault(moody: Path) -> None:
    report = whole_again(moody, Moody)
    assert report.faults == ()
    assert (report.failed, report.rows, report.compared) == (4, 42 - 4, 42 - 4)
    rewrite(moody, shard(moody).relative_to(moody).as_posix(), lambda rows: rows[:-1])
    missing = [fault for fault in verify_set(moody).faults if fault.what == "rows"]
    assert [(fault.found, fault.expected) for fault in missing] == [("6", "7")]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a dataset with a tiny real pipeline: random guidance, different steps."""
    folder = tmp_path_factory.mktemp("real")
    model = tiny_models.save_stable_diffusion(folder / "sd")
    tiny = recipe(
        folder,
        "tiny",
        model={"id": str(model)},
        sampling={"guidance_scale": {"uniform": [1, 5]}, "num_inference_steps": [2, 3]},
        output={"size": 16},
    )
    settings = BuildSettings(batch_size=4, shard_size=8)
    build(tiny, folder / "out", settings=settings, show_progress=False)
    return folder / "out"


def run(command: Any, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(arguments)))


def test_the_command_regenerates_with_the_real_model(
    generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheets" / "one.png"
    where = [str(generated), "--config", "tiny", "--index", "9", "--allow-local-model"]
    assert run(replay_command, *where, "--out", str(sheet)) == 0
    printed = capsys.readouterr().out
    assert "regenerated: identical bytes" in printed
    assert width(sheet) > 3 * 112
    status = run(replay_command, *where, "--json", "--alone")
    report = json.loads(capsys.readouterr().out)
    assert status == (0 if report["same_bytes"] else 1)
    row = read_rows(shard(generated, "tiny", 1))[1]
    assert report["row"] == {name: value for name, value in row.items() if name != "image"}
    assert report["max_difference"] <= 8, "alone, only the last digits differ"


def test_the_command_rebuilds_a_sample(generated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--rebuild", "50%", "--quiet", "--allow-local-model"]
    assert run(verify_command, str(generated), *how) == 0
    assert "2 shards, 15 rows" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["5", "0%", "101%", "x%"])
def test_invalid_parts_of_a_sample_are_refused(generated: Path, part: str) -> None:
    with pytest.raises(UserError, match="expected a percentage above 0%"):
        run(verify_command, str(generated), "--rebuild", part)
