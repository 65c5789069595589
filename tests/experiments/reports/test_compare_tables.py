"""What a comparison says must follow from the runs' own files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs_on_disk import add_evaluation, make_run

from experiments import cli
from experiments.errors import SettingsError
from experiments.reports.compare import (
    chart_data,
    compare_runs,
    differing_settings,
    link_to,
    seed_groups,
    shown_clips,
    thin,
)
from experiments.reports.runs import find_runs, read_run, read_runs, run_names
from experiments.reports.scores import best_runs, last_values, metric_title, score_tables
from experiments.reports.tables import format_number, format_seconds
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
    with pytest.raises(SettingsError, match="contains no run"):
        find_runs([_empty(tmp_path)])


def test_an_unknown_baseline_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        make_run(tmp_path / name, {})
    with pytest.raises(SettingsError, match='"c" is not one of the runs; their names are a, b'):
        compare_runs([tmp_path], tmp_path / "page.html", baseline="c")
    assert cli.main(["compare", str(tmp_path), "--clips", "-1"]) == 2


def test_linked_videos_have_addresses_whatever_they_are_called(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run #1", {})
    (run / "samples").mkdir()
    (run / "samples" / "0000100-100% dance.mp4").touch()
    (videos,) = shown_clips([read_run(run, "run")], 8).values()
    address = link_to(videos[0][1].path, tmp_path / "page.html")
    assert address == "run%20%231/samples/0000100-100%25%20dance.mp4"


def test_scores_of_one_protocol_count_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", {})
    for digest, folder in (("p1", "."), ("p1", "test"), ("p2", "val")):
        add_evaluation(run, digest, {"corrected": [0.1, 0.2]}, folder=folder)
    found = [e.protocol["data_digest"] for e in read_run(run, "a").evaluations]
    assert found == ["data-of-p1", "data-of-p2"]


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
    for run in runs:  # as if their protocol did not name the clips
        run.evaluations[:] = [replace(run.evaluations[0], protocol_hash="p")]
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
        (title, [(run.name, sample.step) for run, sample in videos])
        for title, videos in shown_clips(runs, 8).items()
    ]
    assert found == [
        ("one · data d1", [("a", 20), ("b", 20)]),
        ("two", [("a", 20), ("b", 20)]),
        ("one · data d2", [("c", 20)]),
    ]
    assert list(shown_clips(runs, 2)) == ["one", "two"]


def test_numbers_keep_the_digits_they_need() -> None:
    numbers = [0.5, 0.0, -0.00012345, 123.456, 12345.0, math.nan, None]
    shown = ["0.500", "0.000", "-0.00012", "123", "12,345", "–", "–"]
    assert [format_number(number) for number in numbers] == shown


def test_durations_have_readable_units() -> None:
    durations = [0.0456, 12.34, 185.0, 3725.0, math.nan]
    shown = ["45.6 ms", "12.3 s", "3 min 05 s", "1 h 02 min", "–"]
    assert [format_seconds(seconds) for seconds in durations] == shown


def test_charts_leave_out_constants_and_what_is_not_finite(tmp_path: Path) -> None:
    for name in "ab":
        run = make_run(tmp_path / name, {}, steps=0)
        lines = [
            {"step": 1, "val/loss": 2.0, "lr": 1e-4, "steep": 0.001, "nan": math.nan},
            {"step": 9, "lr": 1e-4, "steep": 1.0},
        ]
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with (tmp_path / "b" / "metrics.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"step": 9, "val/loss": 1.23456789}))
    charts, constants = chart_data(read_runs([tmp_path]))
    assert [(chart["metric"], chart["log"]) for chart in charts] == [
        ("val/loss", False),
        ("steep", True),
    ]
    assert charts[0]["lines"] == {
        0: {"x": (1.0,), "y": [2.0]},
        1: {"x": (1.0, 9.0), "y": [2.0, 1.2346]},
    }
    assert constants == {"lr": 1e-4}


def test_runs_that_differ_only_in_their_seed_are_one_group(tmp_path: Path) -> None:
    for name, beats, seed in (("a", "frame", 0), ("b", "none", 0), ("c", "frame", 1)):
        make_run(tmp_path / name, {"seed": seed, "out": name, "music": {"beats": beats}})
    groups = seed_groups(read_runs([tmp_path]))
    assert groups == {"beats=frame (2 seeds)": [0, 2], "b": [1]}


def test_best_values_follow_the_direction_of_the_metric() -> None:
    values = {"a": 1.0, "b": 2.0, "c": math.nan}
    assert best_runs("val/align_corrected", values) == {"b"}
    assert best_runs("val/loss", values) == {"a"}
    assert best_runs("shifted", values) == set()  # a control
    assert best_runs("unknown", values) == set()
    assert best_runs("val/loss", {"a": 1.0}) == set()
    assert (
        metric_title("val/align_pixels_corrected") == "Alignment, chance-corrected, decoded video"
    )
    assert metric_title("train/loss") == "Loss, training"
    assert metric_title("unknown/key") == "unknown/key"


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
