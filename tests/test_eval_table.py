"""The table of scores: configs by real datasets."""

import json

import pytest

from eval.cli import main
from eval.scores_file import Labels, Metrics, ModelFacts, Preprocessing, RealSet, Scores
from eval.scores_io import read_scores, write_scores
from eval.table import collect, make_tables
from eval.table_rows import order_rows
from eval.table_text import to_markdown
from factory.common.errors import UserError


def scores(trick, top1, *, real="digits-test", seed=0, run=None, arch="resnet50", epochs=3, of="f"):
    run = run or f"runs/{trick}-{seed}"
    return Scores(
        run=run,
        model=ModelFacts(
            architecture=arch,
            num_classes=2,
            num_parameters=1,
            weights_sha256=f"{run} {arch}",
            batch_norm="eval",
            selected_on="held-out synthetic",
        ),
        training={
            "seed": seed,
            "data": {"config_name": trick, "reference": f"set-{seed}"},
            "hyperparameters": {"epochs": epochs},
        },
        real=RealSet(
            name=real,
            reference=real,
            config_name=None,
            split="test",
            row_filter=None,
            image_column="image",
            label_column="label",
            num_images=100,
            fingerprint=f"{of} {real}",
        ),
        labels=Labels(names=["a [b", "é"], num_real=2, matched="exact"),
        preprocessing=Preprocessing(
            input_size=(3, 8, 8),
            interpolation="bicubic",
            crop_pct=1.0,
            crop_mode="squash",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        metrics=Metrics(
            top1=top1,
            top1_low=top1 - 0.1,
            top1_high=top1 + 0.1,
            num_correct=round(100 * top1),
            top5=None,
            mean_per_class=top1,
            per_class=[top1, None],
            confusion_matrix=[[1, 0], [0, 0]],
            calibration_error=0.1,
            mean_confidence=0.5,
        ),
        settings={"batch_size": 4},
        versions={"torch": "2"},
    )


SOME = [
    scores("all-combined", 0.81),
    scores("multi-domain", 0.6797),
    scores("base-class", 0.60, seed=0),
    scores("base-class", 0.61, seed=1),
    scores("own-trick", 0.5),
    scores("base-class", 0.3, real="eurosat-test"),
]


def test_table_text():
    assert to_markdown(make_tables(SOME)) == (
        "| top-1 (%)    |    digits-test | eurosat-test |\n"
        "| ------------ | -------------: | -----------: |\n"
        "| base-class   |   60.50 ± 0.71 |        30.00 |\n"
        "| multi-domain |  67.97 (+7.47) |              |\n"
        "| own-trick    | 50.00 (-10.50) |              |\n"
        "| all-combined | 81.00 (+20.50) |              |"
    )


def test_intervals_base_and_order():
    text = to_markdown(
        make_tables(SOME[:2], base="multi-domain", order=["all-combined"]), intervals=True
    )
    assert text.splitlines()[2:] == [
        "| all-combined | 81.00 [71.00, 91.00] (+13.03) |",
        "| multi-domain |          67.97 [57.97, 77.97] |",
    ]


def test_row_order():
    names = [
        "best",
        "zebra",
        "random-guidance",
        "all-combined",
        "base-class",
        "class-prompt",
        "ant",
    ]
    assert order_rows(names, base="base-class") == [
        "base-class",
        "class-prompt",
        "random-guidance",
        "ant",
        "zebra",
        "all-combined",
        "best",
    ]


def test_architectures_have_tables_of_their_own():
    text = to_markdown(make_tables([*SOME[:1], scores("base-class", 0.5, arch="vit")]))
    assert text.startswith("### resnet50\n\n| top-1") and "\n\n### vit\n\n| top-1" in text


def test_counts_of_skipped_files_are_no_setting():
    one, other = scores("base", 0.5), scores("base", 0.7, seed=1)
    other.training["data"] |= {"num_unreadable": 1, "left_out": {".heic": 2}, "class_counts": {}}
    (table,) = make_tables([one, other])
    assert table.cells["base", "digits-test"].top1 == pytest.approx(60)


def test_runs_from_before_fit_are_averaged_with_later_ones():
    one, other = scores("base", 0.5), scores("base", 0.7, seed=1)
    other.training["hyperparameters"]["fit"] = "crop"
    (table,) = make_tables([one, other])
    assert table.cells["base", "digits-test"].top1 == pytest.approx(60)
    one.training["hyperparameters"]["fit"] = "pad"
    with pytest.raises(UserError, match=r"differ in hyperparameters.fit \(pad and crop\)"):
        make_tables([one, other])


def test_runs_that_differ_in_more_than_seed_are_not_averaged():
    pair = [scores("base-class", 0.5), scores("base-class", 0.6, run="runs/long", epochs=9)]
    with pytest.raises(UserError, match=r"differ in hyperparameters.epochs \(3 and 9\), not only"):
        make_tables(pair)
    assert make_tables(pair, row_key="run")[0].rows == ["base-class-0", "long"]


def sampled(trick, top1, *, seed=0, guidance=7.5, steps=40, **other):
    one = scores(trick, top1, seed=seed)
    own = {"guidance_scale": guidance, "num_inference_steps": steps, "model": "m"} | other
    one.training["data"]["sampling"] = {trick: own}
    return one


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 12}, r"num_inference_steps \(40 and 12\)"),
        ({"guidance_interval": [0.2, 1]}, r"guidance_interval \(None and \[0.2, 1\]\)"),
        ({"guidance": {"uniform": [1, 5]}}, r"guidance_scale \(7.5 and 1 to 5\)"),
        ({"output": {"antialias": True}}, r"output.antialias \(None and True\)"),
    ],
)
def test_runs_on_images_of_other_settings_are_not_averaged(change, said):
    pair = [sampled("base", 0.5), sampled("base", 0.6, seed=1, **change)]
    with pytest.raises(UserError, match=f"differ in sampling.base.{said}, not only in their seed"):
        make_tables(pair)
    (table,) = make_tables([pair[0], sampled("base", 0.6, seed=1)])
    assert table.cells["base", "digits-test"].top1 == pytest.approx(55)


def test_guidance_and_steps_stand_beside_the_scores(tmp_path, capsys):
    union = sampled("all-combined", 0.7)
    union.training["data"]["sampling"]["random"] = {
        "guidance_scale": {"uniform": [1, 5]},
        "guidance_interval": [0.2, 1],
        "num_inference_steps": 40,
    }
    real, old = scores("real", 0.9), scores("old", 0.4)
    real.training["data"]["sampling"] = None
    lines = to_markdown(make_tables([sampled("base-class", 0.6), union, real, old])).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [cells[0], *cells[2:]] == [
        ["top-1 (%)", "guidance", "steps", "digits-test"],
        ["base-class", "7.5", "40", "60.00"],
        ["old", "not recorded", "not recorded", "40.00 (-20.00)"],
        ["real", "", "", "90.00 (+30.00)"],
        ["all-combined", "7.5, 1 to 5 (interval [0.2, 1])", "40", "70.00 (+10.00)"],
    ]
    files = []
    for one in (sampled("base", 0.5), scores("base", 0.6, seed=1)):
        files.append(tmp_path / f"{one.training['seed']}.json")
        write_scores(one, files[-1])
    main(["table", *map(str, files)])
    said = capsys.readouterr()
    assert "7.5, not recorded | 40, not recorded | 55.00" in said.out
    assert "no record of the sampling of the images (older version): 1 run;" in said.err
    assert "the first is runs/base-1" in said.err


def test_one_column_has_one_fit():
    def fitted(trick, trained, scored):
        one = scores(trick, 0.5)
        one.training["hyperparameters"]["fit"] = trained
        preprocessing = one.preprocessing.model_copy(update={"fit": scored})
        return one.model_copy(update={"preprocessing": preprocessing})

    base = fitted("base-class", "crop", "crop")
    with pytest.raises(UserError, match=r"with different --fit \(crop and pad\); score both again"):
        make_tables([base, fitted("own-trick", "crop", "pad")])
    # A row's own way of training, and files of older versions.
    for scored in (fitted("own-trick", "pad", "pad"), fitted("own-trick", "crop", None)):
        assert len(make_tables([base, scored])[0].rows) == 2


def test_scores_on_different_images_do_not_share_a_column():
    pair = [scores("base-class", 0.5), scores("own-trick", 0.6, of="g")]
    with pytest.raises(UserError, match=r"digits-test: .* were scored on different images"):
        make_tables(pair)


def test_one_column_counts_one_set_of_classes():
    one, other = scores("base-class", 0.5), scores("own-trick", 0.6)
    labels = other.labels.model_copy(update={"merged": [["a [b", "é"]]})
    with pytest.raises(UserError, match=r"\(each label by itself; a \[b with é"):
        make_tables([one, other.model_copy(update={"labels": labels})])


def test_command_reads_files_and_folders(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    write_scores(SOME[2], run / "scores-digits-test.json")
    write_scores(SOME[1], tmp_path / "multi.json")
    # The same measurement, given twice, counts once.
    write_scores(SOME[1], tmp_path / "again.json")
    paths = [str(run), str(tmp_path / "multi.json"), str(tmp_path / "again.json")]
    main(["table", *paths, "--json"])
    (table,) = json.loads(capsys.readouterr().out)
    assert table["base"] == "base-class"
    cell = table["rows"][1]["cells"]["digits-test"]
    assert cell["runs"] == ["runs/multi-domain-0"]
    assert cell["difference"] == pytest.approx(7.97)
    main(["table", *paths, "--out", str(tmp_path / "table.md")])
    assert (tmp_path / "table.md").read_text().startswith("| top-1 (%)")
    assert "under" not in capsys.readouterr().err
    # The same images under another name: a column of its own, and a line that says so.
    real = SOME[1].real.model_copy(update={"name": "photos"})
    write_scores(SOME[1].model_copy(update={"real": real}), run / "scores-photos.json")
    main(["table", *paths, "--json"])
    seen = capsys.readouterr()
    assert [*json.loads(seen.out)[0]["rows"][1]["cells"]] == ["digits-test", "photos"]
    assert "digits-test and photos are the same 100 images under 2 names; score" in seen.err


def test_scores_file_is_read_back_and_stays_readable(tmp_path):
    path = tmp_path / "scores.json"
    write_scores(SOME[0], path)
    assert read_scores(path) == SOME[0]
    assert '"é"' in path.read_text()
    assert "\n      [1, 0],\n" in path.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON: "),
        ('{"a": 1}', "not a scores file"),
        ("[]", "not a scores file"),
        (
            '{"format": "data-factory/scores", "format_version": 9}',
            "format version 9, but this version",
        ),
        ('{"format": "data-factory/scores", "format_version": 1}', "scores.json: run: Field requ"),
    ],
)
def test_foreign_file_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        collect([path])


@pytest.mark.parametrize(
    "change",
    [
        {"environments": ["x"]},
        {"environments": [{"versions": ["x"]}]},
        {"environments": {"a": 1}},
        {"data": []},
        {"data": {"reference": ["x"]}},
    ],
)
def test_the_training_that_scores_name_is_checked(tmp_path, change):
    path = tmp_path / "scores.json"
    write_scores(SOME[0], path)
    text = json.loads(path.read_text())
    text["training"] |= change
    path.write_text(json.dumps(text))
    with pytest.raises(UserError, match=r"scores\.json: training: "):
        collect([path])


def test_missing_things_are_named(tmp_path):
    with pytest.raises(UserError, match=r"file not found; create it with `.* score RUN"):
        collect([tmp_path / "none.json"])
    with pytest.raises(UserError, match=r"contains no scores-\*.json; run `.* score "):
        collect([tmp_path])
    with pytest.raises(UserError, match="no row 'bass' in the table; its rows: all-combined"):
        make_tables(SOME, base="bass")


def test_unfinished_runs_have_their_own_rows():
    half = scores("multi-domain", 0.5)
    half = half.model_copy(
        update={"model": half.model.model_copy(update={"epochs_done": 1, "epochs_planned": 3})}
    )
    (table,) = make_tables([scores("base-class", 0.3), scores("multi-domain", 0.4, seed=1), half])
    marked = table.cells["multi-domain [unfinished: 1 of 3 epochs]", "digits-test"]
    assert (marked.top1, marked.difference) == (50, None)
    assert table.cells["multi-domain", "digits-test"].top1 == pytest.approx(40)
