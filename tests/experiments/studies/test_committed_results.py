"""Committed pages are what the studies write from the committed numbers; their commands parse."""

import json
from pathlib import Path
from typing import Any

from experiments.studies.page import interval, markdown_table
from experiments.studies.sampling.points import Choice, Point
from experiments.studies.sampling.study import draw_curves
from experiments.studies.sampling.study import page as sampling_page
from metrics.functional import Interval

RESULTS = Path(__file__).parents[3] / "experiments" / "studies" / "results"


def numbers(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def test_an_interval_survives_json() -> None:
    given = Interval(0.5, 0.25, 0.75, 4, 2)
    assert interval(json.loads(json.dumps(vars(given)))) == given


def test_numbers_of_a_table_are_right_aligned() -> None:
    text = markdown_table(["a", "b"], [["x", "1"], ["y|z", "2"]])
    assert text.splitlines() == ["| a | b |", "| --- | ---: |", "| x | 1 |", r"| y\|z | 2 |"]


def test_sampling(tmp_path: Path) -> None:
    points = [
        Point(
            choice=row["choice"] and Choice(**row["choice"]),
            corrected=interval(row["corrected"]),
            frechet=row["frechet"],
            warp_error=interval(row["warp_error"]),
        )
        for row in numbers("sampling_steps/points.json")
    ]
    default = Choice("dpm++", 15, 2.0)
    command = "dabfusion study sampling quickstart/diffusion preset=quickstart"
    command += " data=quickstart/prepared"
    page = sampling_page(points, default, command)
    assert page == (RESULTS / "sampling_steps" / "README.md").read_text(encoding="utf-8")
    draw_curves(points, default, tmp_path)
    assert all((tmp_path / f"{name}.png").stat().st_size > 9000 for name in ("steps", "guidance"))
