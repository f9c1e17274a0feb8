"""`data-factory view`: rows, marks and images over HTTP, in a real browser, and of strangers."""

from __future__ import annotations

import http.client
import json
import shlex
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe
from web_parts import CHROMIUM, DRIVER, MISSING, Browser, browser

from eval.cli import main
from eval.fiftyone_folder import field_names, write_folder
from eval.report_page.dataset import open_report_dataset
from eval.report_page.distributions import distributions
from eval.viewer import images as images_module
from eval.viewer.answers import Viewer, open_viewer
from eval.viewer.images import Images
from eval.viewer.selection import Query
from eval.viewer.server import Server, serving
from factory.builder.build import build
from factory.card.spreads import spreads
from factory.cli.main import main as factory_main
from factory.common.errors import UserError
from factory.common.local_paths import STAGES
from factory.data.marks import read_marks, write_marks
from factory.data.open import open_dataset
from factory.gates.duplicates import NearDuplicates, difference_hash
from factory.gates.run import run_gates
from factory.inspection.verify import verify_set
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.manifest import read_manifest
from factory.sharing.push_dataset import set_files

NASTY = "</script><img src=x onerror=alert(1)>\"' \\"
LABELS = ["cat", NASTY, "ship"]
SHARED = {"guidance_scale": {"uniform": [1, 5]}, "num_inference_steps": 2, "noise": "shared"}
EXPRESSIONS = [
    "guidance_scale < 3",
    "label == 'cat' and not near_duplicate",
    "d in ('plain', 'odd') or index >= 9",
    "d is None and 1.5 <= guidance_scale < 2.5",
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two configs with shared noise, their union and an equal share, with hashes."""
    folder = tmp_path_factory.mktemp("view")
    values = {"d": ["plain", "odd", NASTY]}
    recipes = [
        recipe(folder, "base-class", classes=LABELS, sampling=SHARED),
        recipe(
            folder,
            "tricky",
            classes=LABELS,
            prompt="a {d} {class}",
            variables=values,
            sampling=SHARED,
        ),
        combination(folder, "both", ["base-class", "tricky"]),
        combination(folder, "share", ["base-class", "tricky"], images_per_class=2),
    ]
    made = folder / "out"
    build(recipes, made, settings=SETTINGS, show_progress=False, renderer_factory=FakeRenderer)
    run_gates(made, [NearDuplicates()], show_progress=False)
    return made


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path / "marks.csv"


@pytest.fixture
def viewer(out: Path, marks: Path) -> Viewer:
    return open_viewer(out, marks)


def shown(viewer: Viewer, **asked: str) -> list[dict[str, Any]]:
    """Return all rows of a query by column, in order."""
    found = viewer.page({"size": "300", **asked})
    names = viewer.about()["columns"]
    return [{**row, **dict(zip(names, row["values"], strict=True))} for row in found["rows"]]


def test_variables_that_follow_from_others_have_no_facet_and_no_chart(tmp_path: Path) -> None:
    variables = {
        "article": {"per_class": {"cat": "a", "elephant": "an"}},
        "place": {"linked": ["domain", "of_domain"], "values": [["photo", "a"], ["image", "an"]]},
        "light": {"per_class": {"cat": ["dim", "bright"], "elephant": ["dim", "red"]}},
    }
    prompt = "{of_domain} {domain} of {article} {class}, {light}"
    classes = ["cat", "elephant"]
    own = recipe(
        tmp_path,
        *("own",),
        **{"classes": classes, "variables": variables, "prompt": prompt, "images_per_class": 20},
    )
    plain = recipe(tmp_path, "plain", classes=classes, images_per_class=20)
    made = tmp_path / "out"
    build([own, plain], made, settings=SETTINGS, show_progress=False, renderer_factory=FakeRenderer)
    dataset = open_report_dataset(made)
    facets = {facet.column for facet in open_viewer(made, None).facets}
    charts = {column.name for column in distributions(dataset)}
    plots = {name for name, _ in spreads([own, plain])[1]}
    varied = {"article", "domain", "of_domain", "light"}
    # Of linked variables one is left; values that vary within a class are no technical ones.
    for shown in (facets & varied, charts & varied, plots):
        assert shown in ({"light", "domain"}, {"light", "of_domain"})
    assert "prompt" in facets
    alone = open_viewer(_alone(plain, tmp_path), None)
    assert "prompt" not in {one.column for one in alone.facets}
    with pytest.raises(UserError, match="has neither embedding_hash nor difference_hash; "):
        alone.page({"like": "0"})


def _alone(plain: ResolvedRecipe, folder: Path) -> Path:
    build(
        [plain],
        folder / "plain",
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=FakeRenderer,
    )
    return folder / "plain"


@pytest.mark.parametrize("config", ["base-class", "tricky", "both", "share"])
def test_a_filter_keeps_the_rows_that_train_keeps(viewer: Viewer, out: Path, config: str) -> None:
    for expression in EXPRESSIONS:
        found = [
            (row["recipe"], row["index"]) for row in shown(viewer, config=config, filter=expression)
        ]
        try:
            kept = open_dataset(out, config_name=config, row_filter=expression).dataset
        except UserError as error:
            assert "matches none" in str(error) and not found
            continue
        expected = list(zip(kept["recipe"], map(str, kept["index"]), strict=True))
        assert [(name, str(index)) for name, index in found] == expected


def test_a_bar_selects_the_rows_that_it_counts(viewer: Viewer) -> None:
    names = [facet.column for facet in viewer.facets]
    assert {"label", "d", "guidance_scale", "recipe"} <= set(names)
    counted = viewer.counts({"filter": "index > 2"})["counts"]
    for facet, counts in zip(viewer.facets, counted, strict=True):
        for clause, count in zip(facet.clauses, counts, strict=True):
            clauses = json.dumps({facet.column: clause})
            assert viewer.page({"filter": "index > 2", "clauses": clauses})["total"] == count
        # Its own clause leaves the bars of a facet as they are, and changes those of others.
        asked = {"filter": "index > 2", "clauses": json.dumps({facet.column: facet.clauses[0]})}
        now = viewer.counts(asked)["counts"]
        assert now[names.index(facet.column)] == counts
        assert now != counted


@pytest.mark.parametrize("column", ["guidance_scale", "d", "prompt", "seed", "near_duplicate"])
def test_rows_are_sorted_by_any_column_with_nulls_last(viewer: Viewer, column: str) -> None:
    stored = [row[column] for row in viewer.rows.table.to_pylist()]
    known = [one for one in stored if one is not None]
    for descending in ("0", "1"):
        found = viewer.selector.select(Query(sort=column, descending=descending == "1")).tolist()
        values = [stored[row] for row in found]
        assert values[: len(known)] == sorted(known, reverse=descending == "1")
        assert values[len(known) :] == [None] * (len(stored) - len(known))
        assert sorted(found) == list(range(len(stored)))


def test_configs_are_compared_by_seed(viewer: Viewer) -> None:
    found = viewer.page(
        {"config": "tricky", "beside": "base-class", "filter": "label == 'ship'", "sort": "d"}
    )
    rows = {row["row"]: row for row in found["rows"]}
    assert len(found["lines"]) == found["total"] == 5 and all(found["same_seed"])
    for own, other in found["lines"]:
        assert (rows[own]["config"], rows[other]["config"]) == ("tricky", "base-class")
        assert rows[own]["label"] == rows[other]["label"] == "ship"
        assert rows[own]["index"] == rows[other]["index"]


def test_similar_images_come_first(viewer: Viewer) -> None:
    numbers = np.arange(viewer.rows.count)
    hashes = [difference_hash(viewer.images._read(row)) for row in numbers.tolist()]
    bits = [int(np.bitwise_count(one ^ hashes[4])) for one in hashes]
    assert viewer.selector.distances(4, numbers).tolist() == bits
    found = shown(viewer, like="4")
    assert [row["distance"] for row in found] == sorted(bits)
    assert found[0]["distance"] == 0 and bits[found[0]["row"]] == 0


def test_a_row_is_copied_as_a_replay_command(viewer: Viewer, out: Path) -> None:
    for row in shown(viewer, config="share"):
        assert row["replay"].endswith(
            f"replay {out} --config {row['recipe']} --index {row['index']}"
        )


def test_marks_become_a_column(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    viewer = open_viewer(copy, None)
    rows = [row["row"] for row in shown(viewer, config="tricky", filter="index in (3, 4)")]
    assert viewer.mark({"rows": rows, "marked": True}) == {"marked": 2}
    assert viewer.mark({"rows": rows[:1], "marked": False}) == {"marked": 1}
    assert (copy / "marks.csv").read_text() == "recipe,index\ntricky,4\n"
    assert {row["config"] for row in shown(viewer, marks="marked")} <= {"tricky", "share"}
    before = verify_set(copy, show_progress=False)
    assert before.whole, "verify knows the file"
    manifest = read_manifest(copy)
    assert manifest is not None and "marks.csv" not in set_files(copy, manifest)
    with (copy / "marks.csv").open("a") as file:
        file.write("tricky,999\n")
    factory_main(["gate", str(copy), "--marks", str(copy / "marks.csv"), "--json", "--quiet"])
    told = json.loads(capsys.readouterr().out)
    assert told["notes"] == [
        f"{copy / 'marks.csv'}: 1 of 2 marks names no image of the dataset; the first is tricky,999"
    ]
    kept = open_dataset(copy, config_name="both", row_filter="not marked_bad").dataset
    missing = {("tricky", index) for index in range(15)} - set(
        zip(kept["recipe"], kept["index"], strict=True)
    )
    assert missing == {("tricky", 4)} and len(kept) == 29
    with pytest.raises(UserError, match=r"^--marks no\.csv: file not found; mark images in .*view"):
        factory_main(["gate", str(copy), "--marks", "no.csv"])
    before = (copy / "manifest.json").read_bytes()
    (tmp_path / "other.csv").write_text("recipe,index\ntricky,999\ntrickey,1\n")
    with pytest.raises(UserError, match=r"2 of 2 marks name no .*trickey.*did you mean tricky\?"):
        factory_main(["gate", str(copy), "--marks", str(tmp_path / "other.csv"), "--quiet"])
    assert (copy / "manifest.json").read_bytes() == before
    assert not (copy / STAGES).exists(), "refused before a shard was copied"
    # Another file of marks replaces the column.
    write_marks(tmp_path / "none.csv", set())
    factory_main(["gate", str(copy), "--marks", str(tmp_path / "none.csv"), "--quiet"])
    assert len(open_dataset(copy, config_name="both", row_filter="not marked_bad").dataset) == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "has no column recipe; its first line must be recipe,index"),
        ("recipe,index\nbase,x\n", ":2: expected the name of a config and an index"),
        ("recipe,index\n../up,1\n", ":2: expected the name of a config and an index"),
        ("recipe,index\nbase\n", ":2: expected the name of a config and an index"),
        ("recipe,index\nbase,-1\n", ":2: expected the name of a config and an index"),
        ("", "has no column recipe"),
    ],
)
def test_damaged_marks_are_one_clear_line(text: str, message: str, marks: Path, out: Path) -> None:
    marks.write_text(text)
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        open_viewer(out, marks)


def test_marks_of_others_are_kept(viewer: Viewer, marks: Path) -> None:
    write_marks(marks, {("tricky", 7)})
    viewer.mark({"rows": [0], "marked": True})
    assert read_marks(marks) == {("base-class", 0), ("tricky", 7)}
    marks.write_text('note,index,recipe\n"a, b",7,tricky\nc,1,base-class\n')
    viewer.mark({"rows": [0], "marked": True})
    viewer.mark({"rows": [1], "marked": False})
    assert marks.read_text() == 'note,index,recipe\n"a, b",7,tricky\n,0,base-class\n'


def test_images_are_read_by_row_group_and_kept_in_bounds(
    viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    reading = images_module.reading
    monkeypatch.setattr(
        images_module, "reading", lambda path: opened.append(path.name) or reading(path)
    )
    images = Images(viewer.rows, most_bytes=1)
    first = images._read(0)
    assert np.array_equal(np.asarray(first), np.asarray(images._read(0)))
    assert len(opened) == 2, "the footer and one row group"
    images._read(9)
    assert len(images._groups) == 1, "at least one group is kept, and no more than the limit"


# The server.


@pytest.fixture
def server(viewer: Viewer) -> Iterator[Server]:
    made = Server(viewer, port=0)
    with serving(made):
        yield made


def ask(
    server: Server,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, bytes, dict[str, str]]:
    """Send a request whose path may be anything."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    given = {"Host": f"127.0.0.1:{server.server_port}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, given)
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_only_this_machine_is_served(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    page = f"/{server.token}/"
    assert ask(server, page)[0] == ask(server, page, Host="localhost:9000")[0] == 200
    for host in (
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "0.0.0.0",
    ):
        assert ask(server, page, Host=host)[0] == 421, host


def test_only_the_address_with_the_token_is_served(server: Server) -> None:
    other = "x" * len(server.token)
    for path in ("/", "/view.js", f"/{other}/", f"/{server.token}", f"/{server.token[:-1]}/rows"):
        status, body, _ = ask(server, path)
        assert (status, body) == (404, b"Not Found"), path


def test_no_path_leads_to_a_file(server: Server, out: Path) -> None:
    base = f"/{server.token}/"
    names = ("manifest.json", "README.md", "data/base-class", "../answers.py", "page/view.js")
    encoded = ("%2e%2e/answers.py", "..%2fanswers.py", "%2fetc%2fpasswd", "/etc/passwd", str(out))
    for name in (*names, *encoded, "__init__.py", "view.js/", "image/../manifest.json"):
        assert ask(server, base + name)[0] == 404, name
    for row in ("-1", "999999", "x", "", "../1", "1e3", "9" * 30):
        status, body, _ = ask(server, f"{base}image?{urlencode({'row': row})}")
        assert status == 422 and "error" in json.loads(body), row


def test_answers_may_be_used_by_the_page_alone(server: Server) -> None:
    for name in ("", "view.js", "rows", "image?row=0&side=160"):
        status, _, headers = ask(server, f"/{server.token}/{name}", Origin="http://evil.example")
        assert status == 200 and "Access-Control-Allow-Origin" not in headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_other_pages_cannot_mark(server: Server, viewer: Viewer) -> None:
    path, body = f"/{server.token}/mark", b'{"rows": [0], "marked": true}'
    kind = {"Content_Type": "application/json"}
    post = {"method": "POST", "body": body}
    assert ask(server, path, **post, Content_Type="text/plain")[0] == 403
    assert ask(server, path, **post, **kind, Origin="http://evil.example")[0] == 403
    assert ask(server, path, **post, **kind, Origin="null")[0] == 403
    assert ask(server, f"/{server.token}/rows", **post, **kind)[0] == 403
    assert ask(server, path, method="POST", body=b"x" * 100_001, **kind)[0] == 413
    for bad in (b"[]", b"{", b"\xff", b'{"rows": [-1], "marked": true}', b'{"rows": 1}'):
        assert ask(server, path, method="POST", body=bad, **kind)[0] == 422, bad
    assert not viewer.marks.marks and not viewer.marks.path.exists()
    own = f"http://127.0.0.1:{server.server_port}"
    assert json.loads(ask(server, path, **post, **kind, Origin=own)[1]) == {"marked": 1}
    assert viewer.marks.path.read_text() == "recipe,index\nbase-class,0\n"


def test_a_wrong_filter_is_answered_in_one_line(server: Server) -> None:
    for asked, message in [
        ({"filter": "guidance < 3"}, "no column guidance; did you mean"),
        ({"filter": "(label.x)(1) == 2"}, "one side of a comparison must be a column"),
        ({"sort": "image"}, "cannot sort by 'image'"),
        ({"config": "none"}, "no config 'none'"),
        ({"clauses": "[]"}, "expected expressions by column"),
        ({"like": "0", "config": "x" * 9000}, "no config"),
    ]:
        status, body, _ = ask(server, f"/{server.token}/rows?{urlencode(asked)}")
        found = json.loads(body)["error"]
        # Browsers log other statuses in the console. The reader typed no option.
        assert status == 200 and message in found and "--filter" not in found, asked
    assert ask(server, f"/{server.token}/rows?filter={'x' * 20000}")[0] == 414


def test_images_are_encoded_again_whatever_a_row_contains(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    files = sorted((copy / "data/base-class").glob("*.parquet"))
    table = pq.read_table(files[0])
    cells = table["image"].to_pylist()
    cells[0]["bytes"] = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    cells[1]["bytes"] += b"<script>alert(1)</script>"
    cells[2] = {"bytes": None, "path": "/etc/passwd"}
    place = table.schema.get_field_index("image")
    field = table.schema.field("image")
    pq.write_table(table.set_column(place, field, pa.array(cells, field.type)), files[0])
    images = open_viewer(copy, None).images
    for row in (0, 2):
        with pytest.raises(UserError, match=f"row {row}"):
            images.encoded(row)
    kind, data = images.encoded(1)
    assert kind == "image/png" and b"script" not in data


def test_rows_that_are_far_larger_than_their_file_are_not_read(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    file = next((copy / "data/base-class").glob("*.parquet"))
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), ["x" * 1_000_000])
    pq.write_table(pa.table({"prompt": texts}), file, store_schema=False)
    with pytest.raises(UserError, match=f"{file.name}: its .* bytes would become more than"):
        open_viewer(copy, None)


def test_a_link_out_of_the_dataset_is_neither_read_nor_written(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    elsewhere = tmp_path / "mine.csv"
    elsewhere.write_text("recipe,index\n")
    (copy / "marks.csv").symlink_to(elsewhere)
    with pytest.raises(UserError, match="is a link out of the dataset"):
        open_viewer(copy, None)


def test_the_command_prints_its_address_and_ends_with_ctrl_c(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(self: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stopped)
    assert main(["view", str(out), "--json"]) == 130
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 36 and told["configs"]["both"] == 30
    address = urlsplit(told["url"])
    assert address.hostname == "127.0.0.1" and len(address.path) > 20
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(UserError, match=f"--port {port}: .*; give another"):
            main(["view", str(out), "--port", port])
    with pytest.raises(UserError, match="--port 70000: not a port"):
        main(["view", str(out), "--port", "70000"])


# The page in a browser.


@pytest.fixture(scope="module")
def window(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not (CHROMIUM and DRIVER):
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("browser")
    viewer = open_viewer(out, folder / "marks.csv")
    with serving(Server(viewer, port=0)) as url, browser(folder / "profile") as started:
        started.go(url)
        yield started


def until(window: Browser, script: str) -> None:
    """Wait until a condition in JavaScript is true."""
    end = time.monotonic() + 60
    while not window.run(f"return Boolean({script})"):
        assert time.monotonic() < end, script
        time.sleep(0.05)


def total(window: Browser, number: int) -> None:
    until(window, f"document.getElementById('total').textContent === '{number} images'")


def test_a_browser_shows_filters_compares_and_marks(window: Browser) -> None:
    total(window, 36)
    assert window.run("return document.querySelectorAll('.thumb').length") == 36
    until(
        window,
        "document.querySelector('.thumb img').naturalWidth === 8",
    )
    assert window.run("return document.querySelectorAll('.thumb img:not([alt])').length") == 0
    assert window.run(
        "return [...document.querySelectorAll('.value, .column')].every((one) => one.ariaLabel)"
    )
    assert window.run("return document.querySelectorAll('[onerror]').length") == 0
    window.click(".value[title^='label: cat']")
    total(window, 12)
    window.type("#filter", "guidance_scale > 0")
    until(window, "location.hash.includes('guidance_scale')")
    total(window, 12)
    window.run("""document.getElementById('config').value = 'tricky';
        document.getElementById('config').dispatchEvent(new Event('change'))""")
    total(window, 5)
    window.click("#beside input[value='base-class']")
    until(window, "document.querySelectorAll('.card').length === 5")
    assert window.run("return document.querySelector('.card .muted').textContent") == "same seed"
    window.run("history.back()")
    until(
        window,
        "!document.querySelector('.card') && document.querySelectorAll('.thumb').length === 5",
    )
    window.click(".chips button")
    total(window, 15)
    window.click(".thumb")
    until(window, "document.getElementById('detail').open")
    assert "replay" in window.run("return document.getElementById('replay').textContent")
    window.press("ArrowRight")
    until(window, "document.getElementById('replay').textContent.endsWith('--index 1')")
    window.press("x")
    until(window, "document.getElementById('mark').ariaPressed === 'true'")
    assert window.run("return document.getElementById('marks-button').textContent") == "1 marked"
    window.press("\ue00c")
    until(window, "document.activeElement.matches('.thumb.marked')")
    window.press("s")
    until(
        window,
        "document.querySelector('figcaption').textContent.endsWith(', 0 bits')",
    )
    assert window.messages() == []


def test_a_phone_shows_no_part_beside_the_screen(window: Browser) -> None:
    window.resize(390, 844)
    until(window, "innerWidth < 640")
    assert window.run("return document.documentElement.scrollWidth <= innerWidth")
    window.click("#side-button")
    assert window.run("return document.getElementById('side').offsetHeight > 0")
    window.resize(1280, 1000)


def test_a_wrong_filter_is_explained_on_the_page(window: Browser) -> None:
    window.type("#filter", " nonsense")
    until(window, "!document.getElementById('problem').hidden")
    shown = window.run("return document.getElementById('problem').textContent")
    assert "nonsense" in shown and "--filter" not in shown


def test_a_folder_for_fiftyone_has_the_stored_images_and_all_columns(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "fo"
    main(["to-fiftyone", str(out), "--out", str(to), "--json"])
    answer = json.loads(capsys.readouterr().out)
    samples = json.loads((to / "samples.json").read_text())["samples"]
    rows = open_viewer(out, None).rows
    # An equal share copies rows: its 6 images are samples of their own configs.
    assert answer["samples"] == len(samples) == rows.count - 6
    assert answer["load"].startswith(f"fiftyone datasets create --name=fo --dataset-dir={to} ")
    info = json.loads((to / "metadata.json").read_text())["info"]
    assert info == {"source": "out", "classes": LABELS}
    for sample, row in zip(samples, rows.at(rows.of_config("both")), strict=True):
        assert sample["ground_truth"] == {"_cls": "Classification", "label": LABELS[row["label"]]}
        columns = set(row) - {"label"}
        assert {name: sample[name] for name in columns} == {name: row[name] for name in columns}
        assert (to / sample["filepath"]).stat().st_size == sample["metadata"]["size_bytes"]
    tags = Counter(tuple(sample["tags"]) for sample in samples)
    assert tags["base-class", "both", "share"] == tags["tricky", "both", "share"] == 3
    own = ("base-class", "tricky")
    assert set(tags) == {(one, "both", *end) for one in own for end in ((), ("share",))}
    shard = open_report_dataset(out).manifest.configs["tricky"].shards[0]
    stored = pq.read_table(out / shard.file)["image"][0].as_py()["bytes"]
    assert (to / "data/tricky/0.png").read_bytes() == stored
    assert sum(file.stat().st_size for file in to.glob("data/*/*")) == answer["bytes"]


def test_a_folder_for_fiftyone_has_chosen_rows_and_replaces_nothing(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "fo"
    words = ["to-fiftyone", str(out), "--out", str(to), "--quiet", "--config", "tricky"]
    with pytest.raises(UserError, match="no rows match --config and --filter"):
        main([*words, "--filter", "index > 1000"])
    monkeypatch.setattr(Images, "stored", lambda *_: pytest.fail("unreadable"))
    with pytest.raises(pytest.fail.Exception):
        main(words)
    # A part of a dataset is not left behind.
    assert not to.exists()
    # A folder that was made since the check keeps its files.
    to.mkdir()
    (to / "thesis.txt").touch()
    rows = open_viewer(out, None).rows
    with pytest.raises(UserError, match="fo: exists; name a folder"):
        write_folder(rows, rows.of_config(""), to, advance=lambda _: None)
    assert [file.name for file in to.iterdir()] == ["thesis.txt"]
    shutil.rmtree(to)
    monkeypatch.undo()
    main([*words, "--filter", "d == 'odd'"])
    samples = json.loads((to / "samples.json").read_text())["samples"]
    assert {(sample["recipe"], sample["d"]) for sample in samples} == {("tricky", "odd")}
    with pytest.raises(UserError, match="fo: exists; name a folder that does not exist yet"):
        main(words)


def test_a_share_alone_is_a_folder_for_fiftyone(out: Path, tmp_path: Path) -> None:
    main(["to-fiftyone", str(out), "--out", str(tmp_path / "fo"), "--quiet", "--config", "share"])
    samples = json.loads((tmp_path / "fo/samples.json").read_text())["samples"]
    assert [one["tags"] for one in samples] == [[one["recipe"], "both", "share"] for one in samples]
    assert len(samples) == 6


def test_wrong_options_of_to_fiftyone_write_nothing(out: Path, tmp_path: Path) -> None:
    words = ["to-fiftyone", str(out), "--quiet", "--out"]
    (tmp_path / "link").symlink_to("nowhere")
    for to, message, *more in (
        ("fo", r"--filter 'nonsense > 1': no column nonsense", "--filter", "nonsense > 1"),
        ("link", r"--out: .*link is a link to nothing; choose"),
        (str(out / "fo"), r"--out .*fo: is in the dataset .*out; name a folder outside"),
    ):
        with pytest.raises(UserError, match=message):
            main([*words, str(tmp_path / to), *more])
    assert not (tmp_path / "fo").exists() and not (out / "fo").exists()


def test_a_name_with_a_hyphen_is_no_option_of_the_printed_command(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["to-fiftyone", str(out), "--out=-x y", "--config", "share", "--json"])
    load = shlex.split(json.loads(capsys.readouterr().out)["load"])
    assert load[3:5] == ["--name=-x y", "--dataset-dir=-x y"]


def test_names_that_fiftyone_reserves_get_an_underscore() -> None:
    columns = ["d", "tags", "tags_", "id", "_cls", "a.b", "ground_truth", "$x", "._y$", "$."]
    assert field_names(columns) == {
        **{"d": "d", "tags": "tags__", "tags_": "tags_", "id": "id_"},
        **{"_cls": "cls", "a.b": "a_b", "ground_truth": "ground_truth_"},
        **{"$x": "x", "._y$": "y_", "$.": "column"},
    }


@pytest.mark.soak
def test_fiftyone_imports_the_folder(out: Path, tmp_path: Path) -> None:
    fiftyone = pytest.importorskip("fiftyone", reason="needs fiftyone and a MongoDB server")
    to = tmp_path / "fo"
    main(["to-fiftyone", str(out), "--out", str(to), "--quiet"])
    imported = fiftyone.Dataset.from_dir(str(to), fiftyone.types.FiftyOneDataset)
    samples = json.loads((to / "samples.json").read_text())["samples"]
    assert imported.default_classes == LABELS
    for sample, written in zip(imported, samples, strict=True):
        assert sample.ground_truth.label == written["ground_truth"]["label"]
        assert Path(sample.filepath).read_bytes() == (to / written["filepath"]).read_bytes()
        for name in ("tags", "seed", "d", "guidance_scale", "near_duplicate"):
            assert sample[name] == written[name]
