"""Untrusted files: bounded reading, checks before use, no links out of their folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from build_parts import FakeRenderer, combination, recipe
from fault_parts import generate
from safetensors.torch import save_file

from eval.features import load_features
from eval.study.spec import read_study
from factory.card.header import with_exact_files
from factory.cli.main import main
from factory.common.errors import FactoryError, UserError
from factory.common.local_paths import foreign_files, is_inside
from factory.common.markup import cell, code, table_cell
from factory.common.scores_for_cards import read_score_file
from factory.common.untrusted_files import read_json, read_yaml
from factory.common.whole_files import replace_text
from factory.distributions.caption_texts import captions_of
from factory.distributions.captions import CaptionSource
from factory.inspection.replay import replay
from factory.inspection.verify import Sample, verify_set
from factory.inspection.verify_files import check_card
from factory.models.model_config import read_model_config
from factory.models.model_size import no_larger_than
from factory.planner.sampling_summary import settings_on_disk
from factory.recipe.known_words import known_words
from factory.recipe.library import load_stored_recipe
from factory.recipe.merge import read_overrides
from factory.recipe.paths import find_recipe
from factory.recipe.schema import Model
from factory.shards.manifest import Manifest, read_manifest
from factory.sharing.push_dataset import set_files
from train.folder_lock import only_run
from train.generator.config import load_config
from train.model import create_classifier
from train.publish import publish_run
from train.run_folder import write_config, write_metrics
from train.saving import keep_weights

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.yaml", BOMB, "contains more than 400,000 values"),
        ("x.yaml", "[" * 20_000, "is nested deeper than 50 levels"),
        ("x.yaml", "a: !!python/name:os.system", "is not allowed"),
        ("x.yaml", "", "is empty"),
        ("x.yaml", "#" * 4_000_001, "is larger than 4,000,000 bytes"),
        ("x.json", "[" * 100_000, "is nested deeper than 50 levels"),
        ("x.json", "[" * 60 + "]" * 60, "is nested deeper than 50 levels"),
        ("x.json", '{"a": NaN}', "NaN is not a finite number"),
        ("x.json", "1e999", "1e999 is not a finite number"),
        ("x.json", '{"a": 1, "a": 2}', "'a' occurs twice"),
        ("x.json", "9" * 5000, "is not valid JSON"),
        ("x.json", '"\\ud800"', "contains a lone surrogate"),
    ],
)
def test_files_from_outside_are_bounded(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        (read_json if name.endswith("json") else read_yaml)(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_study, lambda path: load_config(path, {})])
@pytest.mark.parametrize(
    "text", [BOMB, "[" * 20_000, "a: 2024-99-99", "a: " + "9" * 5000, "[1]", "a: \0", "a: *b"]
)
def test_settings_of_studies_and_generators_are_bounded(
    read: Callable[[Path], Any], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read(path)
    assert all(line.startswith(str(path)) for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    "header",
    ["a: 2024-99-99", "[" * 3000, "a: " + "9" * 5000, "configs: 5", "configs: [5]", "- configs"],
)
def test_an_odd_header_of_a_card_is_left_as_it_is(header: str) -> None:
    text = f"---\n{header}\n# train-*.parquet\n---\n# A card\n"
    assert with_exact_files(text, Manifest.model_construct(configs={})) == text


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(UserError, match="is not a regular file"):
        read_json(tmp_path / "pipe.json")


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "local-dir:/etc"},
        {"architecture": ["a"]},
        {"architecture": "no_such_net"},
        {"num_classes": 10**12},
        {"label_names": "ab"},
        {"model_args": {"checkpoint_path": "/etc/passwd"}},
        {"model_args": {"pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/x"}}},
        {"model_args": {"layers": [10**6, 1, 1, 1]}},
        {"pretrained_cfg": {"input_size": [3, 100_000, 100_000]}},
        {"pretrained_cfg": {"std": [0, 0, 0]}},
        {"pretrained_cfg": {"crop_pct": -1}},
        {"pretrained_cfg": {"crop_pct": 0.0101}},
        {"pretrained_cfg": {"input_size": [3, 2048, 2048], "crop_pct": 0.2}},
        {"pretrained_cfg": {"input_size": [3, 2048, 2048], "test_crop_pct": 0.2}},
        {"pretrained_cfg": []},
    ],
)
def test_a_model_config_is_checked_before_a_model_is_made(
    change: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": {}, **change}))
    with pytest.raises(UserError, match=r"config\.json"):
        read_model_config(path)


def test_a_model_is_not_larger_than_its_weights(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, weights)
    with no_larger_than(weights):
        torch.nn.Linear(3, 2)
    with (
        pytest.raises(ValueError, match="more parameters than the file of weights"),
        no_larger_than(weights),
    ):
        torch.nn.Linear(30_000, 20_000)
    with (
        pytest.raises(ValueError, match="more parameters than the file of weights"),
        no_larger_than(weights),
    ):
        torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(1000)))
    torch.nn.Linear(30, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_args": {"layers": [10**6, 1, 1, 1]}}, "the limit is"),
        ({"model_args": {"layers": [60_000, 1, 1, 1]}}, "more parameters than the file of weights"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "must not contain checkpoint_path"),
        ({"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}, "input_size"),
    ],
)
def test_training_starts_from_checked_models_only(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 2, "pretrained_cfg": {}}
    path = tmp_path / "config.json"
    how: dict[str, Any] = {"side": 32, "pretrained": True, "model_args": {}}
    path.write_text(json.dumps(config | {"pretrained_cfg": {"classifier": "fc"}}))
    create_classifier(f"local-dir:{tmp_path}", num_classes=3, **how)
    path.write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message):
        create_classifier(f"local-dir:{tmp_path}", num_classes=3, **how)


@pytest.mark.parametrize(
    "source", ["local-dir", "LOCAL-DIR", "Local-Dir", "hf-hub", "HF-HUB", "Hf_Hub"]
)
def test_a_model_is_checked_whatever_the_case_of_its_source(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm accepts these prefixes in any case, and checks nothing itself."""
    config = {"architecture": "test_resnet", "model_args": {"checkpoint_path": "/etc/passwd"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    is_hub = source.lower() != "local-dir"
    for module in ("train.model", "eval.timm_models"):
        monkeypatch.setattr(f"{module}.fetch_model", lambda _: (tmp_path, "0" * 40))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was called"))
    name = f"{source}:{'org/x' if is_hub else tmp_path}"
    with pytest.raises(UserError, match="must not contain checkpoint_path"):
        create_classifier(name, num_classes=2, side=32, pretrained=True, model_args={})
    with pytest.raises(UserError, match="must not contain checkpoint_path"):
        load_features(name)


@pytest.mark.parametrize("name", ["s3:org/x", "http://127.0.0.1:9/x", "hf.hub:org/x"])
def test_a_model_of_an_unknown_source_is_not_passed_to_timm(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was called"))
    with pytest.raises(UserError, match="timm has no such model"):
        create_classifier(name, num_classes=2, side=32, pretrained=True, model_args={})
    with pytest.raises(UserError, match="unknown source"):
        load_features(name)


def test_a_link_out_of_a_dataset_is_never_sent(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("PRIVATE")
    out = tmp_path / "set"
    (out / "card").mkdir(parents=True)
    (out / "manifest.json").write_text("{}")
    (out / "card" / "plot.png").write_text("image")
    (out / "card" / "near.png").symlink_to("plot.png")
    (out / "card" / "far.png").symlink_to(tmp_path / "key")
    (out / "card" / "folder").symlink_to(tmp_path)
    os.mkfifo(out / "card" / "pipe.png")
    assert [path.name for path in foreign_files(out)] == ["far.png", "folder", "pipe.png"]
    faults = verify_set(out).faults
    assert [fault.file for fault in faults] == ["card/far.png", "card/folder", "card/pipe.png"]
    sent = set_files(out, Manifest.model_construct(configs={}))
    assert set(sent) == {"manifest.json", "card/plot.png", "card/near.png"}


def test_a_link_out_of_a_run_is_never_sent(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.safetensors", "config.json", "config.yaml"):
        (run / name).write_text("x")
    (tmp_path / "key").write_text("PRIVATE")
    (run / "metrics.csv").symlink_to(tmp_path / "key")
    with pytest.raises(UserError, match=r"metrics\.csv: is a link out of .*run and is not read"):
        publish_run(run, "me/model")


@pytest.mark.parametrize("store", ["datasets--a--b/blobs", "blobs/ab"])
def test_contents_of_a_snapshot_of_the_hub_are_inside(store: str, tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--a--b" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / store).mkdir(parents=True)
    (tmp_path / store / "x").write_text("x")
    (tmp_path / "key").write_text("PRIVATE")
    (snapshot / "near").symlink_to(tmp_path / store / "x")
    (snapshot / "far").symlink_to(tmp_path / "key")
    assert is_inside(snapshot / "near", snapshot)
    assert not is_inside(snapshot / "far", snapshot)
    other = tmp_path / "snapshots" / "mine"
    other.mkdir(parents=True)
    (other / "x").symlink_to(tmp_path / store / "x")
    assert not is_inside(other / "x", other)


def test_a_card_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"---\n\xff\n---\n")
    (fault,) = check_card(tmp_path, Manifest.model_construct(configs={}))
    assert fault.found == "is not UTF-8 text (byte 4)"


def test_a_manifest_of_endless_shards_is_refused(tmp_path: Path) -> None:
    entry = {"kind": "set", "fingerprint": "0", "model": "m", "revision": None}
    manifest = {
        "settings": {"dtype": "float32", "device": "cpu", "batch_size": 1, "shard_size": 1}
        | {"threads": 1, "attempts": 1},
        "device": "cpu",
        "versions": [],
        "labels": ["a"],
        "variables": {},
        "configs": {"x": entry | {"images": 10**12, "images_per_class": 10**12}},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="x has more than 1,000,000 shards"):
        read_manifest(tmp_path)


def test_captions_are_read_from_regular_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "captions.txt")
    source = CaptionSource(file=str(tmp_path / "captions.txt"))
    with pytest.raises(UserError, match="is not a regular file"):
        captions_of(source.place, sha256=None)


WATCHED: list[str] = []
OPENED: list[str] = []


def _note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and WATCHED and str(arguments[0]).startswith(WATCHED[0]):
        OPENED.append(str(arguments[0]))


# Python has no way to remove it; it does nothing outside the tests below.
sys.addaudithook(_note_opened)
SECRET = "TOP-SECRET"


@pytest.fixture
def secrets(tmp_path: Path) -> Iterator[Path]:
    """Write files outside a dataset; every file that is opened among them is noted."""
    folder = tmp_path / "secrets"
    (folder / "model").mkdir(parents=True)
    (folder / "captions.txt").write_text(f"{SECRET}\n")
    (folder / "captions.csv").write_text(f"{SECRET},label\na cat,cat\n")
    (folder / "classes.yaml").write_text(f"[{SECRET}]")
    (folder / "model" / "model_index.json").write_text(json.dumps({"_class_name": SECRET}))
    save_file({"x": torch.zeros(1)}, folder / "a.safetensors")
    recipe(folder, "other", summary=SECRET)
    OPENED.clear()
    WATCHED[:] = [str(folder)]
    yield folder
    WATCHED.clear()


def strange(tmp_path: Path, config: str, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """Build a dataset and change a stored recipe, as a stranger can."""
    recipe(tmp_path, "base", model={"id": "embedded"}, images_per_class=1)
    combination(tmp_path, "union", ["base"])
    out = tmp_path / "out"
    generate([tmp_path / "base.yaml", tmp_path / "union.yaml"], out)
    stored = out / "recipes" / f"{config}.yaml"
    values = yaml.safe_load(stored.read_text())
    edit(values)
    stored.write_text(yaml.safe_dump(values))
    return out


def captions(**source: Any) -> Callable[[dict[str, Any]], None]:
    """Return an edit: prompts that are captions."""

    def edit(values: dict[str, Any]) -> None:
        values["variables"] = {"text": {"captions": source}}
        values["prompt"] = "a {class} {text}"

    return edit


STRANGE: dict[str, tuple[str, Callable[[Path], Callable[[dict[str, Any]], Any]], str]] = {
    "captions": (
        "base",
        lambda folder: captions(file=str(folder / "captions.txt")),
        "is on this machine and is not read: `sha256`",
    ),
    "captions in a folder": (
        "base",
        lambda folder: captions(dataset=str(folder)),
        "is on this machine and is not read: `sha256`",
    ),
    "captions in a folder with a commit": (
        "base",
        lambda folder: captions(dataset=str(folder), revision="0" * 40),
        "is on this machine and is not read: `sha256`",
    ),
    "captions of the Hub": (
        "base",
        lambda _: captions(dataset="org/x"),
        "dataset org/x is not read: `revision`, the commit, is missing",
    ),
    "captions of the Hub with a hash": (
        "base",
        lambda _: captions(dataset="hf://datasets/org/x", sha256="0" * 64),
        "is not read: `revision`, the commit, is missing",
    ),
    "a parent on the Hub": (
        "base",
        lambda _: lambda values: values.update(extends="hf://datasets/org/x/other"),
        "extends: names another file, which is not read",
    ),
    "classes on the Hub": (
        "base",
        lambda _: lambda values: values.update(classes="hf://datasets/org/x/classes/a.yaml"),
        "classes: names another file, which is not read",
    ),
    "a member on the Hub": (
        "union",
        lambda _: lambda values: values.update(combine=["hf://datasets/org/x/other"]),
        "combine.0: there is no recipe",
    ),
    "a parent": (
        "base",
        lambda folder: lambda values: values.update(extends=str(folder / "other.yaml")),
        "extends: names another file, which is not read",
    ),
    "classes": (
        "base",
        lambda folder: lambda values: values.update(classes=str(folder / "classes.yaml")),
        "classes: names another file, which is not read",
    ),
    "a packaged list of classes": (
        "base",
        lambda _: lambda values: values.update(classes="cifar10"),
        "classes: names another file, which is not read",
    ),
    "a member": (
        "union",
        lambda folder: lambda values: values.update(combine=[str(folder / "other")]),
        "combine.0: there is no recipe",
    ),
    "a member above": (
        "union",
        lambda _: lambda values: values.update(combine=["../../secrets/other"]),
        "combine.0: there is no recipe",
    ),
    "a model": (
        "base",
        lambda folder: lambda values: values["model"].update(id=str(folder / "model")),
        "",
    ),
    "an adapter": (
        "base",
        lambda folder: (
            lambda values: values["model"].update(adapters=[{"id": str(folder / "a.safetensors")}])
        ),
        "",
    ),
}


def use_all_commands(out: Path, tmp_path: Path) -> None:
    """Run each command that reads a dataset's recipes, as far as it goes."""
    recipe(tmp_path, "later", model={"id": "embedded"}, prompt=["a {class}", "one {class}"])
    name = str(out)
    for words in (
        ["status", name],
        ["verify", name],
        ["verify", name, "--rebuild", "100%"],
        ["replay", name, "--config", "base", "--index", "0"],
        ["replay", name, "--config", "base", "--index", "0", "--alone"],
        ["diff", name, name],
        ["card", name],
        ["gate", name, "--near-duplicates"],
        ["push", name, "org/x"],
        ["tidy", name],
    ):
        with suppress(FactoryError):
            main(words)
    with suppress(FactoryError):
        generate([tmp_path / "later.yaml"], out)


@pytest.mark.parametrize("kind", STRANGE)
def test_a_stored_recipe_reads_no_file_outside_its_dataset(
    kind: str,
    tmp_path: Path,
    secrets: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, edit, message = STRANGE[kind]
    out = strange(tmp_path, config, edit(secrets))
    for call in ("factory.hub.download.fetch", "factory.hub.session.HubSession.call"):
        monkeypatch.setattr(call, lambda *_, **__: pytest.fail("the Hub was asked"))
    OPENED.clear()
    if message:
        with pytest.raises(UserError, match=message):
            load_stored_recipe(out / "recipes" / f"{config}.yaml")
    else:
        for call in (
            lambda: replay(out, config=config, index=0),
            lambda: verify_set(out, sample=Sample(1.0)),
        ):
            with suppress(UserError):
                call()
    use_all_commands(out, tmp_path)
    assert OPENED == []
    printed = "".join(capfd.readouterr())
    assert SECRET not in printed
    assert SECRET not in (out / "README.md").read_text()


def test_a_link_to_a_recipe_elsewhere_is_not_read(tmp_path: Path, secrets: Path) -> None:
    out = strange(tmp_path, "base", lambda _: None)
    (out / "recipes" / "base.yaml").unlink()
    (out / "recipes" / "base.yaml").symlink_to(secrets / "other.yaml")
    OPENED.clear()
    with pytest.raises(UserError, match=r"base\.yaml: is a link out of .* and is not read"):
        load_stored_recipe(out / "recipes" / "base.yaml")
    use_all_commands(out, tmp_path)
    assert OPENED == []


def test_captions_elsewhere_are_used_only_if_their_hash_is_known(
    tmp_path: Path, secrets: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("captions.txt", "captions.csv"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        edit = captions(file=str(secrets / name), column="x", sha256="0" * 64)
        use_all_commands(strange(folder, "base", edit), folder)
    assert SECRET not in "".join(capfd.readouterr())
    # Captions of one's own dataset are found again.
    (tmp_path / "words.txt").write_text("by day\nby night\n")
    recipe(
        tmp_path,
        "own",
        prompt="a {class} {text}",
        variables={"text": {"captions": {"file": "words.txt"}}},
    )
    generate([tmp_path / "own.yaml"], tmp_path / "own")
    assert verify_set(tmp_path / "own").faults == ()
    (tmp_path / "words.txt").write_text("by day\n")
    with pytest.raises(
        UserError, match=r"have changed since .* \(their sha256 is not [0-9a-f]{12}"
    ):
        replay(tmp_path / "own", config="own", index=0, renderer_factory=FakeRenderer)


@pytest.mark.parametrize("part", ["model", "adapter"])
def test_a_model_on_this_machine_is_loaded_only_when_allowed(
    part: str, tmp_path: Path, secrets: Path
) -> None:
    found = secrets / ("model" if part == "model" else "a.safetensors")
    values = {"id": str(found)} if part == "model" else {"adapters": [{"id": str(found)}]}
    out = strange(tmp_path, "base", lambda stored: stored["model"].update(values))
    with pytest.raises(
        UserError, match=r"base: the stored recipe uses '.*' on this machine, .*--allow-local-model"
    ):
        replay(out, config="base", index=0)
    with pytest.raises(UserError) as caught:
        replay(out, config="base", index=0, allow_local_model=True)
    # The directory is no whole model, and the recipe does not know the hash of the adapter.
    assert "on this machine" not in str(caught.value)
    assert str(found) in str(caught.value)


def test_a_model_on_this_machine_is_described_by_bounded_files(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("[" * 100_000)
    os.mkfifo(tmp_path / "words.txt")
    assert settings_on_disk(Model(id=str(tmp_path))).scheduler is None
    assert known_words(str(tmp_path)) is None


GOOD: dict[str, Any] = {
    "format": "data-factory/scores",
    "format_version": 1,
    "model": {"architecture": "net", "weights_sha256": "0"},
    "real": {"name": "real", "split": "test", "num_images": 5},
    "metrics": {"top1": 0.5, "top1_low": 0.1, "top1_high": 0.9},
}


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"top1": 5.0, "top1_low": 0.1, "top1_high": 0.9}},
        {"metrics": {"top1": "a", "top1_low": 0.1, "top1_high": 0.9}},
        {"metrics": 1},
        {"real": []},
        {"real": {"name": "x" * 5000, "num_images": 5}},
        {"real": {"name": "x", "num_images": -5}},
        {"model": None},
    ],
)
def test_scores_are_checked_when_read(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "scores-real.json"
    path.write_text(json.dumps(GOOD))
    assert read_score_file(path).metrics.top1 == 0.5
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(UserError, match=r"scores-real\.json: is damaged"):
        read_score_file(path)


def test_untrusted_names_are_escaped() -> None:
    name = "x | y\n\n# Heading <b> [a](b) `c` \x1b[31m\u202e"
    assert cell(name) == "x \\| y # Heading \\<b> \\[a\\](b) \\`c\\` \\[31m"
    assert table_cell(name) == "x \\| y # Heading \\<b> [a]\\(b) \\`c\\` [31m"
    assert code(name) == "x / y # Heading <b> [a](b) 'c' [31m"
    assert len(cell("x" * 5000)) == 200


def test_a_second_training_in_one_folder_is_refused(tmp_path: Path) -> None:
    with (
        only_run(tmp_path),
        pytest.raises(UserError, match="another training is running in this folder"),
        only_run(tmp_path),
    ):
        pass
    with only_run(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_reported_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with only_run(tmp_path):
        pass
    said = capsys.readouterr().err
    assert f"{tmp_path}: its file system has no locks ({os.strerror(number)})" in said
    assert said.count("second training in it cannot be prevented") == 1


def test_other_lock_errors_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken"), only_run(tmp_path):
        pass


def test_nothing_is_written_through_links_in_the_folder_of_a_stranger(tmp_path: Path) -> None:
    mine, run = tmp_path / "mine", tmp_path / "run"
    mine.write_text("mine")
    run.mkdir()
    for name in (".config.yaml.tmp", ".metrics.csv.tmp", ".a.txt.tmp", "a.txt", ".lock"):
        (run / name).symlink_to(mine)
    write_config(run / "config.yaml", {"a": 1})
    write_metrics(run, [])
    replace_text(run / "a.txt", "text\n")
    assert (run / "config.yaml").read_text() == "a: 1\n"
    assert (run / "a.txt").read_text() == "text\n" and not (run / "a.txt").is_symlink()
    assert (run / "metrics.csv").read_text().startswith("epoch,lr,")
    refused = pytest.raises(UserError, match=r"\.lock: is a link and not a lock file of `train`")
    with refused, only_run(run):
        pass
    (run / "epochs").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match="epochs: is a link out of the run folder"):
        keep_weights(torch.nn.Linear(1, 1), run, epoch=1)
    assert mine.read_text() == "mine" and not list((tmp_path / "elsewhere").iterdir())
    assert not list(run.glob(".*.tmp"))


def test_endless_names_and_keys_are_refused_in_one_short_line() -> None:
    with pytest.raises(UserError, match="has 5000 levels; the deepest recipe key has 4") as caught:
        read_overrides([f"{'.'.join('a' * 5000)}=1"], images_per_class=None, model=None)
    assert len(str(caught.value)) < 1000
    for name in ("a" * 5000, "b/" * 2000, "c" * 300):
        with pytest.raises(UserError, match="there is no recipe") as caught:
            find_recipe(name)
        assert len(str(caught.value)) < 1000
