"""Plots: class names whose characters the bundled font lacks; styles of the user."""

import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image
from quick_plots import draw_curves
from test_eval_table import SOME

from eval.gap_plots import plot_classes, plot_coverage, plot_sets
from eval.plots import plot_confusion
from factory.card.plots import draw
from factory.card.spreads import spreads
from factory.common.plot_text import bundled_characters, bundled_font, in_bundled, plot_font
from factory.recipe.library import load_recipe
from factory.renderer.contact_sheet import contact_sheet

CHINESE, JAPANESE, EMOJI = "\u732b", "\u306d\u3053", "\U0001f40e"
NAMES = [CHINESE, f"cat {EMOJI}", "ca$t$"]


def write_font(path: Path, characters: str, family: str) -> str:
    """Write a font whose every glyph is a solid square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0)), pen.lineTo((0, 800)), pen.lineTo((800, 800)), pen.lineTo((800, 0))
    pen.closePath()
    names = [f"u{ord(letter):X}" for letter in characters]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap({ord(a): name for a, name in zip(characters, names, strict=True)})
    builder.setupGlyf({name: pen.glyph() for name in [".notdef", *names]})
    builder.setupHorizontalMetrics({name: (1000, 0) for name in [".notdef", *names]})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


def install(monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    """Make these the only fonts of the system."""
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(paths))


def confusion(path: Path, names: list[str] | None = None) -> np.ndarray:
    scores = SOME[0]
    if names:
        labels = scores.labels.model_copy(update={"names": names, "num_real": len(names)})
        shape = [[1] * len(names)] * len(names)
        metrics = scores.metrics.model_copy(update={"confusion_matrix": shape})
        scores = scores.model_copy(update={"labels": labels, "metrics": metrics})
    plot_confusion(scores, path)
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def test_installed_fonts_are_found_and_used(tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    install(
        monkeypatch,
        str(tmp_path / "bad.ttf"),
        write_font(tmp_path / "c.ttf", CHINESE + EMOJI, "Noto Color Emoji"),
        write_font(tmp_path / "l.ttf", CHINESE + EMOJI, "LastResort"),
        write_font(tmp_path / "a.ttf", CHINESE + JAPANESE, "Test CJK"),
        write_font(tmp_path / "e.ttf", EMOJI, "Test Emoji"),
    )
    font = plot_font([*NAMES, JAPANESE])
    assert font.families == ("DejaVu Sans", "Test CJK", "Test Emoji")
    assert font.numbered(NAMES) == NAMES
    squares = confusion(tmp_path / "a.png", NAMES)
    install(monkeypatch)
    numbers = confusion(tmp_path / "b.png", NAMES)
    assert squares.shape != numbers.shape or (squares != numbers).any()
    assert capsys.readouterr().err.count("no installed font") == 1


def test_without_a_font_classes_have_numbers_and_a_line_says_so(tmp_path, monkeypatch, capsys):
    install(monkeypatch)
    assert plot_font(NAMES).numbered(NAMES) == ["#0", "#1 cat", "ca$t$"]
    printed = capsys.readouterr().err
    assert f"shows their numbers: #0 {CHINESE}, #1 cat {EMOJI}; install a font" in printed
    assert printed.count("\n") == 1
    assert plot_font(["a"]).shown("a") == "a"
    assert plot_font([CHINESE]).shown(f"runs/{CHINESE}") == "runs/?"
    with warnings.catch_warnings():
        # matplotlib warns of each character that no font has.
        warnings.simplefilter("error")
        confusion(tmp_path / "a.png", NAMES)
        places = np.random.default_rng(0).random((12, 2))
        plot_classes(
            places,
            labels=np.arange(6) % 3,
            names=NAMES,
            title=f"{CHINESE} and $x",
            note=JAPANESE,
            path=tmp_path / "classes",
        )
    assert (tmp_path / "classes.svg").exists()


def test_a_name_that_is_no_formula_is_plotted_as_it_is(tmp_path):
    confusion(tmp_path / "a.png", [r"$\frac$", "b", "c"])


def test_sheets_show_code_points_on_every_machine(capsys):
    assert in_bundled(["a  b", f"{CHINESE}x"], what="sheet") == ["a  b", "U+732B x"]
    assert capsys.readouterr().err == f"sheet: its font lacks {CHINESE}; shown as code points\n"
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    one, other = (
        contact_sheet([[pixels]], row_labels=[label]).tobytes() for label in (CHINESE, "U+732B")
    )
    assert one == other


def test_sheets_need_the_font_of_matplotlib_alone():
    """A sheet with names in ASCII imports no matplotlib, which would take longer than itself."""
    assert bundled_font().samefile(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"))
    assert set(map(chr, range(0x21, 0x7F))) <= bundled_characters()
    code = (
        "import sys, numpy\n"
        "from factory.renderer.contact_sheet import contact_sheet\n"
        "contact_sheet([[numpy.zeros((8, 8, 3), 'uint8')]], row_labels=['a cat'], title='$')\n"
        "sys.exit('matplotlib' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


INTERVAL = {"value": 0.5, "low": 0.4, "high": 0.6}
PLACES = np.random.default_rng(0).random((12, 2))
HEAD = {"title": "set", "note": "twelve images"}
PLOTS = {
    "card": lambda folder: (folder / "a.png").write_bytes(
        draw(*spreads([load_recipe("quickstart/random-guidance")]))
    ),
    "curves": partial(
        draw_curves,
        rows=[
            {"epoch": 1, "lr": 0.1}
            | dict.fromkeys(("train_loss", "train_top1"), 0.5)
            | dict.fromkeys(("val_loss", "val_top1"))
        ],
        best_epoch=1,
    ),
    "confusion": lambda folder: confusion(folder / "a.png"),
    "sets": lambda folder: plot_sets(PLACES, **HEAD, path=folder / "a"),
    "classes": lambda folder: plot_classes(
        PLACES, labels=np.arange(6) % 3, names=["a", "b", "c"], **HEAD, path=folder / "a"
    ),
    "coverage": lambda folder: plot_coverage(
        {"figures": {"coverage": {"real": INTERVAL, "synthetic": INTERVAL}}, "groups": {}},
        **HEAD,
        path=folder / "a",
    ),
}


@pytest.mark.parametrize("plot", PLOTS)
def test_a_style_of_the_user_changes_no_plot(plot, tmp_path):
    """In this process, where a notebook may have set it."""
    style = {"font.size": 20, "axes.facecolor": "black", "grid.color": "red", "axes.grid": True}
    for name in ("plain", "styled"):
        (tmp_path / name).mkdir()
    PLOTS[plot](tmp_path / "plain")
    with matplotlib.rc_context(style):
        PLOTS[plot](tmp_path / "styled")
        assert {name: matplotlib.rcParams[name] for name in style} == style
    files = [path.name for path in (tmp_path / "plain").iterdir()]
    assert files
    for name in files:
        assert (tmp_path / "styled" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
