"""Figures are checked by what stands in them: lines, labels, limits; and by their bytes, which must not vary."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from secure_fl.runs import RoundRow, RunRecord, SiteRow
from secure_fl.runs.convergence import convergence_figure
from secure_fl.runs.figure_style import STYLE
from secure_fl.runs.plots import draw_plots
from secure_fl.runs.resource_figure import resources_figure
from secure_fl.runs.resources import Sample

GIB = 2**30


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with matplotlib.rc_context():
        matplotlib.rcParams.update(STYLE)
        yield


def texts(figure: Figure) -> list[str]:
    return [each.get_text() for each in figure.findobj(Text) if each.get_text()]


def rows(losses: Sequence[float | None], sites: int = 0) -> list[RoundRow]:
    return [
        RoundRow(
            number,
            loss=loss,
            accuracy=0.1 * number,
            sites=tuple(
                SiteRow(number, f"site-{k}", validation_loss=1.0, validation_accuracy=0.5) for k in range(sites)
            ),
        )
        for number, loss in enumerate(losses)
    ]


def samples(count: int, *, minutes: float = 1.0) -> list[Sample]:
    step_s = 60.0 * minutes / (count - 1)
    return [Sample(k * step_s, 1000 + k * step_s, 90.0, 8 * GIB, 70.0, 2 * GIB) for k in range(count)]


def sampled(record: RunRecord) -> RunRecord:
    """Samples for every second of the events."""
    times = [event.epoch_s for event in record.events()]
    seconds = range(int(times[-1] - times[0]) + 1)
    lines = [
        json.dumps(
            {
                "t_s": float(t),
                "time_s": times[0] + t,
                "cpu_percent": 90.0,
                "memory_used_bytes": 8 * GIB,
                "run_cpu_percent": 70.0 + t % 5,
                "run_memory_bytes": 2 * GIB,
            }
        )
        for t in seconds
    ]
    (record.folder / "resources.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return record


def test_both_figures_are_drawn_as_png_and_svg(record: RunRecord, play: Any) -> None:
    play(record).whole_run(rounds=3)
    files = draw_plots(sampled(record))
    assert [str(path.relative_to(record.folder)) for path in files] == [
        "plots/convergence.png",
        "plots/convergence.svg",
        "plots/resources.png",
        "plots/resources.svg",
    ]
    with Image.open(files[0]) as picture:
        assert (picture.format, picture.size) == ("PNG", (1350, 585))
        assert round(picture.info["dpi"][0]) == 150
    assert files[1].read_text(encoding="utf-8").startswith("<?xml")


def test_the_same_record_gives_the_same_bytes_whatever_the_user_has_set(
    record: RunRecord, play: Any, tmp_path: Path
) -> None:
    play(record).whole_run(rounds=2)
    first = {path: path.read_bytes() for path in draw_plots(sampled(record))}
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nsvg.hashsalt: mine\naxes.grid: False\nfont.size: 30\n")
    script = """
import sys
from pathlib import Path
from secure_fl.runs import RunRecord
from secure_fl.runs.plots import draw_plots
draw_plots(RunRecord.open(Path(sys.argv[1])))
"""
    subprocess.run(
        [sys.executable, "-c", script, str(record.folder)],
        check=True,
        cwd=Path(__file__).parents[2],
        env={"PATH": "", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLCONFIGDIR": matplotlib.get_configdir()},
    )
    assert {path: path.read_bytes() for path in first} == first


def test_the_files_hold_no_date_and_no_program(record: RunRecord, play: Any) -> None:
    play(record).whole_run(rounds=1)
    png, svg, *_ = draw_plots(record)
    assert b"<dc:date>" not in svg.read_bytes()
    assert b"Matplotlib" not in svg.read_bytes() + png.read_bytes()


def test_drawing_leaves_matplotlibs_own_settings_as_they_were(record: RunRecord, play: Any) -> None:
    play(record).whole_run(rounds=1)
    matplotlib.rcParams["font.size"] = 17
    draw_plots(record)
    assert matplotlib.rcParams["font.size"] == 17


def test_a_run_without_rounds_or_samples_says_what_is_missing(record: RunRecord) -> None:
    reasons: list[str] = []
    assert draw_plots(record, note=reasons.append) == []
    assert [each.partition(":")[0] for each in reasons] == ["no convergence figure", "no resource figure"]
    assert not (record.folder / "plots").exists()


def test_a_run_without_samples_still_has_its_convergence(record: RunRecord, play: Any) -> None:
    play(record).whole_run(rounds=1)
    assert [path.stem for path in draw_plots(record)] == ["convergence", "convergence"]


def test_the_global_model_is_bold_and_named_with_its_last_value() -> None:
    figure = convergence_figure(rows([2.3, 1.2, 0.6], sites=2), title="t")
    loss, accuracy = figure.axes
    widest = max(loss.get_lines(), key=lambda line: line.get_linewidth())
    assert list(widest.get_ydata()) == [2.3, 1.2, 0.6]
    assert loss.get_ylim()[0] == 0
    assert accuracy.get_ylim() == (0, 101)
    assert {"global 0.600", "global 20.0 %", "site-0", "site-1"} <= set(texts(figure))


def test_only_the_initial_model_is_a_point_and_a_sentence() -> None:
    figure = convergence_figure(rows([2.3]), title="t")
    assert "only the initial model has been measured so far, on the test images" in texts(figure)
    assert figure.axes[0].get_xlim() == (-0.5, 0.5)


def test_one_round_has_two_ticks() -> None:
    figure = convergence_figure(rows([2.3, 1.2]), title="t")
    first, last = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if first <= tick <= last] == [0, 1]
    assert "global model on the test images" in texts(figure)


def test_a_loss_that_was_not_finite_is_a_gap_and_a_remark() -> None:
    figure = convergence_figure(rows([2.3, None, None, 0.5]), title="t")
    assert "not a finite number in round 1, 2" in texts(figure)
    bold = max(figure.axes[0].get_lines(), key=lambda line: line.get_linewidth())
    assert [math.isnan(y) for y in bold.get_ydata()] == [False, True, True, False]
    assert "not a finite number in round 0, 1, 2, 3, 4, 5 …" in texts(convergence_figure(rows([None] * 8), title="t"))


def test_a_diverging_loss_is_drawn_on_a_logarithmic_scale() -> None:
    assert convergence_figure(rows([2.3, 40.0, 1600.0]), title="t").axes[0].get_yscale() == "log"
    assert convergence_figure(rows([2.3, 1.0, 0.5]), title="t").axes[0].get_yscale() == "linear"


def test_a_site_that_took_no_part_has_a_gap() -> None:
    found = rows([2.0, 1.5, 1.0, 0.5], sites=1)
    found[2] = RoundRow(2, loss=1.0, accuracy=0.2)
    figure = convergence_figure(found, title="t")
    thin = [line for line in figure.axes[0].get_lines() if line.get_linewidth() == 1.1]
    assert [math.isnan(y) for y in thin[0].get_ydata()] == [False, False, True, False]


def test_many_sites_are_counted_and_not_named() -> None:
    figure = convergence_figure(rows([2.3, 1.2], sites=13), title="t")
    assert "thin: 13 sites" in texts(figure)
    assert "site-3" not in texts(figure)
    assert "site-3" in texts(convergence_figure(rows([2.3, 1.2], sites=12), title="t"))


def test_names_are_text_and_never_formulas_and_long_ones_are_cut() -> None:
    site = SiteRow(1, "$x^{2}$ hospital-north-wing", validation_loss=1.0, validation_accuracy=0.5)
    figure = convergence_figure([RoundRow(1, loss=1.0, accuracy=0.5, sites=(site,))], title="data $_{")
    assert "$x^{2}$ hospita…" in texts(figure)
    figure.savefig("/dev/null", format="svg")


def test_resources_show_the_run_beside_the_machine_with_rounds_marked() -> None:
    found = [RoundRow(k, f"1970-01-01T00:16:{45 + 5 * k}.000Z", f"1970-01-01T00:16:{49 + 5 * k}.000Z") for k in (1, 2)]
    figure = resources_figure(samples(60), found, title="t")
    cpu, memory = figure.axes
    wanted = {"machine", "this run", "round", "1", "2", "CPU (% of all cores)", "Memory (GiB)", "time (s)"}
    assert wanted <= set(texts(figure))
    assert [max(line.get_ydata()) for line in cpu.get_lines()[:2]] == [90.0, 70.0]
    assert [max(line.get_ydata()) for line in memory.get_lines()[:2]] == [8.0, 2.0]
    assert memory.get_ylim()[0] == 0


def test_a_resumed_run_is_marked_where_time_was_left_out() -> None:
    night = [Sample(k, 50_000.0 + k, 90.0, 8 * GIB, 70.0, 2 * GIB) for k in range(5)]
    figure = resources_figure([*samples(60), *night], [], title="t")
    assert " resumed" in texts(figure)
    assert figure.axes[0].get_xlim()[1] == pytest.approx(64.0)


@pytest.mark.parametrize(("minutes", "unit"), [(1, "time (s)"), (30, "time (min)"), (300, "time (h)")])
def test_long_runs_are_told_in_minutes_or_hours(minutes: float, unit: str) -> None:
    assert unit in texts(resources_figure(samples(50, minutes=minutes), [], title="t"))


def test_a_very_long_run_is_thinned_by_means() -> None:
    figure = resources_figure(samples(5000, minutes=80), [], title="t")
    line = figure.axes[0].get_lines()[0]
    assert len(line.get_xdata()) <= 600
    assert set(line.get_ydata()) == {90.0}


def named_rounds(figure: Figure) -> list[str]:
    """The numbers above the upper panel."""
    return [each.get_text() for each in figure.axes[0].findobj(Annotation) if each.get_text() != "round"]


def test_numbers_of_very_short_rounds_do_not_cover_each_other() -> None:
    found = [RoundRow(k, f"1970-01-01T00:16:50.{k}00Z", f"1970-01-01T00:16:50.{k + 1}00Z") for k in range(1, 9)]
    figure = resources_figure(samples(60), found, title="t")
    assert named_rounds(figure) == ["1"]
    assert len([line for line in figure.axes[0].get_lines() if line.get_color() == "#c2c2c2"]) == 8


def test_of_many_rounds_about_twenty_are_marked() -> None:
    def moment(second: int) -> str:
        return f"1970-01-01T00:{16 + second // 60:02d}:{second % 60:02d}.000Z"

    found = [RoundRow(k, moment(40 + k), moment(41 + k)) for k in range(1, 121)]
    figure = resources_figure(samples(130, minutes=3), found, title="t")
    assert named_rounds(figure) == [str(number) for number in range(10, 121, 10)]
    assert len([line for line in figure.axes[0].get_lines() if line.get_color() == "#c2c2c2"]) == 12
