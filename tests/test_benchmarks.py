"""Benchmarks run with counts too small to mean anything, and the page shows their figures.

The soak runs all of them, `make test` those that start no build and no training.

No time is compared: only whole runs on a quiet machine have figures (`make bench`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import network_variants, page, tables, weight_gradients
from benchmarks.__main__ import JSON_NAME, PAGE_NAME, main, measured
from benchmarks.gaps import Steps
from benchmarks.goals import Goal
from benchmarks.gpu_models import FULL
from benchmarks.profiles import REST, profiled
from benchmarks.results import load, save
from benchmarks.sections import SECTIONS, Section
from benchmarks.timing import Figure, Scale, Spread, compared, in_turn, line_through
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    """Benchmarks in processes of their own use all cores; here they share one with the tests."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# The others start a build or a training for each figure.
_QUICK = {"overhead", "reading", "score"}


# The alternatives are called as their own pages show; what they warn of is not ours.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[] if one in _QUICK else pytest.mark.soak) for one in SECTIONS],
)
def test_every_benchmark_runs(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = measured(name, Scale("tiny"), "cpu", command="tests")
    assert found["status"] == "measured", found.get("reason")
    shown = page.text({name: found})
    split = SECTIONS[name].grid_by or ": "
    for one in found["figures"]:
        # Phases and cells of a grid are shown without their common start.
        row = one["what"].partition(split)[0 if SECTIONS[name].grid_by else 2]
        assert f"| {one['what']} ({one['unit']})" in shown or (row and f"| {row} | " in shown)
        assert one["ours"]["low"] <= one["ours"]["median"] <= one["ours"]["high"]
    assert "A tiny run with small counts" in shown
    assert all(value in shown for value in found["versions"].values())
    assert json.loads(json.dumps(found)) == found


@pytest.mark.soak
def test_other_ways_to_compute_the_network_run(capsys: pytest.CaptureFixture[str]) -> None:
    network_variants.main(["--rounds", "2", "--images", "1"])
    lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    other = {name.strip(): float(share.strip(" %")) for name, _, share, _ in lines}
    assert other["unchanged"] == other["projections of the text once per image"] == 0
    assert other["all layers in contiguous order"] > 0, "it rounds in another way"


@pytest.mark.parametrize("side", [4, 8])
def test_winograds_way_is_the_convolution_but_for_rounding(side: int) -> None:
    torch.manual_seed(0)
    layer, images = torch.nn.Conv2d(8, 6, 3, padding=1), torch.randn(2, 8, side, side)
    with torch.no_grad():
        found, expected = network_variants._winograd(layer)(images), layer(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.soak
def test_both_ways_to_compute_weight_gradients_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The allocator of this process would be changed.
    monkeypatch.setattr(weight_gradients, "keep_freed_memory", lambda: None)
    weight_gradients.main(["--rounds", "1", "--batch", "2"])
    used = [line.split("|")[-2].strip() for line in capsys.readouterr().out.splitlines()[2:]]
    assert set(used) == {"yes", "no"}


@pytest.mark.slow
def test_the_models_of_the_gpu_benchmark_have_the_published_sizes(tmp_path: Path) -> None:
    def tflop(run: Callable[[], object]) -> float:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops() / 1e12

    def millions(network: Any) -> int:
        return round(sum(one.numel() for one in network.parameters()) / 1e6)

    with torch.device("meta"):
        first, second, third = (
            model.make(tmp_path / str(number)) for number, model in enumerate(FULL)
        )
        noise, text = torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768)
        step = tflop(lambda: first.unet(noise, torch.tensor(1), text))
        decoding = tflop(lambda: first.vae.decode(noise))
    assert (round(step, 3), round(decoding, 2)) == (0.803, 2.51)
    assert f"{2 * 40 * step + decoding:.1f} per image" in SECTIONS["gpu"].about
    assert millions(first.unet) == 860
    assert millions(second.unet) == 2567
    assert millions(third.transformer) == 2243
    assert [millions(one) for one in (second.text_encoder, second.text_encoder_2)] == [123, 695]


def test_the_page_in_docs_shows_the_stored_results() -> None:
    results = load(ROOT / "docs" / JSON_NAME)
    assert {*results} <= {*SECTIONS}
    assert (ROOT / "docs" / PAGE_NAME).read_text() == page.text(results), "run make bench"


def test_the_page_begins_with_answers_and_explains_missed_goals() -> None:
    def figure(what: str, ours: float, other: str, ratio: float) -> dict[str, Any]:
        of = [Spread(one, one, one, 4) for one in (ours, ours / ratio, ratio)]
        return Figure(what, "images/s", of[0], other, of[1], of[2]).as_dict()

    found = {"status": "measured", "scale": "full", "versions": {}, "machine": {}, "seconds": 1.0}
    found |= {"command": "x", "date": "y"}
    single = figure("build", 12, "one image per call, float32", 6)
    figures = [single, figure("build", 12, "batches of 32, bfloat16", 1.5)]

    def words(**other: Any) -> str:
        return " ".join(page.text({"cpu": {**found, "figures": figures, **other}}).split())

    head = words().partition("## How to read")[0]
    answer = "12 images/s without the start; against diffusers, 6 times one image per call, float32"
    assert f"{answer}, and 1.5 times batches of 32, bfloat16 (n = 4)." in head
    assert head.count("not measured; run `make bench`.") == 4, "start, ready images, train, score"
    assert head.count("not measured; run `make bench-gpu`.") == 2
    # A missed goal comes first, with its reason.
    assert "--| | build | at least 8 times one image per call, float32 | 6 (n = 4) |" in head
    assert "The figures that would explain it were not measured." in head
    figures.append(figure("build", 12, "large matrix products", 0.8))
    assert "allow about 15 images/s: 7.5 times one image per call." in words()
    quick = words(scale="quick")
    assert "12 images/s" not in quick and "**missed**" not in quick


def test_every_goal_missed_in_docs_has_a_reason() -> None:
    shown = page.text(load(ROOT / "docs" / JSON_NAME))
    for unknown in ("The reason is not known.", "would explain it were not measured"):
        assert unknown not in shown, "add a reason to the goal in tests/benchmarks/goals.py"


def test_profiles_and_grids_have_tables_of_their_own() -> None:
    def figure(what: str, value: float, unit: str = "ms", note: str = "") -> Figure:
        return Figure(what, unit, Spread(value, value, value, 1), note=note)

    phases = [figure("profile: a", 1), figure("profile: b", 3), figure("profile of c: d", 9, "%")]
    cells = [
        figure(f"{ranks} ranks, shards of {size}", ranks / size, note=f"{size} files")
        for ranks in (8, 64)
        for size in (2, 4)
    ]
    assert list(tables.tables([*phases, *cells], ", shards of ")) == [
        *("| measured | n | data-factory | alternative | alternative's figure | ratio |",),
        *("|---|---:|---:|---|---:|---:|", "| profile of c: d (%) | 1 | 9 |  |  |  |", ""),
        *("Profile, n = 1:\n", "| phase | ms | share of the sum |", "|---|---:|---:|"),
        *("| b | 3 | 75.0 % |", "| a | 1 | 25.0 % |", "| sum of the medians | 4 | 100 % |", ""),
        *("| ms, n = 1 | 2: 2 files | 4: 4 files |", "|---|---:|---:|"),
        *("| 8 ranks | 4 | 2 |", "| 64 ranks | 32 | 16 |"),
    ]


def test_the_advice_on_shard_sizes_follows_the_grid() -> None:
    lowest = {7.5: 1.0, 30: 1.0}
    fewer = 0.0
    for one in load(ROOT / "docs" / JSON_NAME)["simulated"]["figures"][1:]:
        ranks, files = (int(one[key].split()[0].replace(",", "")) for key in ("what", "note"))
        efficiency, each = one["ours"]["median"], files / ranks
        fewer = max(fewer, efficiency) if each <= 2 else fewer
        lowest |= {shards: min(low, efficiency) for shards, low in lowest.items() if each >= shards}
        assert each <= 2 or each > 7.5, "the text says that these were not simulated"
    assert lowest[7.5] >= 0.75 and lowest[30] >= 0.8 and fewer < 0.65
    advice = "`--shard-size` so that each process generates 8 shards or more, better 30"
    for page_name in (PAGE_NAME, "multi-node.md"):
        assert advice in " ".join((ROOT / "docs" / page_name).read_text().split())


def test_what_was_not_measured_is_said() -> None:
    shown = page.text({})
    on_gpu = sum(one.target == "bench-gpu" for one in SECTIONS.values())
    run = "Not measured. Run `make bench` on a quiet machine."
    assert shown.count(run) == len(SECTIONS) - on_gpu
    run = "Not measured. No CUDA device was available; run `make bench-gpu`"
    assert shown.count(run) == on_gpu
    assert f"| 64 | {page.NOT_MEASURED} | {page.NOT_MEASURED} |" in shown


def test_a_million_images_are_computed_from_a_full_run_on_a_gpu_only() -> None:
    figure = Figure(page.MILLION_OF, "images/s", Spread(9.0, 10.0, 11.0, 3)).as_dict()
    found = {"status": "measured", "scale": "full", "figures": [figure], "seconds": 1.0}
    found |= {"machine": {"GPU": "NVIDIA A100"}, "versions": {}, "command": "x", "date": "y"}
    assert "| 1 NVIDIA A100 | 27.8 | 27.8 |" in page.text({"gpu": found})
    assert "| 64 NVIDIA A100 | 0.434 | 27.8 |" in page.text({"gpu": found})
    for other in ({"scale": "quick"}, {"machine": {"CPU": "some"}}):
        assert f"| 1 | {page.NOT_MEASURED} |" in page.text({"gpu": {**found, **other}})


def test_a_section_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = Figure("speed", "images/s", Spread(1.0, 2.0, 3.0, 3))
    monkeypatch.setattr(Section, "run", lambda self, *_: [figure] if self.module == "b" else 1 / 0)
    sections = {name: Section(name, "about", name) for name in "ab"}
    monkeypatch.setattr("benchmarks.__main__.SECTIONS", sections)
    monkeypatch.setattr("benchmarks.page.SECTIONS", sections)
    assert main(["--quick", "--out", str(tmp_path)]) == 1
    assert [one["status"] for one in load(tmp_path / JSON_NAME).values()] == ["failed", "measured"]
    text = (tmp_path / PAGE_NAME).read_text()
    assert "Failed: ZeroDivisionError: division by zero" in text
    assert "| speed (images/s) | 3 | 2 [1,\u00a03] |" in text
    # Only what failed is measured again.
    monkeypatch.setattr(Section, "run", lambda self, *_: [figure] if self.module == "a" else 1 / 0)
    assert main(["--quick", "--resume", "--out", str(tmp_path)]) == 0
    assert "b ..." not in capsys.readouterr().err.rpartition("failed: a")[2]


def test_measurements_alternate_and_ratios_are_those_of_pairs() -> None:
    order: list[str] = []

    def measure(name: str, values: list[float]) -> float:
        order.append(name)
        return values.pop(0)

    ours, other = [1.0, 2.0, 30.0], [2.0, 2.0, 10.0]
    done = in_turn(
        {"ours": lambda: measure("ours", ours), "other": lambda: measure("other", other)},
        repeats=3,
    )
    assert order == ["ours", "other", "other", "ours", "ours", "other"]
    figure = compared("speed", "images/s", done["ours"], "other", done["other"], is_limit=True)
    assert "| 2 [1, 30] | limit: other | 2 [2, 10] |" in list(tables.tables([figure]))[-1]
    assert figure.ratio == Spread(0.5, 1.0, 3.0, 3)
    assert Figure.of_dict(json.loads(json.dumps(figure.as_dict()))) == figure
    assert line_through([(1, 5), (2, 7), (4, 11)]) == (3.0, 2.0)


def test_goals_are_reached_or_missed_by_the_median() -> None:
    spread, ratio = Spread(1.0, 4.0, 9.0, 3), Spread(0.5, 0.8, 2.0, 3)
    figures = [Figure("build", "s", spread, "stock, fast", spread, ratio)]
    row = "build", "at most 4 s", "4 (n = 3)", "reached"
    assert Goal("build", 4, "s", "at most").row(figures) == row
    assert Goal("build", 3, "s", "at most").row(figures)[2:] == ("4 (n = 3)", "**missed**")
    row = "build", "at least 0.9 times stock, fast", "0.8 (n = 3)", "**missed**"
    assert Goal("build", 0.9, other="stock").row(figures) == row
    assert Goal("build", 0.8, other="stock").row(figures)[2:] == ("0.8 (n = 3)", "reached")
    assert Goal("other", 1, "s").row(figures) == ("other", "at least 1 s", "not measured", "")


def test_results_survive_a_stopped_run(tmp_path: Path) -> None:
    save(tmp_path / JSON_NAME, {"cpu": {"status": "failed"}})
    assert load(tmp_path / JSON_NAME) == {"cpu": {"status": "failed"}}
    assert [path.name for path in tmp_path.iterdir()] == [JSON_NAME]
    assert load(tmp_path / "none.json") == {}


def test_a_simulated_build_waits_for_its_last_shards() -> None:
    from benchmarks.simulated import _SHARD_SIZES, efficiency

    from factory.shards.settings import _BATCH_SIZE

    assert [size for size in _SHARD_SIZES if size % _BATCH_SIZE] == [], "padding is not simulated"
    # Alone, the slow rank loses its start and the time of taking shards.
    alone = efficiency(100, 1, 10, image_s=1, taking_s=2, seed=0)
    assert 300 / (300 + 20 + 40) <= alone <= 300 / (300 + 20 + 10)
    # As many shards as ranks: all wait for the slow one, three times as long as the work.
    assert 0.3 < efficiency(100_000, 100, 1_000, image_s=1, taking_s=0, seed=0) < 0.35
    assert efficiency(100_000, 100, 10, image_s=1, taking_s=0, seed=0) > 0.9
    # One rank at a time takes a shard: 10,000 of them last 10,000 s.
    assert efficiency(100_000, 100, 10, image_s=1, taking_s=1, seed=0) < 0.11


def test_a_training_waits_between_the_steps_of_its_later_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = Steps("cpu", 2)
    # Arrival and end of each step; 5 s lie between the epochs.
    clock = iter([0.0, 9.0, 20.0, 21.0, 26.0, 28.0, 29.0, 33.0])
    monkeypatch.setattr("benchmarks.gaps.time.perf_counter", lambda: next(clock))
    for _ in range(4):
        steps.arrived(), steps.done()
    assert steps.waiting() == (1 / (2 + 1 + 4), 5)


class _Work:
    """Three functions of two phases, one of them in another thread."""

    @classmethod
    def outer(cls) -> str:
        with ThreadPoolExecutor(1) as pool:
            return cls.inner() + pool.submit(cls.inner).result()

    @staticmethod
    def inner() -> str:
        return "done"


def test_a_phase_of_a_profile_leaves_out_the_phases_it_calls() -> None:
    ticks = count()
    phases = {"outer": [f"{__name__}:_Work.outer"], "inner": [f"{__name__}:_Work.inner"]}
    before = dict(vars(_Work))
    found = profiled(lambda: _Work.outer(), phases, clock=lambda: float(next(ticks)))
    assert [*found] == ["outer", "inner", REST]
    # The clock is read six times: at both ends of the outer call, and of each inner one. What runs
    # in another thread is not part of the outer call's time.
    assert (found["outer"], found["inner"]) == (5 - 1, 1 + 1)
    assert dict(vars(_Work)) == before
