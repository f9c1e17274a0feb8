"""`verify`: an undamaged dataset has no fault, and every planted fault is found and named."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe
from damaged_sets import flip, manifest_of, replace, restamp, rewrite, swap, truncate
from pyarrow.parquet import ParquetFile

from factory.builder.build import build
from factory.cli import verify as command
from factory.command_line.cli import main
from factory.common import size_limits
from factory.common.errors import UserError
from factory.data.columns import arrow_schema
from factory.inspection.verify import VerifyReport, verify_set
from factory.shards.parquet import read_rows
from factory.sharing.push_dataset import set_files

FIRST = "data/base/train-00000-c57df319cb92.parquet"
SECOND = "data/base/train-00001-95e094659926.parquet"
DOMAIN = "data/domain/train-00000-1ea9bab8058c.parquet"
SHARE = "data/share/train-00000-0c18c505bde1.parquet"


def generate(recipes: Any, out: Path) -> None:
    build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=FakeRenderer)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a dataset of two configs, a share and a union."""
    folder = tmp_path_factory.mktemp("verify")
    base = recipe(folder, "base", summary="Plain")
    domain = recipe(
        folder, "domain", prompt="a {d} of a {class}", variables={"d": ["photo", "sketch"]}
    )
    share = combination(folder, "share", ["base", "domain"], images_per_class=4)
    both = combination(folder, "union", ["base", "domain"])
    generate([base, domain, share, both], folder / "out")
    return folder / "out"


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """Return a copy of the undamaged dataset."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def test_an_undamaged_dataset_has_no_fault(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Importing it takes longer than the whole check.
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert verify_set(whole) == VerifyReport(
        str(whole), (), ("base", "domain", "share", "union"), shards=6, rows=42
    )


def set_value(name: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[1][name] = value

    return change


def set_bytes(data: Callable[[bytes], bytes]) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[1]["image"]["bytes"] = data(rows[1]["image"]["bytes"])

    return change


def exchange(rows: list[dict[str, Any]]) -> None:
    rows[0]["label"], rows[1]["label"] = rows[1]["label"], rows[0]["label"]


# What is planted, and how a fault that names it begins; {file} stands for the file it names.
PLANTS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("truncated shard", lambda out: truncate(out / SECOND), f"{SECOND}: sha256"),
    ("unreadable shard", lambda out: truncate(out / FIRST), f"{FIRST}: content: found not read"),
    ("empty shard", lambda out: (out / FIRST).write_bytes(b""), f"{FIRST}: content"),
    ("text for a shard", lambda out: (out / FIRST).write_text("x"), f"{FIRST}: content"),
    ("bit flipped in a page", lambda out: flip(out / FIRST, 9000), f"{FIRST}: sha256"),
    ("missing shard", lambda out: (out / SECOND).unlink(), f"{SECOND}: file: found none"),
    (
        "shards of a config swapped",
        lambda out: swap(out / FIRST, out / SECOND),
        f"{FIRST}: sha256: found ",
    ),
    (
        "shards of two configs swapped",
        lambda out: swap(out / FIRST, out / DOMAIN),
        f"{DOMAIN}: sha256: found ",
    ),
    ("a shard copied over another", lambda out: shutil.copy(out / FIRST, out / SHARE), SHARE),
    (
        "a row missing",
        lambda out: rewrite(out, FIRST, lambda rows: rows[:-1]),
        f"{FIRST}: rows: found 7, expected 8",
    ),
    (
        "a row twice",
        lambda out: rewrite(out, FIRST, lambda rows: [rows[0], *rows[:-1]]),
        f"{FIRST}: row 1 label: found 0, expected 1",
    ),
    (
        "another prompt",
        lambda out: rewrite(out, FIRST, set_value("prompt", "a cow")),
        f"{FIRST}: row 1 prompt: found 'a cow', expected 'a dog'",
    ),
    (
        "another seed",
        lambda out: rewrite(out, SHARE, set_value("seed", 5)),
        f"{SHARE}: row 1 seed: found 5",
    ),
    (
        "another guidance scale",
        lambda out: rewrite(out, FIRST, set_value("guidance_scale", 9.5)),
        f"{FIRST}: row 1 guidance_scale: found 9.5",
    ),
    (
        "another index",
        lambda out: rewrite(out, FIRST, set_value("index", 7)),
        f"{FIRST}: row 1 index: found 7, expected 1",
    ),
    (
        "another variable",
        lambda out: rewrite(out, DOMAIN, set_value("d", "etching")),
        f"{DOMAIN}: row 1 d: found 'etching'",
    ),
    (
        "labels exchanged",
        lambda out: rewrite(out, FIRST, exchange),
        f"{FIRST}: row 0 label: found 1, expected 0",
    ),
    (
        "labels out of balance",
        lambda out: rewrite(out, FIRST, set_value("label", 0)),
        "data/base: label balance of cat: found 6, expected 5",
    ),
    (
        "an image that cannot be decoded",
        lambda out: rewrite(out, FIRST, set_bytes(lambda data: data[:60])),
        f"{FIRST}: row 1 image: found an image that cannot be decoded",
    ),
    (
        "an image with a flipped bit",
        lambda out: rewrite(
            out, FIRST, set_bytes(lambda data: data[:50] + bytes([data[50] ^ 4]) + data[51:])
        ),
        f"{FIRST}: row 1 image: found an image that cannot be decoded",
    ),
    (
        "no image",
        lambda out: rewrite(out, FIRST, set_bytes(lambda data: b"")),
        f"{FIRST}: row 1 image: found no image",
    ),
    ("other columns", lambda out: drop_column(out), f"{FIRST}: schema: found"),
    ("other class names", lambda out: other_labels(out), f"{FIRST}: schema of label"),
    (
        "a stray shard",
        lambda out: shutil.copy(out / FIRST, out / "data/base/train-00002-0123456789ab.parquet"),
        "data/base/train-00002-0123456789ab.parquet: file: found a stray file",
    ),
    (
        "a stray config",
        lambda out: shutil.copytree(out / "data/base", out / "data/bass"),
        f"{FIRST.replace('base', 'bass')}: file: found a stray file",
    ),
    (
        "what a killed build left",
        lambda out: (out / "data/base/.writing-7-x.parquet").write_text("x"),
        "data/base/.writing-7-x.parquet: file: found a temporary file of an interrupted build",
    ),
    (
        "a stray file at the top",
        lambda out: (out / "thesis.tex").write_text("x"),
        "thesis.tex: file: found a stray file",
    ),
    (
        "a recipe missing",
        lambda out: (out / "recipes/base.yaml").unlink(),
        "recipes/base.yaml: file: found none",
    ),
    (
        "a recipe edited",
        lambda out: replace(out / "recipes/base.yaml", "a {class}", "the {class}"),
        "recipes/base.yaml: fingerprint: found ",
    ),
    (
        "other steps in the manifest",
        lambda out: replace(out / "manifest.json", 'inference_steps": 2', 'inference_steps": 4'),
        "manifest.json: configs.base.sampling.num_inference_steps: found 4, expected 2, as in",
    ),
    (
        "a recipe's count edited",
        lambda out: replace(out / "recipes/base.yaml", "class: 5", "class: 6"),
        "recipes/base.yaml: images: found 18, expected 15, as in the manifest",
    ),
    (
        "a recipe truncated",
        lambda out: (out / "recipes/base.yaml").write_text("name: ["),
        "recipes/base.yaml: recipe: found ",
    ),
    (
        "recipes swapped",
        lambda out: swap(out / "recipes/base.yaml", out / "recipes/domain.yaml"),
        "recipes/domain.yaml: fingerprint: found ",
    ),
    ("a card missing", lambda out: (out / "README.md").unlink(), "README.md: file: found none"),
    (
        "a card without header",
        lambda out: replace(out / "README.md", "---\n", ""),
        "README.md: header: found no YAML",
    ),
    (
        "a card of other shards",
        lambda out: replace(out / "README.md", "description: shards ", "description: shards 0"),
        "README.md: configs.base.description: found 'shards 0",
    ),
    (
        "a card of other files",
        lambda out: replace(out / "README.md", "- data/base/", "- data/domain/"),
        "README.md: configs.base.data_files: found ",
    ),
    (
        "a card of other configs",
        lambda out: replace(out / "README.md", "config_name: share", "config_name: shore"),
        "README.md: configs: found ['base', 'domain', 'shore', 'union']",
    ),
    (
        "settings edited in the card",
        lambda out: replace(out / "README.md", "batch_size 4", "batch_size 8"),
        "README.md: Settings: found '- Settings: batch_size 8",
    ),
    (
        "settings edited in the manifest",
        lambda out: replace(out / "manifest.json", '"batch_size": 4', '"batch_size": 8'),
        "README.md: Settings: found ",
    ),
    (
        "a shard size edited in the manifest",
        lambda out: replace(out / "manifest.json", '"shard_size": 8', '"shard_size": 5'),
        "manifest.json: configs.base.shards: found 2 shards",
    ),
    (
        "a hash edited in the manifest",
        lambda out: replace(
            out / "manifest.json", manifest_of(out).configs["base"].shards[0].sha256, "0" * 64
        ),
        f"{FIRST}: sha256: found ",
    ),
    (
        "rows edited in the manifest",
        lambda out: replace(out / "manifest.json", '"rows": 7', '"rows": 6'),
        "manifest.json: configs.base.shards.1.rows: found 6, expected 7",
    ),
    (
        "classes edited in the manifest",
        lambda out: replace(out / "manifest.json", '"ship"', '"shop"'),
        "recipes/base.yaml: classes: found ['cat', 'dog', 'ship']",
    ),
    (
        "versions edited in the manifest",
        lambda out: replace(out / "manifest.json", '"torch": "', '"torch": "9'),
        "README.md: Versions: found ",
    ),
    (
        "a manifest that is no JSON",
        lambda out: truncate(out / "manifest.json"),
        "manifest.json: content: found ",
    ),
]


def drop_column(out: Path) -> None:
    found = manifest_of(out)
    restamp(out / FIRST, read_rows(out / FIRST), arrow_schema(found.labels, {}))


def other_labels(out: Path) -> None:
    found = manifest_of(out)
    schema = arrow_schema(["cat", "dog", "shop"], found.variables)
    restamp(out / FIRST, read_rows(out / FIRST), schema)


@pytest.mark.parametrize(
    ("plant", "begins"), [one[1:] for one in PLANTS], ids=[p[0] for p in PLANTS]
)
def test_a_planted_fault_is_named(out: Path, plant: Callable[[Path], Any], begins: str) -> None:
    plant(out)
    lines = [str(fault) for fault in verify_set(out).faults]
    assert any(line.startswith(begins) for line in lines), lines
    assert all(": found " in line and ", expected " in line for line in lines)


def test_rows_that_nobody_planned_are_not_read(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(out, FIRST, lambda rows: rows * 2)
    rewrite(out, SECOND, set_value("prompt", "x" * (200 << 20)))
    monkeypatch.setattr(size_limits, "RATIO", 1)
    read = ParquetFile.read
    opened: list[int] = []

    def reading(self: ParquetFile, *args: Any, **kwargs: Any) -> Any:
        opened.append(self.metadata.num_rows)
        return read(self, *args, **kwargs)

    monkeypatch.setattr(ParquetFile, "read", reading)
    faults = {(one.file, one.what): one for one in verify_set(out).faults}
    more = faults[FIRST, "rows"]
    assert (more.found, more.expected) == ("16", "8")
    assert "bytes would become more than" in faults[SECOND, "content"].found
    assert len(opened) == 4, "the other shards are read"


def test_swapped_shards_are_reported_by_their_own_names(out: Path) -> None:
    swap(out / FIRST, out / DOMAIN)
    found = {fault.file: fault.found for fault in verify_set(out).faults if fault.what == "sha256"}
    assert found.keys() == {FIRST, DOMAIN}
    assert found[FIRST].endswith(f"(the bytes of {DOMAIN})")
    assert found[DOMAIN].endswith(f"(the bytes of {FIRST})")


def test_many_faulty_rows_are_counted(out: Path) -> None:
    rewrite(out, FIRST, lambda rows: [row | {"prompt": "x"} for row in rows])
    lines = [str(fault) for fault in verify_set(out).faults if fault.file == FIRST]
    assert lines[-1] == f"{FIRST}: rows: found 3 more faults like these, expected none"
    assert len(lines) == 6


def random_damage(out: Path, *, times: int, seed: int) -> tuple[int, int]:
    """Damage random shards many times (bit flip or cut end); return how often it was found."""
    chance = random.Random(seed)
    shards = sorted((out / "data").rglob("*.parquet"))
    named = 0
    for _ in range(times):
        shard = chance.choice(shards)
        before = shard.read_bytes()
        if chance.random() < 0.7:
            flip(shard, chance.randrange(len(before) * 8))
        else:
            shard.write_bytes(before[: chance.randrange(len(before))])
        file = shard.relative_to(out).as_posix()
        faults = verify_set(out, config=shard.parent.name).faults
        named += file in {fault.file for fault in faults}
        shard.write_bytes(before)
    assert verify_set(out).whole
    return named, times


def test_random_damage_is_always_found(out: Path) -> None:
    assert random_damage(out, times=20, seed=0) == (20, 20)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_much_random_damage_is_always_found(out: Path) -> None:
    assert random_damage(out, times=1000, seed=1) == (1000, 1000)


def test_an_unfinished_build_is_named(out: Path) -> None:
    found = manifest_of(out)
    begun = found.configs["base"].model_copy(update={"complete": False, "shards": ()})
    found.model_copy(update={"configs": {**found.configs, "base": begun}}).write(out)
    (out / SECOND).unlink()
    lines = [str(fault) for fault in verify_set(out).faults]
    assert any(line.startswith("manifest.json: configs.base: found a build that") for line in lines)
    assert f"{SECOND}: file: found none, expected a shard of 7 images" in lines


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('"base": {', '"../base": {', "'../base' is not a valid config name"),
        ('"data/base/', '"data/base/../../../', "is not a file of config base"),
        ('"data/base/', '"/etc/base/', "is not a file of config base"),
        (
            '"shard_size": 8',
            '"shard_size": 0',
            "batch size, shard size and attempts must be 1 or more",
        ),
        (
            '"shard_size": 8',
            '"shard_size": "x"',
            "settings.shard_size: Input should be a valid int",
        ),
        ('"images": 15', '"images": -15', "base has -15 images"),
        (
            '      "members": [\n        "base",',
            '      "members": [\n        "share",',
            "'share' of",
        ),
        (
            '      "members": [\n        "base",',
            '      "members": [\n        "union",',
            "'union' of",
        ),
        ('"format": 1', '"format": 2', "format: Input should be 1"),
    ],
)
def test_a_manifest_with_paths_outside_the_dataset(
    out: Path, before: str, after: str, reason: str
) -> None:
    replace(out / "manifest.json", before, after)
    (fault,) = verify_set(out).faults
    assert (fault.file, fault.what) == ("manifest.json", "content")
    assert reason in fault.found


def test_additions_by_people_are_no_fault(out: Path) -> None:
    card = out / "README.md"
    card.write_text(card.read_text() + "\n## Thanks\n\n![Twelve of them](images/some.png)\n")
    (out / "images").mkdir()
    (out / "images/some.png").write_bytes(b"x")
    (out / ".gitattributes").write_text("*.parquet filter=lfs\n")
    assert verify_set(out).whole


def test_a_dataset_of_a_deleted_model_is_still_valid(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    generate(recipe(tmp_path, "base", model={"id": str(model)}), tmp_path / "out")
    shutil.rmtree(model)
    assert verify_set(tmp_path / "out").whole


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([*arguments, "--quiet"]))


def test_the_command_reports_faults_or_none(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(out)) == 0
    assert capsys.readouterr().out == f"{out}: no faults (6 shards, 42 rows)\n"
    (out / SECOND).unlink()
    assert run(str(out), "--config", "base") == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{SECOND}: file: found none, expected a shard of 7 images"
    assert printed[-1].startswith(f"{out}: 1 fault (2 shards, 8 rows)")
    assert run(str(out), "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["whole"] is False
    assert report["faults"][0]["file"] == SECOND


def test_invalid_input_to_verify_is_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no config 'bass'; it has: base, domain, share, union"):
        verify_set(out, config="bass")
    with pytest.raises(UserError, match=r"is not a dataset directory \(no manifest\.json\)"):
        verify_set(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        *("card OUT", "gate OUT --near-duplicates", "gate OUT --marks MARKS", "push OUT a/b"),
        *("replay OUT --config a --index 0", "report OUT", "status OUT", "tidy OUT"),
        *("to-fiftyone OUT --out NEW", "verify OUT", "view OUT"),
        "grow OUT --judge x --candidates 2 --keep 1",
    ],
)
def test_every_command_refuses_a_directory_that_is_no_dataset(words: str, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "marks.csv").write_text("recipe,index\nbase,0\n")
    places = {"NEW": tmp_path / "new", "MARKS": tmp_path / "marks.csv"}
    for name, message in (
        ("digts", rf"digts: directory not found; did you mean {tmp_path}/digits\?$"),
        ("none", r"none: directory not found; name a directory that `.*build` wrote$"),
        ("digits", r"digits: is not a dataset directory \(no manifest\.json\); name a directory"),
    ):
        line = [str({**places, "OUT": tmp_path / name}.get(word, word)) for word in words.split()]
        with pytest.raises(UserError, match=message):
            main(line)


def test_a_card_that_needs_much_memory_is_refused(out: Path) -> None:
    lines = ['a0: &a0 ["lol"]']
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    bomb = "\n".join([*lines, "configs:", "- config_name: *a11"])
    deep = "configs: " + "[" * 5000 + "]" * 5000
    for header in (bomb, deep):
        (out / "README.md").write_text(f"---\n{header}\n---\n")
        # Without a card that shows them, its images are stray files.
        (fault,) = (one for one in verify_set(out).faults if one.file == "README.md")
        assert fault.what == "header"
        assert "more than" in fault.found or "deeper than" in fault.found


@pytest.mark.parametrize(
    "name",
    [
        "data/.DS_Store",
        "data/base/._train-00000-of-00002.parquet",
        "recipes/Thumbs.db",
        "desktop.ini",
        "data/base/.nfs000000000123",
        "card/@eaDir/contact-sheet.jpg",
        "recipes/base.yaml~",
        "recipes/.base.yaml.swp",
    ],
)
def test_files_of_systems_are_overlooked_and_never_published(out: Path, name: str) -> None:
    path = out / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert verify_set(out).whole
    assert name not in set_files(out, manifest_of(out))


def test_the_message_about_a_stray_file_has_a_remedy(out: Path) -> None:
    (out / "data/base/notes.txt").write_text("x")
    (fault,) = verify_set(out).faults
    assert "move or delete it" in str(fault)
