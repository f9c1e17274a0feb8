"""`factory recipes` between teams: list, show, diff, pull and push with real clients."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from build_parts import tree
from hub_parts import ORG, run_factory, run_python
from localhub import LocalHub
from recipe_texts import BASE, write
from test_hub_recipes import put, team_hub

from factory.cli.main import main
from factory.common.errors import UserError
from factory.recipe.library import load_recipe
from factory.sharing.recipe_folder import share_folder
from factory.sharing.recipe_index import read_index

__all__ = ["team_hub"]
REPO = f"{ORG}/recipes"


def test_diff_of_two_recipes_names_keys_and_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        tmp_path,
        a=BASE,
        b=BASE.replace("2", "9").replace("dog", "{label: dog, prompt: hound}")
        + "sampling: {guidance_scale: {uniform: [1, 5]}}\n",
    )
    paths = [str(tmp_path / f"{name}.yaml") for name in "ab"]
    main(["recipes", "diff", *paths])
    assert capsys.readouterr().out.splitlines() == [
        "name: a -> b",
        "classes.dog.prompt: dog -> hound",
        "images_per_class: 2 -> 9",
        'sampling.guidance_scale: 7.5 -> {"uniform": [1.0, 5.0]}',
    ]
    main(["recipes", "diff", paths[0], paths[0]])
    assert capsys.readouterr().out.endswith("are the same\n")


def test_a_folder_is_made_self_contained(tmp_path: Path) -> None:
    (tmp_path / "pets/classes").mkdir(parents=True)
    write(
        tmp_path / "pets",
        a="# a comment\n" + BASE.replace("[cat, dog]", "animals"),
        b='extends: a\nprompt: "{class}"\n',
        c="extends: ../up\nname: c\n",
        d="extends: quickstart/base-class\nclasses: digits\nname: d\n",
    )
    (tmp_path / "up.yaml").write_text(BASE)
    (tmp_path / "pets/classes/animals.yaml").write_text("[cat, dog]\n")
    shared = share_folder(str(tmp_path / "pets"))
    assert shared.name == "pets"
    assert shared.resolved == ["c", "d"]
    assert sorted(shared.files) == [
        *("a.yaml", "b.yaml", "c.yaml", "classes/animals.yaml", "d.yaml", "index.json")
    ]
    assert shared.files["a.yaml"].startswith(b"# a comment")
    assert b"extends" not in shared.files["c.yaml"]
    assert b"handwritten nine" in shared.files["d.yaml"]
    index = tmp_path / "index.json"
    index.write_bytes(shared.files["index.json"])
    entries = read_index(index, shown="index")
    assert [entry.name for entry in entries] == ["a", "b", "c", "d"]
    assert entries[1].fingerprint == load_recipe(tmp_path / "pets/b.yaml").fingerprint


def test_packaged_lists_travel_along(tmp_path: Path) -> None:
    write(tmp_path, a=BASE.replace("[cat, dog]", "digits"))
    shared = share_folder(str(tmp_path), name="digits")
    assert sorted(shared.files) == ["a.yaml", "classes/digits.yaml", "index.json"]
    paper = share_folder("cifar10")
    assert set(paper.resolved) >= {"base-class", "multi-domain", "all-combined"}
    assert yaml.safe_load(paper.files["all-combined.yaml"])["combine"][0] == "anti-aliased"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE.replace("embedded", "MODEL"), "is a local directory; publish the model"),
        (
            BASE.replace("a {class}", "{c}") + "variables: {c: {captions: {file: c.txt}}}\n",
            "is a local file; publish the captions",
        ),
        ("extends: hf://datasets/a\n", "is not a valid reference"),
    ],
)
def test_local_files_are_not_shared(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model_index.json").write_text("{}")
    (tmp_path / "c.txt").write_text("one\ntwo\n")
    write(tmp_path, a=text.replace("MODEL", "./model"))
    with pytest.raises(UserError, match=message):
        share_folder(str(tmp_path))
    with pytest.raises(UserError, match="is not a valid folder name"):
        share_folder("quickstart", name="../up")


def test_two_teams_share_a_repository(team_hub: LocalHub, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "pets"
    folder.mkdir()
    write(folder, a=BASE + "summary: Cats & dogs\n", b='extends: a\nprompt: "{class}"\n')
    push = ("recipes", "push", folder, REPO)
    dry = run_factory(team_hub, home, *push, "--dry-run")
    assert (dry.returncode, team_hub.repos) == (0, {}), dry.stderr
    first = run_factory(team_hub, home, *push, "--tag", "v1")
    assert first.returncode == 0, first.stderr
    again = run_factory(team_hub, home, *push, "--tag", "v1")
    assert "up to date" in again.stdout
    other = run_factory(team_hub, home, "recipes", "push", "quickstart", REPO)
    assert other.returncode == 0, other.stderr
    repo = team_hub.repos["datasets", REPO]
    files = repo.at("main").files
    assert {"recipes/pets/a.yaml", "recipes/quickstart/index.json", "README.md"} <= set(files)
    readme = team_hub.read_text_file(repo.at("main"), "README.md").decode()
    assert "## pets" in readme
    assert "## quickstart" in readme
    assert "Cats & dogs" in readme
    assert len(repo.commits) == 3  # with the one that made the repository
    (folder / "b.yaml").unlink()
    fewer = run_factory(team_hub, home, *push, "--tag", "v2")
    assert fewer.returncode == 0, fewer.stderr
    assert "recipes/pets/b.yaml" not in repo.at("v2").files
    assert "recipes/quickstart/index.json" in repo.at("v2").files
    listed = run_factory(
        team_hub, tmp_path / "new home", "recipes", "list", f"hf://datasets/{REPO}@v1"
    )
    assert listed.returncode == 0, listed.stderr
    assert "pets/a  Cats & dogs" in " ".join(listed.stdout.split(" "))
    assert "pets/b" in listed.stdout
    assert "v1 (" in listed.stdout
    assert "v2 (" in listed.stdout


def test_a_broken_index_of_another_team_does_not_prevent_a_push(
    team_hub: LocalHub, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    first = run_factory(team_hub, home, "recipes", "push", "quickstart", REPO)
    assert first.returncode == 0, first.stderr
    repo = team_hub.repos["datasets", REPO]
    broken = {"recipes/quickstart/index.json": team_hub.regular_blob(b'{"format": 9}')}
    repo.add_commit("main", "break it", "", "somebody", broken)
    folder = tmp_path / "pets"
    folder.mkdir()
    write(folder, a=BASE)
    mine = run_factory(team_hub, home, "recipes", "push", folder, REPO)
    assert mine.returncode == 0, mine.stderr
    assert "warning: " in mine.stderr and "is not a recipe index of this version" in mine.stderr
    readme = team_hub.read_text_file(repo.at("main"), "README.md").decode()
    assert "## pets" in readme
    assert "## quickstart\n\nThis page was written by a version that cannot read" in readme


_RACE = """
import sys
from factory.sharing import push_recipes as module
original, raced = module.publish, []
def publish(*given, **named):
    if not raced:
        raced.append(True)
        module.push_recipes(sys.argv[2], sys.argv[3], name=sys.argv[4])
    return original(*given, **named)
module.publish = publish
shared, report = module.push_recipes(sys.argv[1], sys.argv[3], name="pets", tag="v1")
"""


def test_another_teams_push_in_between_is_kept(team_hub: LocalHub, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, a=BASE + f"summary: {name}\n")
    arguments = (tmp_path / "one", tmp_path / "two", REPO)
    done = run_python(team_hub, tmp_path / "home", _RACE, *arguments, "birds")
    assert done.returncode == 0, done.stderr
    repo = team_hub.repos["datasets", REPO]
    readme = team_hub.read_text_file(repo.at("main"), "README.md").decode()
    assert "## birds" in readme
    assert "## pets" in readme
    assert {"recipes/birds/a.yaml", "recipes/pets/a.yaml"} <= set(repo.at("main").files)
    assert "recipes/pets/a.yaml" in repo.at("v1").files


def test_pushes_that_are_refused(team_hub: LocalHub, tmp_path: Path) -> None:
    write(tmp_path, a=BASE)
    put(team_hub, {"manifest.json": "{}"}, repo=f"{ORG}/set")
    put(team_hub, {"README.md": "# By hand\n"}, repo=f"{ORG}/mine")
    home, push = tmp_path / "home", ("recipes", "push", tmp_path)
    refused = run_factory(team_hub, home, *push, f"{ORG}/set")
    assert refused.returncode == 2
    assert "contains a dataset; share recipes in a separate repository" in refused.stderr
    kept = run_factory(team_hub, home, *push, f"{ORG}/mine", "--name", "pets")
    assert kept.returncode == 0, kept.stderr
    repo = team_hub.repos["datasets", f"{ORG}/mine"]
    assert team_hub.read_text_file(repo.at("main"), "README.md") == b"# By hand\n"
    without = run_factory(team_hub, home, *push, f"{ORG}/x", token=None)
    assert (without.returncode, len(without.stderr.splitlines())) == (2, 1)
    assert "pushing needs a token" in without.stderr
    offline = run_factory(team_hub, home, *push, f"{ORG}/x", HF_HUB_OFFLINE="1")
    assert (offline.returncode, len(offline.stderr.splitlines())) == (2, 1)
    assert "unset it to push" in offline.stderr
    reader = run_factory(
        team_hub, home, *push, f"{ORG}/mine", "--name", "other", token=team_hub.read_token
    )
    assert reader.returncode == 2
    assert "write permission" in reader.stderr


def test_pull_pins_references_and_keeps_the_text(team_hub: LocalHub, tmp_path: Path) -> None:
    base = put(team_hub, {"recipes/base.yaml": BASE}, repo="team/other", tag="v1")
    text = (
        "# a comment stays\n"
        "extends: 'hf://datasets/team/other@v1/base'   # so does this\n"
        "classes: animals\n"
    )
    put(
        team_hub,
        {
            "recipes/pets/a.yaml": text,
            "recipes/pets/b.yaml": 'extends: a\nprompt: "{class}"\n',
            "recipes/pets/c.yaml": "combine: [hf://datasets/team/other@v1/base, b]\n",
            "recipes/classes/animals.yaml": "[cat, dog]\n",
        },
    )
    home, folder = tmp_path / "home", tmp_path / "pets"
    pull = ("recipes", "pull", "hf://datasets/team/recipes", folder)
    done = run_factory(team_hub, home, *pull)
    assert done.returncode == 0, done.stderr
    into_file = run_factory(team_hub, home, *pull[:3], folder / "a.yaml")
    assert (into_file.returncode, into_file.stderr.strip()[-26:]) == (
        2,
        ": is a file; name a folder",
    )
    assert sorted(tree(folder)) == ["a.yaml", "b.yaml", "c.yaml", "classes/animals.yaml"]
    pinned = f"hf://datasets/team/other@{base}/recipes/base.yaml"
    assert (folder / "a.yaml").read_text() == text.replace(
        "hf://datasets/team/other@v1/base", pinned
    )
    assert f"combine: [{pinned}, b]" in (folder / "c.yaml").read_text()
    assert run_factory(team_hub, home, *pull).returncode == 0
    (folder / "b.yaml").write_text("mine")
    refused = run_factory(team_hub, home, *pull)
    assert refused.returncode == 2
    assert "b.yaml: exists with other contents" in refused.stderr
    assert (folder / "b.yaml").read_text() == "mine"
    assert run_factory(team_hub, home, *pull, "--replace").returncode == 0
    alone = tmp_path / "alone"
    one = ("recipes", "pull", "hf://datasets/team/recipes/pets/b", alone)
    assert run_factory(team_hub, home, *one).returncode == 0
    assert sorted(tree(alone)) == ["a.yaml", "b.yaml", "classes/animals.yaml"]
    same = run_factory(team_hub, home, "recipes", "diff", "hf://datasets/team/recipes", folder)
    # All but where the references lead: the copy's own are pinned to the same commits.
    assert "different images" not in same.stdout
    assert same.returncode == 0, same.stderr
    shown = run_factory(team_hub, home, "recipes", "show", "hf://datasets/team/recipes/pets/a")
    assert shown.stdout == text


def test_a_list_shows_no_control_characters(team_hub: LocalHub, tmp_path: Path) -> None:
    put(team_hub, {"recipes/a.yaml": BASE + 'summary: "\\e[31mred"\n', "recipes/_p.yaml": "x: 1\n"})
    listed = run_factory(team_hub, tmp_path, "recipes", "list", "hf://datasets/team/recipes")
    assert "\x1b" not in listed.stdout + listed.stderr
    assert "_p" not in listed.stdout
