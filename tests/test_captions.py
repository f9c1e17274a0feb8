"""Captions as prompts: files, tables and datasets, pinned by a hash of their text."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recipe_texts import BASE, write
from tiny_instruct import save_instruct

from factory.cli.main import main
from factory.common.errors import Failure, UserError
from factory.inspection.preview import preview
from factory.models import instruct
from factory.planner.plan import plan
from factory.recipe.caption_checks import caption_warnings
from factory.recipe.caption_writer import Request, write_captions
from factory.recipe.library import load_recipe
from factory.recipe.lint import lint
from factory.recipe.resolved import ResolvedRecipe

ROOT = Path(__file__).parent.parent
TABLE = "label,text\ncat,a cat on a sofa\ncat,two cats\ndog,a wet dog\n"
PER_CLASS = "{file: captions.csv, label_column: label}"


def caption_recipe(folder: Path, source: str, *, count: int = 30) -> ResolvedRecipe:
    text = BASE.replace('"a {class}"', '"{caption}"').replace("class: 2", f"class: {count}")
    write(folder, r=text + f"variables: {{caption: {{captions: {source}}}}}\n")
    return load_recipe(folder / "r.yaml")


def prompts(recipe: ResolvedRecipe, label: int | None = None) -> set[str]:
    rows = plan(recipe).rows(0, recipe.num_images)
    return {row.prompt for row in rows if label in (None, row.label)}


def test_a_text_file_contains_one_caption_per_line(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a red car\n\n  a blue car \n")
    recipe = caption_recipe(tmp_path, "{file: captions.txt}")
    assert prompts(recipe, 0) == prompts(recipe, 1) == {"a red car", "a blue car"}
    assert recipe.variable_types == {"caption": "string"}
    assert plan(recipe).rows(7, 9) == plan(recipe).rows(0, 60)[7:9]
    # It says the same for every class, which is suspicious.
    assert [warning.key for warning in lint([recipe])] == ["prompt"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_tables_contain_captions_by_class(suffix: str, tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame([line.split(",") for line in TABLE.splitlines()[1:]])
    table.columns = TABLE.splitlines()[0].split(",")
    path = tmp_path / f"captions.{suffix}"
    {
        "csv": lambda: table.to_csv(path, index=False),
        "tsv": lambda: table.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: table.to_json(path, orient="records", lines=True),
        "parquet": lambda: table.to_parquet(path),
    }[suffix]()
    recipe = caption_recipe(tmp_path, f"{{file: captions.{suffix}, label_column: label}}")
    assert prompts(recipe, 0) == {"a cat on a sofa", "two cats"}
    assert prompts(recipe, 1) == {"a wet dog"}
    assert lint([recipe]) == []
    assert "captions of the class" in recipe.columns[0].quantity.describe()


def test_a_dataset_contains_captions_by_class(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    columns = {"label": [1, 1, 0], "text": ["a wet dog", "a dry dog", "a cat"]}
    features = Features({"label": ClassLabel(names=["cat", "dog"]), "text": Value("string")})
    saved = tmp_path / "captions"
    saved.mkdir()
    Dataset.from_dict(columns, features=features).to_parquet(saved / "train.parquet")
    recipe = caption_recipe(tmp_path, "{dataset: captions, label_column: label}")
    assert prompts(recipe, 0) == {"a cat"}
    assert prompts(recipe, 1) == {"a wet dog", "a dry dog"}
    assert "sha256" in recipe.to_yaml()


@pytest.mark.parametrize("suffix", ["csv", "CSV", "jsonl", "txt"])
def test_a_byte_order_mark_is_no_part_of_a_caption(suffix: str, tmp_path: Path) -> None:
    texts = {"csv": "text\na cat\n", "jsonl": '{"text": "a cat"}\n', "txt": "a cat\n"}
    path = tmp_path / f"captions.{suffix}"
    path.write_text(texts[suffix.lower()], encoding="utf-8-sig")
    assert prompts(caption_recipe(tmp_path, f"{{file: {path.name}}}")) == {"a cat"}


def test_a_line_of_a_text_file_ends_at_its_line_break_alone(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_bytes("a\u2028b\r\nc\x85d\ne\x0cf".encode())
    recipe = caption_recipe(tmp_path, "{file: captions.txt}")
    assert prompts(recipe) == {"a\u2028b", "c\x85d", "e\x0cf"}


def test_captions_without_a_label_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    # What benchmarks put in place of labels that they keep to themselves: -1, or nothing.
    columns = {"label": [0, 1, -1, None], "text": ["a cat", "a dog", "a ship", "a car"]}
    features = Features({"label": ClassLabel(names=["cat", "dog"]), "text": Value("string")})
    (tmp_path / "captions").mkdir()
    Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "captions/train.parquet")
    recipe = caption_recipe(tmp_path, "{dataset: captions, label_column: label}")
    assert prompts(recipe) == {"a cat", "a dog"}
    assert "2 of 4 captions have no label and are not used" in capsys.readouterr().err
    (tmp_path / "captions.csv").write_text(TABLE + ",a tree\n")
    assert "a tree" not in prompts(caption_recipe(tmp_path, PER_CLASS))
    assert "1 of 4 captions have no label and are not used" in capsys.readouterr().err


def test_labels_of_captions_match_in_either_form_of_unicode(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("label,text\n cafe\u0301 ,a table\ndog,a dog\n")
    write(
        tmp_path,
        r=BASE.replace("cat", '"caf\\u00e9"').replace('"a {class}"', '"{caption}"')
        + f"variables: {{caption: {{captions: {PER_CLASS}}}}}\n",
    )
    assert prompts(load_recipe(tmp_path / "r.yaml"), 0) == {"a table"}


def test_captions_in_turn_come_equally_often(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(TABLE)
    recipe = caption_recipe(tmp_path, PER_CLASS.replace("}", ", order: cycle}"), count=4)
    cats = [row.prompt for row in plan(recipe).rows(0, 8) if row.label == 0]
    assert cats == ["a cat on a sofa", "two cats"] * 2


def test_the_fingerprint_covers_the_texts_and_not_their_path(tmp_path: Path) -> None:
    fingerprints = {}
    for name, text in {"a": TABLE, "b": TABLE, "c": TABLE.replace("wet", "dry")}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "captions.csv").write_text(text)
        recipe = caption_recipe(folder, PER_CLASS)
        fingerprints[name] = recipe.fingerprint
        write(folder, again=recipe.to_yaml())
        assert load_recipe(folder / "again.yaml").fingerprint == recipe.fingerprint
    assert fingerprints["a"] == fingerprints["b"] != fingerprints["c"]
    (tmp_path / "a" / "captions.csv").write_text(TABLE.replace("wet", "dry"))
    with pytest.raises(UserError, match="the captions have changed since the recipe was resolved"):
        load_recipe(tmp_path / "a" / "again.yaml")


def test_a_hub_dataset_is_pinned_by_its_commit_and_read_when_rows_are_planned(
    tmp_path: Path,
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    source = f"{{dataset: nobody/captions, revision: {commit}, column: caption}}"
    recipe = caption_recipe(tmp_path, source)
    assert commit in recipe.to_yaml()
    other = caption_recipe(tmp_path, source.replace("67}", "68}").replace("0123456789a", "1" * 11))
    assert other.fingerprint != recipe.fingerprint
    with pytest.raises(UserError, match="nobody/captions"):
        plan(recipe).rows(0, 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{file: none.txt}", "none.txt: caption file not found"),
        ("{file: empty.txt}", "empty.txt: contains no captions"),
        ("{file: captions.txt, label_column: label}", "a text file has no columns"),
        ("{file: captions.csv, column: caption}", "has no column 'caption'; it has: label, text"),
        ("{file: gap.csv}", "gap.csv: row 2: 'text' is not text"),
        ("{file: latin.txt}", "latin.txt: is not UTF-8 text (byte 3); save it as UTF-8"),
        ("{file: long.csv}", "long.csv: captions cannot be read (after line 1: field larger"),
        ("{file: open.csv}", "open.csv: captions cannot be read (after line 1: unexpected end"),
        ("{dataset: org/captions}", "org/captions is not pinned; add `revision`"),
        ("{dataset: org/captions, revision: main}", "revision main can move; write the commit"),
        ("{file: a, dataset: b}", "set either `file` or `dataset`"),
        ("{flie: a}", "flie: unknown key; did you mean 'file'?"),
        ("{file: few.csv, label_column: label}", "has no captions for class dog"),
    ],
)
def test_captions_that_cannot_be_had(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "captions.csv").write_text(TABLE)
    (tmp_path / "few.csv").write_text("label,text\ncat,a cat\n")
    (tmp_path / "gap.csv").write_text("label,text\ncat,a\ndog,\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "long.csv").write_text(f"label,text\ncat,{'a' * 2**18}\n")
    (tmp_path / "open.csv").write_text('label,text\ncat,"a cat\ndog,a dog\n')
    with pytest.raises(UserError) as raised:
        caption_recipe(tmp_path, source)
    assert message in str(raised.value)
    assert raised.value.faults[0].line == 5
    assert len(raised.value.faults) == 1


def test_a_sheet_cannot_vary_captions(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(TABLE)
    recipe = caption_recipe(tmp_path, PER_CLASS)
    with pytest.raises(UserError, match="caption has too many values to show side by side"):
        preview(recipe, vary="caption")


def test_caption_files_need_no_heavy_library(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(TABLE)
    caption_recipe(tmp_path, PER_CLASS)
    code = (
        "import sys\nfrom factory.cli.main import main\n"
        f"main(['plan', {str(tmp_path / 'r.yaml')!r}])\n"
        "heavy = {'torch', 'diffusers', 'datasets', 'pandas', 'pyarrow'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


CAPTIONS = "text,label\na cat on a mat,cat\na cat on a mat,cat\na cat,cat\ndogs in a park,cat\n"


@pytest.mark.parametrize(
    ("rows", "warned"),
    [
        (
            CAPTIONS + "a dog,dog\n",
            [
                "1 of 5 captions (20 %) repeat an earlier one of their class (most: cat 1 of 4)",
                "1 of 5 captions (20 %) name another class than their label, e.g. 'dogs in a "
                "park' names 'dog' as a caption of 'cat'",
            ],
        ),
        # A longer name is not the shorter one in it, and a word that holds a name is another word.
        ("text,label\na catalogue,dog\na guide dog,guide dog\na cat,cat\na dog,dog\n", []),
        (
            "text,label\na cat,cat\na guide dog,dog\na guide dog,guide dog\n",
            ["1 caption of a class also of an earlier class", "1 of 3 captions"],
        ),
    ],
)
def test_captions_that_make_poor_labels_are_counted(
    tmp_path: Path, rows: str, warned: list[str]
) -> None:
    classes = "cat, dog, guide dog" if "guide" in rows else "cat, dog"
    (tmp_path / "captions.csv").write_text(rows)
    (tmp_path / "r.yaml").write_text(
        f"name: r\nclasses: [{classes}]\nimages_per_class: 2\nprompt: '{{c}}'\n"
        "variables: {c: {captions: {file: captions.csv, label_column: label}}}\n"
        "model: {id: embedded}\n"
    )
    found = [fault.message for fault in caption_warnings(load_recipe(str(tmp_path / "r.yaml")))]
    assert len(found) == len(warned)
    for message, start in zip(found, warned, strict=True):
        assert message.startswith(start), message


def test_captions_of_no_class_that_name_one(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("at sea\nwith a cat\nat sea\n")
    (tmp_path / "r.yaml").write_text(
        "name: r\nclasses: [cat, dog]\nimages_per_class: 2\nprompt: 'a {class} {c}'\n"
        "variables: {c: {captions: {file: captions.txt}}}\nmodel: {id: embedded}\n"
    )
    repeats, named = caption_warnings(load_recipe(str(tmp_path / "r.yaml")))
    assert repeats.message.startswith("1 of 3 captions (33.3 %) repeat an earlier one: their")
    assert named.message.startswith("1 of 3 captions (33.3 %) name a class, e.g. 'with a cat'")


ANIMALS = """\
classes: [cat, {label: dog, prompt: [hound, dog]}]
images_per_class: 4
prompt: "a photo of a {class}"
model: {id: embedded}
"""


def animals(folder: Path) -> ResolvedRecipe:
    return load_recipe(write(folder, animals=ANIMALS) / "animals.yaml")


def test_lines_of_a_reply_are_used_if_they_are_new_plain_phrases(tmp_path: Path) -> None:
    replies = [
        'Here are 3 phrases:\n1. in deep snow\n- "under a tree."\n\n3) In Deep  Snow\n'
        "next to two hounds\nnear <b>a fence</b>\nalone\n" + "far " * 30,
        "at dusk, seen from above\nby the sea\nnever used here",
    ]
    asked: list[str] = []

    def reply(request: Request) -> str:
        asked.append(request.text)
        return replies[(len(asked) - 1) % 2]

    cat, dog = write_captions(animals(tmp_path), reply, count=4, seed=0)
    assert cat.texts == ["in deep snow", "under a tree", "at dusk, seen from above", "by the sea"]
    assert cat.left_out == {
        "are no plain phrase": 3,
        "repeat an earlier one": 1,
        "name another class": 1,
        "are too long": 1,
    }
    assert (cat.label, dog.label) == ("cat", "dog")
    # A class may be named by its own contexts.
    assert dog.texts[2] == "next to two hounds"
    assert "Write 4 phrases" in asked[0] and "fit a cat" in asked[0]
    assert "Write 2 phrases" in asked[1]
    assert "fit a hound" in asked[2]


def test_contexts_of_any_class_name_none_and_the_model_is_told_none(tmp_path: Path) -> None:
    asked: list[str] = []

    def reply(request: Request) -> str:
        asked.append(request.text)
        return "with a dog behind\nin deep snow"

    (found,) = write_captions(animals(tmp_path), reply, count=1, seed=0, of_any_class=True)
    assert (found.label, found.texts, found.left_out) == (
        None,
        ["in deep snow"],
        {"name a class": 1},
    )
    assert not {"cat", "dog", "hound"} & set(asked[0].split())


def test_subtypes_are_names_of_one_class_alone(tmp_path: Path) -> None:
    replies = {
        "cat": "1. Siamese cat\n2. tabby\nCat\nsiamese cat\nguide dog\nsphynx: hairless\n"
        "a cat of a kind that nobody knows",
        "hound": "Tabby\npoodle\nguide dog",
    }
    asked: list[str] = []

    def reply(request: Request) -> str:
        asked.append(request.text)
        return replies["hound" if "hound" in request.text else "cat"]

    cat, dog = write_captions(animals(tmp_path), reply, kind="subtypes", count=2, seed=0)
    assert (cat.texts, dog.texts) == (["Siamese cat", "tabby"], ["poodle", "guide dog"])
    # A name that two classes share would label one of their images wrongly.
    assert dog.left_out == {"repeat one of another class": 1}
    assert 'Write 2 subtypes of "cat"' in asked[0]
    with pytest.raises(Failure, match="wrote 2 of 3 usable subtypes for class cat") as ended:
        list(write_captions(animals(tmp_path), reply, kind="subtypes", count=3, seed=0))
    for reason in ("are the class itself", "name another class", "are no plain", "are too long"):
        assert f"6 {reason}" in str(ended.value)


def test_definitions_are_one_sentence_each(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        assert "one sentence of at most 30 words" in request.text
        species = "" if "hound" in request.text else "cat"
        return (
            "a pet\nA small furry animal. It has long whiskers.\na furry enemy of every dog\n"
            f"- A small furry animal with whiskers, of species {species}."
        )

    first, second = write_captions(animals(tmp_path), reply, kind="definitions", count=1, seed=0)
    assert first.texts == ["A small furry animal with whiskers, of species cat"]
    assert first.left_out == {
        "are no plain phrase": 1,
        "are several sentences": 1,
        "name another class": 1,
    }
    assert second.texts == ["a furry enemy of every dog"]


def test_lines_of_the_example_or_of_a_chat_are_left_out(tmp_path: Path) -> None:
    lines = {
        "repeat the example": ["On a mountain path in thick fog"],
        "speak of the writer or reader": [
            *("I have chosen a cat", "my cat in the rain", "the cat, I think", "in your house"),
            *("the cat that I saw", "under Me and a tree", "a sofa of us all"),
        ],
    }
    used = ["in a World War I biplane", "in US mail", "under a Me 262", "on an I-beam of steel"]
    text = "\n".join([*(line for some in lines.values() for line in some), *used])
    (found, _) = write_captions(animals(tmp_path), lambda _: text, count=4, seed=0)
    assert found.texts == used
    assert found.left_out == {reason: len(some) for reason, some in lines.items()}


def test_a_class_like_the_example_has_another_example(tmp_path: Path) -> None:
    names = {"bicycle": ["mountain bike", "tandem"], "cat": ["tabby", "duffel bag"]}
    write(
        tmp_path, bikes=ANIMALS.replace("cat, {label: dog, prompt: [hound, dog]}", "bicycle, cat")
    )
    asked: list[Request] = []

    def reply(request: Request) -> str:
        asked.append(request)
        return "\n".join(next(some for name, some in names.items() if name in request.text))

    found = write_captions(
        load_recipe(tmp_path / "bikes.yaml"), reply, kind="subtypes", count=2, seed=0
    )
    assert {one.label: one.texts for one in found} == names
    for request, about in zip(asked, ("suitcase", "bicycle"), strict=True):
        question, answer = request.example
        assert f'Write 5 subtypes of "{about}"' in question and len(answer.splitlines()) == 5
        # A reply of two lines of at most five words, and some lines to spare.
        assert 2 * 5 < request.most_tokens < 100


def test_the_example_comes_before_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_instruct(tmp_path / "llm")
    model = instruct.load_instruct(str(tmp_path / "llm"), option="--llm", device="cpu")
    asked: list[Any] = []

    def watched(messages: list[dict[str, str]], **options: Any) -> Any:
        asked.append([(one["role"], one["content"]) for one in messages])
        return model._pipeline(messages, **options)

    own = replace(model, _pipeline=watched)
    said = own.reply("write", example=("request", "reply"), most_tokens=3, seed=0)
    assert asked == [[("user", "request"), ("assistant", "reply"), ("user", "write")]]
    assert len(said.split(" ")) <= 3
    assert said == model.reply("write", example=("request", "reply"), most_tokens=3, seed=0)


@pytest.mark.parametrize("kind", ["subtypes", "definitions"])
def test_other_kinds_are_used_and_checked_as_contexts_are(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    animals(tmp_path)
    model = SimpleNamespace(
        name="llm",
        revision="r1",
        reply=lambda request, *, example, most_tokens, seed: (
            "a furry animal with whiskers\na small hunter of mice"
            if '"cat"' in request
            else "a friend that guards houses\na big animal on leads"
        ),
    )
    monkeypatch.setattr(instruct, "load_instruct", lambda name, **options: model)
    words = ["captions", "animals.yaml", "--llm", "llm", "--kind", kind, "--per-class", "2"]
    main([*words, "--out", "made.csv", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["captions"]) == (kind, 4)
    Path("with.yaml").write_text(f"extends: animals\n{answer['recipe']}\n")
    made = load_recipe("with.yaml")
    name = kind.removesuffix("s")
    assert made.variables[name].captions.sha256 == answer["sha256"]
    assert not list(caption_warnings(made))
    (row, *_) = plan(made).rows(0, 1)
    assert row.variables[name] in row.prompt
    assert row.class_name in row.prompt
    # A table that was edited is another one; `check` counts its repeats and wrong names.
    edited = "text,label\na dog,cat\na paw,cat\na paw,cat\na paw,dog\n"
    Path("made.csv").write_text(edited)
    with pytest.raises(UserError, match="the captions have changed since the recipe was resolved"):
        load_recipe("with.yaml")
    source = "{file: made.csv, label_column: label}"
    text = (
        f"extends: animals\nprompt: 'a {{{name}}}'\nvariables: {{{name}: {{captions: {source}}}}}\n"
    )
    Path("with.yaml").write_text(text)
    found = [fault.message for fault in lint([load_recipe("with.yaml")])]
    assert any(one.startswith("1 of 4 captions (25 %) repeat an earlier one") for one in found)
    assert any(one.startswith("1 of 4 captions (25 %) name another class") for one in found)
    shared = "1 caption of a class also of an earlier class, e.g. 'a paw' of 'cat' and 'dog'"
    assert any(one.startswith(shared) for one in found)
    Path("with.yaml").write_text(text.replace("a {", "a {class}, a {"))
    assert not any(shared in fault.message for fault in lint([load_recipe("with.yaml")]))


def test_a_model_that_writes_nothing_usable_ends(tmp_path: Path) -> None:
    seeds: list[int] = []

    def reply(request: Request) -> str:
        seeds.append(request.seed)
        return "in the fog\nalone"

    with pytest.raises(
        Failure,
        match=r"wrote 1 of 2 usable contexts for class cat \(lines left out: 6 are no plain "
        r"phrase, 5 repeat an earlier one\); choose a larger model, or lower --per-class",
    ):
        list(write_captions(animals(tmp_path), reply, count=2, seed=3))
    assert len(set(seeds)) == 6


def test_a_language_model_writes_a_table_that_a_recipe_uses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    animals(tmp_path)
    save_instruct(tmp_path / "llm")
    words = ["captions", "animals.yaml", "--llm", "llm", "--per-class", "3", "--device", "cpu"]
    main([*words, "--out", "made/a.csv", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["captions"], answer["model"]) == ("contexts", 6, "llm")
    with Path("made/a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["cat"] * 3 + ["dog"] * 3
    assert {row["written_by"] for row in rows} == {f"llm@{answer['revision']}"}
    assert not any("cat" in row["text"].split() for row in rows[3:])
    # The printed lines are the recipe: it names each class and takes the contexts of its own.
    Path("with.yaml").write_text(f"extends: animals\n{answer['recipe']}\n")
    made = load_recipe("with.yaml")
    texts = {row["label"]: set() for row in rows}
    for row in rows:
        texts[row["label"]].add(row["text"])
    for row in plan(made).rows(0, 8):
        assert row.variables["context"] in texts[made.labels[row.label]]
        assert row.prompt == f"a photo of a {row.class_name}, {row.variables['context']}"
    assert not list(caption_warnings(made))
    # The same seed writes the same table; another writes another one.
    main([*words, "--out", "b.csv"])
    assert Path("b.csv").read_text() == Path("made/a.csv").read_text()
    main([*words, "--out", "c.csv", "--seed", "1", "--any-class"])
    assert Path("c.csv").read_text().startswith("text,written_by\n")
    assert "label_column" not in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(UserError, match="--any-class: subtypes belong to a class; leave it out"):
        main([*words, "--out", "d.csv", "--any-class", "--kind", "subtypes"])
    with pytest.raises(UserError, match=r"--out b\.csv: exists, and a recipe may use it"):
        main([*words, "--out", "b.csv"])
    with pytest.raises(UserError, match=r"--out b\.txt: is written as CSV; end the name in \.csv"):
        main([*words, "--out", "b.txt"])
    save_instruct(tmp_path / "base", template=None)
    with pytest.raises(UserError, match="--llm base: its tokenizer has no chat template"):
        main([*(w if w != "llm" else "base" for w in words), "--out", "d.csv"])
    assert not Path("d.csv").exists()
