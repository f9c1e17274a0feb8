"""`build`: the content of a dataset; building again, growing and combining."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build_parts import LABELS, SETTINGS, FakeRenderer, combination, recipe, shard, shards_of, tree
from PIL import Image

from factory.builder.build import BuildReport, build
from factory.cli.build_result import summarize
from factory.common.errors import UserError
from factory.common.image_arrays import ImageArray
from factory.inspection.verify import verify_set
from factory.planner.plan import ImageSpec, plan
from factory.planner.sampling_summary import sampling_summary
from factory.recipe.library import load_stored_recipe
from factory.recipe.model_files import PipelineSettings
from factory.recipe.resolved import Output, ResolvedRecipe
from factory.shards.hub_limits import fitting_shard_size
from factory.shards.manifest import read_manifest
from factory.shards.parquet import encode_image, read_rows
from factory.shards.settings import BuildSettings

ROOT = Path(__file__).parent.parent


def generate(recipes: Any, out: Path, **changes: Any) -> BuildReport:
    options = {"settings": SETTINGS, "show_progress": False, "renderer_factory": FakeRenderer}
    return build(recipes, out, **(options | changes))


def rows_of(out: Path, config: str) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "data" / config).iterdir()) for row in read_rows(path)]


def test_rows_are_the_plan_and_images_are_its_renderers(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base")
    report = generate(base, tmp_path / "out")
    specs = plan(base).rows(0, 15)
    pixels = FakeRenderer(base).render(specs, batch_size=15)
    rows = rows_of(tmp_path / "out", "base")
    assert [row.pop("image")["bytes"] for row in rows] == [
        encode_image(image, base.output) for image in pixels
    ]
    assert rows == [spec.as_row() for spec in specs]
    assert (report.generated, report.kept, report.configs) == (15, 0, ("base",))


def test_a_batch_is_encoded_while_the_next_one_is_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, calls = threading.Event(), []

    class Renderer(FakeRenderer):
        def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray]:
            calls.append(len(rows))
            if len(calls) == 2:
                second.set()
            return super().render(rows, batch_size=batch_size)

    def encode(image: ImageArray, output: Output) -> bytes:
        assert second.wait(30), "the second batch waits for the first one"
        return encode_image(image, output)

    monkeypatch.setattr("factory.builder.rows.encode_image", encode)
    base = recipe(tmp_path, "base")
    generate(base, tmp_path / "out", renderer_factory=Renderer)
    assert calls == [4, 4, 4, 3]
    assert [row["index"] for row in rows_of(tmp_path / "out", "base")] == list(range(15))


def test_the_same_recipe_gives_the_same_bytes_and_nothing_else(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base")
    generate(base, tmp_path / "one")
    generate(base, tmp_path / "two")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert list(tree(tmp_path / "one")) == [
        "README.md",
        "card/contact-sheet.jpg",
        "card/distributions.png",
        # A change of these names would make every unfinished build look for others.
        "data/base/train-00000-9a78e148d934.parquet",
        "data/base/train-00001-9c294bd9fd10.parquet",
        "manifest.json",
        "recipes/base.yaml",
    ]


def test_a_second_build_generates_nothing(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base")
    generate(base, tmp_path / "out")
    before, calls = tree(tmp_path / "out"), FakeRenderer.calls
    report = generate(base, tmp_path / "out")
    assert (report.generated, report.kept) == (0, 15)
    assert FakeRenderer.calls == calls
    assert tree(tmp_path / "out") == before


class _Undeclared:
    """Imports torch when it generates, and stores the number of its threads in the first pixel."""

    def __init__(self, recipe: ResolvedRecipe) -> None:
        self._noise = FakeRenderer(recipe)

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray]:
        import torch

        images = self._noise.render(rows, batch_size=batch_size)
        for image in images:
            image[0, 0] = torch.get_num_threads()
        return images


def build_without_and_with_torch(folder: Path) -> None:
    """Build two datasets twice, in a process of its own."""
    settings = BuildSettings(dtype="float32", device="cpu", threads=2)
    sampling = {"guidance_scale": 2, "num_inference_steps": 2}
    made = recipe(folder, "base", sampling=sampling)
    for _ in range(2):
        generate(made, folder / "out", settings=settings)
    heavy = {"torch", "diffusers", "transformers", "datasets", "accelerate", "pandas"}
    assert not heavy & set(sys.modules)
    reports = [
        generate(made, folder / "torch", settings=settings, renderer_factory=_Undeclared)
        for _ in range(2)
    ]
    assert [report.generated for report in reports] == [15, 0]


def test_a_build_imports_torch_only_for_a_renderer_that_may_use_it(tmp_path: Path) -> None:
    """And datasets and accelerate never. Torch has the build's number of threads."""
    code = (
        "import sys; from pathlib import Path\n"
        "from test_build import build_without_and_with_torch\n"
        "build_without_and_with_torch(Path(sys.argv[1]))"
    )
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert shard(tmp_path / "out").is_file()
    stored = [one["image"]["bytes"] for one in rows_of(tmp_path / "torch", "base")]
    corners = {Image.open(io.BytesIO(one)).getpixel((0, 0)) for one in stored}
    assert corners == {(2, 2, 2)}


def test_the_manifest_contains_settings_versions_and_hashes(tmp_path: Path) -> None:
    generate(recipe(tmp_path, "base"), tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest.settings.batch_size == 4
    assert manifest.labels == tuple(LABELS)
    assert {"torch", "diffusers", "data-factory"} <= set(manifest.versions[0])
    entry = manifest.configs["base"]
    assert (entry.images, entry.images_per_class, entry.complete) == (15, 5, True)
    hashes = tree(tmp_path / "out")
    assert [shard.rows for shard in entry.shards] == [8, 7]
    assert all(shard.sha256 == hashes[shard.file] for shard in entry.shards)


class WithPipeline(FakeRenderer):
    """A renderer with the settings of a loaded pipeline."""

    pipeline_settings = PipelineSettings("EulerDiscreteScheduler", 16, 24)


def test_manifest_and_log_contain_the_sampling_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scheduler and size are recorded once a pipeline was loaded, and stay recorded."""
    recipes = [recipe(tmp_path, "base"), combination(tmp_path, "both", ["base"])]
    for renderer in (WithPipeline, FakeRenderer):
        generate(recipes, tmp_path / "out", renderer_factory=renderer)
        manifest = read_manifest(tmp_path / "out")
        assert manifest is not None and manifest.configs["both"].sampling is None
        assert manifest.configs["base"].sampling == sampling_summary(
            recipes[0], WithPipeline.pipeline_settings
        )
        line, computed = capsys.readouterr().err.splitlines()
        assert computed.startswith("computed with dtype float32")
        assert line == (
            "base: model tests/none; revision 000000000000; guidance uniform from 1 to 5; steps 2; "
            "scheduler EulerDiscreteScheduler; size 24 x 16; output 8 x 8, bilinear, anti-aliased, "
            "png; noise independent; seed 0"
        )


def test_a_manifest_without_sampling_gets_it_from_the_next_build(tmp_path: Path) -> None:
    base, out = recipe(tmp_path, "base"), tmp_path / "out"
    generate(base, out)
    before = tree(out)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["configs"]["base"]["sampling"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert verify_set(out).whole
    assert generate(base, out).generated == 0
    assert tree(out) == before


@pytest.mark.parametrize("first", [1, 3, 4, 5, 7])
def test_a_grown_set_equals_one_built_at_once(tmp_path: Path, first: int) -> None:
    """Within a batch, across batches, across shards, within one number of shards."""
    generate(recipe(tmp_path, "base", images_per_class=first), tmp_path / "grown")
    small = {row["index"]: row for row in rows_of(tmp_path / "grown", "base")}
    report = generate(recipe(tmp_path, "base", images_per_class=8), tmp_path / "grown")
    assert (report.kept, report.generated) == (3 * first, 24 - 3 * first)
    generate(recipe(tmp_path, "base", images_per_class=8), tmp_path / "once")
    assert tree(tmp_path / "grown") == tree(tmp_path / "once")
    grown = rows_of(tmp_path / "grown", "base")
    assert [row["index"] for row in grown] == list(range(24))
    assert grown[: len(small)] == list(small.values())


def test_growth_generates_only_batches_with_missing_rows(tmp_path: Path) -> None:
    generate(recipe(tmp_path, "base", images_per_class=2), tmp_path / "out")
    FakeRenderer.calls = 0
    # Rows 6 and 7 complete the second batch of shard 0; then shards 1 and 2 have two batches each.
    generate(recipe(tmp_path, "base", images_per_class=8), tmp_path / "out")
    assert FakeRenderer.calls == 5


class Dies(Exception):
    pass


def dying_after(shards: int) -> Any:
    """Return a factory whose renderer fails after a number of shards."""

    class Dying(FakeRenderer):
        def render(self, rows: Any, *, batch_size: int) -> Any:
            if rows[0].index >= shards * 8:
                raise Dies
            return super().render(rows, batch_size=batch_size)

    return Dying


def test_a_stopped_growth_is_resumed(tmp_path: Path) -> None:
    generate(recipe(tmp_path, "base", images_per_class=3), tmp_path / "out")
    grown = recipe(tmp_path, "base", images_per_class=10)
    for shards in (1, 2):
        with pytest.raises(Dies):
            generate(grown, tmp_path / "out", renderer_factory=dying_after(shards))
    assert generate(grown, tmp_path / "out").kept == 16
    generate(grown, tmp_path / "once")
    assert tree(tmp_path / "out") == tree(tmp_path / "once")


def test_temporary_files_of_a_killed_build_are_removed(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base")
    with pytest.raises(Dies):
        generate(base, tmp_path / "out", renderer_factory=dying_after(1))
    (tmp_path / "out/data/base/.writing-1-train-00001-0123456789ab.parquet").write_bytes(b"half")
    generate(base, tmp_path / "out")
    generate(base, tmp_path / "once")
    assert tree(tmp_path / "out") == tree(tmp_path / "once")


def test_a_build_without_shards_leaves_the_recipe_free_to_change(tmp_path: Path) -> None:
    with pytest.raises(Dies):
        generate(recipe(tmp_path, "base"), tmp_path / "out", renderer_factory=dying_after(0))
    changed = recipe(tmp_path, "base", prompt="one {class}")
    generate(changed, tmp_path / "out", settings=BuildSettings(batch_size=2, shard_size=6))
    assert rows_of(tmp_path / "out", "base")[0]["prompt"] == "one cat"


def test_a_config_with_new_variables_adds_null_columns(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base")
    domain = recipe(
        tmp_path, "domain", prompt="a {d} of a {class}", variables={"d": ["photo", "sketch"]}
    )
    generate(base, tmp_path / "out")
    before = rows_of(tmp_path / "out", "base")
    report = generate(domain, tmp_path / "out")
    assert (report.generated, report.configs) == (15, ("domain",))
    after = rows_of(tmp_path / "out", "base")
    assert [row.pop("d") for row in after] == [None] * 15
    assert after == before
    generate([base, domain], tmp_path / "once")
    assert shards_of(tree(tmp_path / "out")) == shards_of(tree(tmp_path / "once"))


def members(folder: Path, **keys: Any) -> list[ResolvedRecipe]:
    return [
        recipe(folder, "base", **keys),
        recipe(folder, "word", prompt="{class}", **keys),
    ]


def test_a_combination_of_everything_copies_nothing(tmp_path: Path) -> None:
    members(tmp_path)
    generate(combination(tmp_path, "both", ["base", "word"]), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/data").iterdir()) == ["base", "word"]
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest.num_images("both") == 30
    assert manifest.in_order() == ["base", "word", "both"]


def test_an_equal_share_copies_rows_of_its_members(tmp_path: Path) -> None:
    members(tmp_path, images_per_class=10)
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=4)
    generate(share, tmp_path / "out")
    rows = rows_of(tmp_path / "out", "share")
    own = {(r["recipe"], r["index"]): r for r in rows_of(tmp_path / "out", "base")}
    own |= {(r["recipe"], r["index"]): r for r in rows_of(tmp_path / "out", "word")}
    assert len(rows) == 12
    assert all(row == own[row["recipe"], row["index"]] for row in rows)
    assert sorted(own) == [(name, index) for name in ("base", "word") for index in range(6)]


def test_a_share_grows_with_its_members(tmp_path: Path) -> None:
    members(tmp_path, images_per_class=10)
    for count in (3, 8):
        share = combination(tmp_path, "share", ["base", "word"], images_per_class=count)
        generate(share, tmp_path / "out")
    generate(share, tmp_path / "once")
    assert tree(tmp_path / "out") == tree(tmp_path / "once")


def test_a_share_larger_than_a_member_is_refused(tmp_path: Path) -> None:
    base, word = members(tmp_path, images_per_class=10)
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=8)
    small = recipe(tmp_path, "base", images_per_class=2)
    with pytest.raises(UserError, match="takes 4 images per class of base, which has 2"):
        generate([small, word, share], tmp_path / "out")
    assert base.images_per_class == 10
    assert not (tmp_path / "out").exists()


def test_rows_name_the_template_that_made_their_prompt(tmp_path: Path) -> None:
    texts = ["a {d} of a {class}", "one {class}, {d}"]
    several = recipe(tmp_path, "several", prompt=texts, variables={"d": ["photo", "sketch"]})
    one = recipe(tmp_path, "one")
    generate([several, one], tmp_path / "out")
    rows = rows_of(tmp_path / "out", "several")
    assert {row["template"] for row in rows} == set(texts)
    for row in rows:
        assert row["template"].format(**{"class": row["class"], "d": row["d"]}) == row["prompt"]
    assert {row["template"] for row in rows_of(tmp_path / "out", "one")} == {None}
    assert "`template`" in (tmp_path / "out" / "README.md").read_text()
    assert verify_set(tmp_path / "out").whole
    generate([recipe(tmp_path, "alone")], tmp_path / "plain")
    assert "template" not in rows_of(tmp_path / "plain", "alone")[0]


def test_a_dataset_begun_without_the_template_column_resumes_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"prompt": ["a {class}", "one {class}"]}
    with monkeypatch.context() as older:
        older.setattr("factory.builder.compatible._gets_templates", lambda *_, **__: False)
        generate([recipe(tmp_path, "several", **keys)], tmp_path / "out")
    kept = rows_of(tmp_path / "out", "several")
    assert "template" not in kept[0]
    assert verify_set(tmp_path / "out").whole
    generate([recipe(tmp_path, "several", images_per_class=9, **keys)], tmp_path / "out")
    generate([recipe(tmp_path, "more", **keys)], tmp_path / "out")
    rows = rows_of(tmp_path / "out", "several")
    assert rows[: len(kept)] == kept and len(rows) == 27
    assert not any("template" in row for row in [*rows, *rows_of(tmp_path / "out", "more")])
    assert verify_set(tmp_path / "out").whole


def test_a_dataset_of_one_prompt_gets_the_column_with_a_config_of_several(tmp_path: Path) -> None:
    generate([recipe(tmp_path, "one")], tmp_path / "out")
    generate([recipe(tmp_path, "several", prompt=["a {class}", "b {class}"])], tmp_path / "out")
    assert None not in {row["template"] for row in rows_of(tmp_path / "out", "several")}
    assert verify_set(tmp_path / "out").whole
    taken = recipe(tmp_path, "taken", prompt="a {template}", variables={"template": ["x"]})
    both = [taken, recipe(tmp_path, "several", prompt=["a {class}", "b {class}"])]
    with pytest.raises(
        UserError, match="variable template of taken has the name of a reserved column"
    ):
        generate(both, tmp_path / "other")


def test_labels_may_hold_slashes(tmp_path: Path) -> None:
    """FGVC-Aircraft has such class names; a label must not become a path."""
    labels = ["F-16A/B", "F/A-18", "..\\x", "../../y"]
    base = recipe(tmp_path, "base", classes=labels, images_per_class=2)
    generate(base, tmp_path / "out")
    assert verify_set(tmp_path / "out").whole
    rows = rows_of(tmp_path / "out", "base")
    assert [labels[row["label"]] for row in rows] == [row["class"] for row in rows]
    stored = load_stored_recipe(tmp_path / "out/recipes/base.yaml")
    assert stored.labels == tuple(labels)
    card = (tmp_path / "out/README.md").read_text()
    assert "F-16A/B, F/A-18, ..\\\\x, ../../y" in card
    assert not [path for path in tmp_path.rglob("*") if path.name in ("y", "A-18", "B")]


def test_a_build_keeps_to_the_rules_of_windows(tmp_path: Path, windows_rules: None) -> None:
    base = recipe(tmp_path, "base")
    generate(base, tmp_path / "out")
    generate(recipe(tmp_path, "base", images_per_class=9), tmp_path / "out")
    assert verify_set(tmp_path / "out").whole


def test_more_shards_than_the_hub_takes_are_reported_before_the_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.shards.hub_limits.MOST_FILES", 2)
    generate(recipe(tmp_path, "base", images_per_class=7), tmp_path / "out")
    assert "base: 3 shards" in capsys.readouterr().err
    assert fitting_shard_size(21, batch_size=4) == 12


def test_the_next_line_names_the_recommended_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "my pets")
    sheet = tmp_path / "my pets/card/contact-sheet.jpg"
    for configs, named in (
        (("base-class", "recommended"), "recommended"),
        (("a", "b"), "a"),
        (("only",), "only"),
    ):
        report = BuildReport(tmp_path, configs, generated=1, kept=0, seconds=1.0)
        summarize(report, out, train="--model m")
        *before, train, load = capsys.readouterr().out.splitlines()
        assert train.endswith(f"train '{out}' --config {named} --model m --out 'runs/my pets'")
        assert load.endswith(f'load_dataset("{out}", "{named}", split="train")')
        assert before[0] == f"{out}: 1 image generated (1 s, 1.0 images/s), 0 already present"
        assert (f"  look at {sheet}" in before) == sheet.is_file()
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.touch()
        summarize(replace(report, generated=0), out, train=None)
        first = capsys.readouterr().out.splitlines()[0]
        assert first == f"{out}: 0 images generated (1 s), 0 already present"
        summarize(report, out, train=None)
        assert "next:" not in capsys.readouterr().out, "of a round, `grow` prints it"
