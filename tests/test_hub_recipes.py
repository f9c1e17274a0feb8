"""Recipes on the Hub: references, pins, cache, and limits for untrusted content."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from build_parts import FakeRenderer, recipe, tree
from hub_parts import ROOT, run_factory, run_python
from localhub import LocalHub
from localhub_repos import Repo
from quick_python import python
from recipe_texts import BASE

from factory.builder.build import build
from factory.builder.jobs import make_jobs, require_same_as_begun
from factory.common.errors import Failure, UserError
from factory.hub.recipe_references import HubPlace, parse_reference, place_of
from factory.recipe.paths import packaged_dir
from factory.shards.manifest import read_manifest
from factory.sharing.recipe_folder import share_folder
from factory.sharing.recipe_index import readme_text

TEAM = "team/recipes"
COMMIT = "0123456789" * 4


@pytest.fixture
def team_hub() -> Iterator[LocalHub]:
    """A loopback Hub in one mode; both transfer modes handle text files in the same way."""
    with LocalHub(xet=True) as started:
        yield started


def put(
    hub: LocalHub, files: Mapping[str, str | bytes], *, repo: str = TEAM, tag: str | None = None
) -> str:
    """Commit files directly into the Hub's state and return the commit."""
    found = hub.repos.setdefault(("datasets", repo), Repo("datasets", repo))
    before = found.commits[found.branches["main"]].files if found.branches else {}
    blobs = {
        path: hub.regular_blob(text.encode() if isinstance(text, str) else text)
        for path, text in files.items()
    }
    commit = found.add_commit("main", "a commit", "", "someone", {**before, **blobs})
    if tag:
        found.tags[tag] = commit.oid
    return commit.oid


def local(folder: Path, text: str, name: str = "child") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def resolved(hub: LocalHub, home: Path, reference: object, **env: Any) -> str:
    done = run_factory(hub, home, "recipes", "show", reference, "--resolved", **env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://datasets/a/b", ("a/b", None, "")),
        ("hf://datasets/a/b@v1", ("a/b", "v1", "")),
        ("hf://datasets/a/b@v1/x/y.yaml", ("a/b", "v1", "x/y.yaml")),
        ("hf://datasets/a/b/x", ("a/b", None, "x")),
        ("hf://datasets/a/b@refs/pr/3/x", ("a/b", "refs/pr/3", "x")),
        ("hf://datasets/a/b@feature%2Fx/y", ("a/b", "feature/x", "y")),
    ],
)
def test_hub_references_are_parsed(text: str, expected: tuple[str, str | None, str]) -> None:
    found = parse_reference(text)
    assert (found.repo_id, found.revision, found.path) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hf://",
        "hf://datasets/a",
        "hf://models/a/b",
        "hf://a/b",
        "hf://datasets/a/b/../../c",
        "hf://datasets/a/b/.hidden",
        "hf://datasets/a/b@v1/x@v2",
        "hf://datasets/../b",
    ],
)
def test_invalid_references_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a valid reference to recipes on the Hub"):
        parse_reference(text)


def test_a_copy_records_its_origin() -> None:
    path = Path("/cache/hub/datasets--a--b/snapshots", COMMIT, "recipes/x.yaml")
    assert place_of(path) == HubPlace("a/b", COMMIT, "recipes/x.yaml")
    assert str(place_of(path)) == f"hf://datasets/a/b@{COMMIT}/recipes/x.yaml"
    assert place_of(path.parent.parent) == HubPlace("a/b", COMMIT, "")
    assert place_of(Path("/home/datasets/recipes/x.yaml")) is None


def test_a_resolved_recipe_keeps_its_commit_when_the_tag_moves(
    team_hub: LocalHub, tmp_path: Path
) -> None:
    first = put(team_hub, {"recipes/pets/base.yaml": BASE}, tag="v1")
    child = local(
        tmp_path, "extends: hf://datasets/team/recipes@v1/pets/base\nnegative_prompt: x\n"
    )
    home = tmp_path / "home"
    before = resolved(team_hub, home, child)
    assert f"- hf://datasets/team/recipes@{first}/recipes/pets/base.yaml\n" in before
    assert "label: cat" in before
    put(team_hub, {"recipes/pets/base.yaml": BASE.replace("dog", "owl")}, tag="v1")
    assert "label: owl" in resolved(team_hub, home, child)
    kept = local(tmp_path, before, "kept")
    assert resolved(team_hub, home, kept) == before
    pinned = local(tmp_path, child.read_text().replace("@v1/", f"@{first}/"), "pinned")
    assert "label: cat" in resolved(team_hub, tmp_path / "other home", pinned)


def test_cached_recipes_work_offline(team_hub: LocalHub, tmp_path: Path) -> None:
    put(
        team_hub,
        {
            "recipes/pets/base.yaml": BASE.replace("[cat, dog]", "animals"),
            "recipes/classes/animals.yaml": "[cat, dog]\n",
            "recipes/pets/two.yaml": 'extends: base\nprompt: "{class}"\n',
            "recipes/pets/both.yaml": "combine: [base, two]\n",
        },
        tag="v1",
    )
    home, folder = tmp_path / "home", "hf://datasets/team/recipes@v1"
    alone = local(tmp_path, "extends: hf://datasets/team/recipes@v1/pets/base\n")
    plan = ("plan", folder, "--jsonl")
    online = run_factory(team_hub, home, *plan)
    assert online.returncode == 0, online.stderr
    assert len(online.stdout.splitlines()) == 16
    text = resolved(team_hub, home, alone)
    asked = len(team_hub.log())
    offline = run_factory(team_hub, home, *plan, HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stdout) == (0, online.stdout)
    assert resolved(team_hub, home, alone, HF_HUB_OFFLINE="1") == text
    assert len(team_hub.log()) == asked
    team_hub.fault(".*", "status", times=None, status=503)
    down = run_factory(team_hub, home, *plan, DATA_FACTORY_HUB_PATIENCE_S="1")
    assert (down.returncode, down.stdout) == (0, online.stdout)
    assert "from the cache" in down.stderr
    cold = run_factory(team_hub, tmp_path / "cold", *plan, DATA_FACTORY_HUB_PATIENCE_S="1")
    assert cold.returncode == 1
    assert "team/recipes@v1: the Hub could not be reached" in cold.stderr
    colder = run_factory(team_hub, tmp_path / "cold", *plan, HF_HUB_OFFLINE="1")
    assert colder.returncode == 2
    assert "HF_HUB_OFFLINE is set and this is not in the cache" in colder.stderr


def test_a_folder_with_only_one_cached_recipe_is_not_read_offline(
    team_hub: LocalHub, tmp_path: Path
) -> None:
    put(team_hub, {"recipes/a.yaml": BASE, "recipes/b.yaml": BASE})
    resolved(team_hub, tmp_path / "home", "hf://datasets/team/recipes/a")
    whole = ("plan", "hf://datasets/team/recipes/recipes", "--jsonl")
    done = run_factory(team_hub, tmp_path / "home", *whole, HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "the list of recipes" in done.stderr


_REFUSALS = """
import json, sys
from factory.common.errors import FactoryError
from factory.recipe.library import load_recipe
found = {}
for name in json.loads(sys.argv[1]):
    try:
        load_recipe(name)
        found[name] = "loaded"
    except FactoryError as error:
        found[name] = f"{error.exit_status} {error}"
print(json.dumps(found))
"""


def refusals(hub: LocalHub, home: Path, references: list[str], **env: Any) -> dict[str, str]:
    done = run_python(hub, home, _REFUSALS, json.dumps(references), **env)
    assert done.returncode == 0, done.stderr
    printed: dict[str, str] = json.loads(done.stdout)
    return printed


STRANGE = {
    "passwd": ("extends: /etc/passwd\n", "'/etc/passwd' is outside the recipe's folder"),
    "above": ("extends: ../../../secret\n", "is outside the recipe's folder"),
    "home": ("extends: ~/x\n", "is outside the recipe's folder"),
    "hidden": ("extends: .hidden\n", "is outside the recipe's folder"),
    "packaged": ("extends: quickstart/base-class\n", "there is no recipe 'quickstart/base-class'"),
    "member": ("combine: [/etc/passwd]\n", "combine.0: '/etc/passwd' is outside"),
    "classes": (BASE.replace("[cat, dog]", "/etc/hostname.yaml"), "no class list"),
    "digits": (BASE.replace("[cat, dog]", "digits"), "no class list 'digits' in classes/"),
    "model": (BASE.replace("embedded", "/srv/model"), "/srv/model is a local path"),
    "model2": (BASE.replace("embedded", "factory/embedded"), "is a local path"),
    "adapter": (
        BASE.replace("embedded", "a/b, adapters: [{id: /srv/style.safetensors}]"),
        "/srv/style.safetensors is a local path",
    ),
    "file": (
        BASE.replace('"a {class}"', '"{c}"') + "variables: {c: {captions: {file: /etc/passwd}}}\n",
        "/etc/passwd is a local path",
    ),
    "folder": (
        BASE.replace('"a {class}"', '"{c}"') + "variables: {c: {captions: {dataset: tests}}}\n",
        "tests is a local path",
    ),
    "tag": ("classes: !!python/object/apply:os.system [ls]\n", "tag .* is not allowed"),
    "bomb": (
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
            for old, new in zip("abcdefg", "bcdefgh", strict=True)
        ),
        "contains more than 100,000 values",
    ),
    "name": (BASE + "name: ../../x\n", "is not a valid name"),
    "loop": ("extends: loop\n", "extend each other"),
    "big": ("#" + "x" * 1_000_001, "has 1,000,002 bytes; the limit for recipe files is 1,000,000"),
    "binary": (b"\xff\xfe\x00", "is not UTF-8 text"),
    "escape": (BASE + 'summary: "\\e[31mred"\n', "control character|invisible character"),
    "other": ("extends: hf://datasets/no/where/x\n", "extends: no/where.*not on the Hub|no/where"),
}


def test_an_untrusted_recipe_reads_no_local_file(team_hub: LocalHub, tmp_path: Path) -> None:
    put(team_hub, {f"recipes/{name}.yaml": text for name, (text, _) in STRANGE.items()})
    references = {f"hf://datasets/team/recipes/{name}": name for name in STRANGE}
    printed = refusals(team_hub, tmp_path / "home", list(references))
    for reference, name in references.items():
        assert re.search(STRANGE[name][1], printed[reference]), (name, printed[reference])
        assert printed[reference].startswith("2 "), printed[reference]
    sizes = [entry for entry in team_hub.log("resolve") if "big.yaml" in entry["path"]]
    assert sizes == []


def test_missing_repositories_and_files_are_one_line(team_hub: LocalHub, tmp_path: Path) -> None:
    put(team_hub, {"recipes/a/x.yaml": BASE, "recipes/b/y.yaml": BASE, "notes.md": "x"})
    put(team_hub, {"data.csv": "x"}, repo="team/data")
    put(team_hub, {"recipes/x.yaml": BASE}, repo="team/gated")
    team_hub.repos["datasets", "team/gated"].gated = "manual"
    wanted = {
        "hf://datasets/team/recipes/z": "no such recipe; it has: a/x, b/y",
        "hf://datasets/team/recipes/recipes/z.yaml": "no such recipe",
        "hf://datasets/team/recipes@v9/a/x": "revision not found",
        "hf://datasets/team/recipes": "contains several recipe folders; add one of /a, b",
        "hf://datasets/team/data": r"has no recipes/ with recipes in it",
        "hf://datasets/team/nothing/x": "team/nothing",
        "hf://datasets/team/gated/x": "access is restricted",
    }
    printed = refusals(team_hub, tmp_path / "home", list(wanted), token=team_hub.other_token)
    for reference, message in wanted.items():
        assert re.search(message, printed[reference]), printed[reference]
        assert len(printed[reference].splitlines()) == 1
        assert printed[reference].startswith("2 ")


def test_a_damaged_copy_is_noticed(team_hub: LocalHub, tmp_path: Path) -> None:
    put(team_hub, {"recipes/x.yaml": BASE})
    team_hub.fault("resolve", "flip", skip=1)
    reference, home = "hf://datasets/team/recipes/x", tmp_path / "home"
    (printed,) = refusals(team_hub, home, [reference]).values()
    assert printed.startswith("1 ")
    assert "was damaged during the download" in printed
    assert refusals(team_hub, home, [reference]) == {reference: "loaded"}


def test_a_temporary_fault_is_retried(team_hub: LocalHub, tmp_path: Path) -> None:
    put(team_hub, {"recipes/pets/x.yaml": BASE, "recipes/pets/y.yaml": "extends: x\n"})
    faults = [
        team_hub.fault(route, kind, status=status)
        for route, kind, status in [
            ("info", "status", 503),
            ("info", "reset", 0),
            ("tree", "status", 429),
            ("tree", "truncate", 0),
            ("paths_info", "close", 0),
            ("resolve", "status", 500),
        ]
    ]
    done = run_factory(team_hub, tmp_path, "plan", "hf://datasets/team/recipes", "--jsonl")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 8
    assert [fault.hits for fault in faults] == [1] * len(faults)


def test_a_read_of_a_private_repository_needs_a_token(team_hub: LocalHub, tmp_path: Path) -> None:
    put(team_hub, {"recipes/x.yaml": BASE})
    team_hub.repos["datasets", TEAM].private = True
    reference = "hf://datasets/team/recipes/x"
    printed = refusals(team_hub, tmp_path / "a", [reference], token=None)[reference]
    assert printed.startswith("2 ")
    assert "hf auth login" in printed
    assert refusals(team_hub, tmp_path / "b", [reference], token=team_hub.read_token) == {
        reference: "loaded"
    }


_VALIDATE = """
import sys
from huggingface_hub import DatasetCard
for path in sys.argv[1:]:
    DatasetCard.load(path).validate()
"""


def test_every_card_passes_the_clients_validation(team_hub: LocalHub, tmp_path: Path) -> None:
    build(recipe(tmp_path, "base"), tmp_path / "out", renderer_factory=FakeRenderer)
    shared = tmp_path / "recipes.md"
    shared.write_text(readme_text("team/recipes", {"pets": share_folder("quickstart").entries}))
    planned = sorted(packaged_dir("dataset_cards").glob("*.md"))
    assert planned
    done = run_python(
        team_hub, tmp_path / "home", _VALIDATE, tmp_path / "out/README.md", shared, *planned
    )
    assert done.returncode == 0, done.stderr
    assert len(team_hub.log("validate_yaml")) == 2 + len(planned)


def test_processes_that_read_another_recipe_stop(tmp_path: Path) -> None:
    first = recipe(tmp_path, "base")
    build(first, tmp_path / "out", renderer_factory=FakeRenderer)
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    require_same_as_begun(make_jobs([first]), manifest)
    for other in (recipe(tmp_path, "base", prompt="other {class}"), recipe(tmp_path, "new")):
        with pytest.raises(Failure, match="the recipe changed while the processes were starting"):
            require_same_as_begun(make_jobs([other]), manifest)


@pytest.mark.slow
def test_a_dataset_is_built_again_from_its_recipes_bit_for_bit(
    team_hub: LocalHub, tmp_path: Path
) -> None:
    home, first = tmp_path / "home", tmp_path / "first"
    build = ("build", "quickstart", first, "--images-per-class", 1)
    build += ("--set", "sampling.num_inference_steps=1", "--set", 'classes=["one", "two"]')
    settings = ("--batch-size", 2, "--quiet")
    # It needs no Hub, and starts quickly without the variables of one.
    command = [python(), "-m", "factory", *map(str, (*build, *settings))]
    subprocess.run(command, cwd=ROOT, check=True)
    files = {path: (first / path).read_bytes() for path in tree(first)}
    put(team_hub, files, repo="team/digits", tag="v1")
    source = ("build", "hf://datasets/team/digits@v1", tmp_path / "again")
    again = run_factory(team_hub, home, *source, *settings)
    assert again.returncode == 0, again.stderr
    assert tree(tmp_path / "again") == tree(first)
    pulled = tmp_path / "pulled"
    done = run_factory(team_hub, home, "recipes", "pull", "hf://datasets/team/digits", pulled)
    assert done.returncode == 0, done.stderr
    assert tree(pulled) == {
        path.removeprefix("recipes/"): digest
        for path, digest in tree(first).items()
        if path.startswith("recipes/")
    }
