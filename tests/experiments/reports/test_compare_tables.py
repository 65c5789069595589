"""What a comparison says must follow from the runs' own files."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from runs_on_disk import add_evaluation, make_run

from experiments import cli
from experiments.errors import SettingsError
from experiments.reports.compare import CompareOptions, compare_runs, format_number
from experiments.reports.curves import chart, thin
from experiments.reports.runs import differing_settings, find_runs, read_run, run_names
from experiments.reports.scores import last_values, score_tables
from experiments.reports.videos import clips_context, shown_clips
from metrics.functional.bootstrap import t_interval


def test_only_settings_that_differ(tmp_path: Path) -> None:
    base = {"seed": 0, "out": "a", "music": {"beats": "none", "dim": 64}, "stage2": {"rate": 0.1}}
    other = {"seed": 0, "out": "b", "music": {"beats": "frame", "dim": 64}, "stage2": {}}
    runs = [
        read_run(make_run(tmp_path / name, settings), name)
        for name, settings in (("a", base), ("b", other))
    ]
    assert differing_settings(runs) == ["music.beats", "stage2.rate"]


def test_runs_are_found_and_named_apart(tmp_path: Path) -> None:
    for name in ("x/seed0", "x/seed1", "y/seed0"):
        make_run(tmp_path / name, {})
    paths = find_runs([tmp_path / "x", tmp_path / "y" / "seed0", tmp_path / "x" / "seed0"])
    assert run_names(paths) == ["x/seed0", "seed1", "y/seed0"]
    again = tmp_path / "x" / ".." / "x" / "seed1"
    assert find_runs([tmp_path / "x", again]) == find_runs([tmp_path / "x"])
    with pytest.raises(SettingsError, match="holds no run"):
        find_runs([_empty(tmp_path)])


def test_a_baseline_that_is_none_of_the_runs_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        make_run(tmp_path / name, {})
    with pytest.raises(SettingsError, match='"c" is none of the runs; they are called a, b'):
        compare_runs([tmp_path], tmp_path / "page.html", CompareOptions(baseline="c"))
    assert cli.main(["compare", str(tmp_path), "--clips", "-1"]) == 2


def test_linked_videos_have_addresses_whatever_they_are_called(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run #1", {})
    (run / "samples").mkdir()
    (run / "samples" / "0000100-100% dance.mp4").touch()
    record = read_run(run, "run")
    (clip,) = clips_context(shown_clips([record], 8), ["run"], tmp_path / "page.html", embed=False)
    assert clip["videos"][0]["source"] == "run%20%231/samples/0000100-100%25%20dance.mp4"


def test_scores_of_one_protocol_count_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", {})
    for digest, folder in (("p1", "."), ("p1", "test"), ("p2", "val")):
        add_evaluation(run, digest, {"corrected": [0.1, 0.2]}, folder=folder)
    found = [evaluation.protocol_hash for evaluation in read_run(run, "a").evaluations]
    assert found == ["p1", "p2"]


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_curves_steps_and_cost(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "a", {}, steps=50), "a")
    assert (run.steps, run.seconds) == (50, 25.0)
    assert [step for step, _ in run.curves["val/align_corrected"]] == [10, 20, 30, 40, 50]
    assert "epoch" not in run.curves
    assert list(last_values([run])) == ["val/align_corrected"]


def test_protocols_are_not_mixed_and_differences_are_paired(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    hard = generator.normal(size=20)  # clips differ much, methods little
    for name, digest, gain in (("a", "p1", 0.0), ("b", "p1", 0.2), ("c", "p2", 5.0)):
        run = make_run(tmp_path / name, {})
        add_evaluation(run, digest, {"align": list(hard + gain), "chance": [0.2] * 20})
    runs = [read_run(tmp_path / name, name) for name in "abc"]
    first, second = score_tables(runs)
    assert [[row.run for row in table.rows] for table in (first, second)] == [["a", "b"], ["c"]]
    assert first.metrics == ["chance", "align"]
    row = first.rows[1]
    assert row.scores["align"].mean == pytest.approx(hard.mean() + 0.2)
    assert row.scores["align"].low < 0 < row.scores["align"].high
    # The same clips: their differences cancel, and what is left is certain.
    assert row.differences["align"].mean == pytest.approx(0.2)
    assert row.differences["align"].low == pytest.approx(0.2)
    assert first.rows[0].differences == {}
    assert score_tables(runs, baseline="b")[0].rows[0].differences["align"].mean < 0


def test_difference_uses_shared_clips_only(tmp_path: Path) -> None:
    add_evaluation(make_run(tmp_path / "a", {}), "p", {"align": [1.0, 2.0, 30.0, 40.0]})
    add_evaluation(make_run(tmp_path / "b", {}), "p", {"align": [2.0, 3.0]})
    runs = [read_run(tmp_path / name, name) for name in "ab"]
    difference = score_tables(runs)[0].rows[1].differences["align"]
    assert (difference.mean, difference.clips) == (1.0, 2)


def test_clips_of_other_data_are_other_clips(tmp_path: Path) -> None:
    for name, data in (("a", "d1"), ("b", "d1"), ("c", "d2")):
        run = make_run(tmp_path / name, {})
        manifest = json.loads((run / "manifest.json").read_text())
        (run / "manifest.json").write_text(json.dumps({**manifest, "data_digest": data}))
        (run / "samples").mkdir()
        for clip in ("one", "two") if data == "d1" else ("one",):
            (run / "samples" / f"0000010-{clip}.mp4").touch()
            (run / "samples" / f"0000020-{clip}.mp4").touch()
    runs = [read_run(tmp_path / name, name) for name in "abc"]
    found = [
        (clip.title, [(run.name, sample.step) for run, sample in clip.videos])
        for clip in shown_clips(runs, 8)
    ]
    assert found == [
        ("one · data d1", [("a", 20), ("b", 20)]),
        ("two", [("a", 20), ("b", 20)]),
        ("one · data d2", [("c", 20)]),
    ]
    assert [clip.title for clip in shown_clips(runs, 2)] == ["one", "two"]


def test_numbers_keep_the_digits_they_need() -> None:
    numbers = [0.5, 0.0, -0.00012345, 123.456, 12345.0, math.nan, None]
    shown = ["0.500", "0.000", "-0.00012", "123", "12,345", "–", "–"]
    assert [format_number(number) for number in numbers] == shown


def test_chart_axes() -> None:
    drawn = chart("m", {0: [(0, 1.0), (10, 3.0)], 2: [(5, math.nan), (10, 2.0)]}, "abc")
    assert drawn is not None
    assert not drawn.logarithmic
    assert [line.name for line in drawn.lines] == ["a", "c"]
    assert drawn.lines[0].points == "58.0,216.0 450.0,10.0"
    assert drawn.lines[1].points == "450.0,113.0"
    assert [tick.text for tick in drawn.y_ticks] == ["1", "1.5", "2", "2.5", "3"]
    assert chart("m", {0: [(1, math.nan)]}, "a") is None
    flat = chart("m", {0: [(1, 0.0), (2, 0.0)]}, "a")
    assert flat is not None
    assert "nan" not in flat.lines[0].points
    long = chart("m", {0: [(100, 1.0), (9240, 2.0)]}, "a")
    assert long is not None
    assert [tick.text for tick in long.x_ticks] == ["2,000", "4,000", "6,000", "8,000"]
    steep = chart("m", {0: [(1, 1e-3), (2, 1.0)]}, "a")
    assert steep is not None
    assert steep.logarithmic
    assert [tick.text for tick in steep.y_ticks] == ["0.001", "0.01", "0.1", "1"]


def test_thinning_keeps_the_mean_and_the_end() -> None:
    points = [(i, float(i % 7)) for i in range(5000)]
    thinned = thin(points)
    assert len(thinned) <= 200
    assert thinned[-1] == (4999.0, 4999 % 7)
    assert np.mean([y for _, y in thinned]) == pytest.approx(3, abs=0.1)


def test_interval_over_seeds_known_values() -> None:
    interval = t_interval([1.0, 2.0, 3.0])
    # t(0.975, 2) = 4.302653, s / sqrt(3) = 0.577350
    assert (interval.low, interval.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert math.isnan(t_interval([4.0]).low)
