"""Committed pages are what the studies write from the committed numbers; their commands parse."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from experiments.arguments import Parser
from experiments.cli import build_parser, load_command
from experiments.config.load import settings_from_words
from experiments.studies.features import study as features
from experiments.studies.flow import report as flow
from experiments.studies.flow.figures import draw_groups
from experiments.studies.metric import report as metric
from experiments.studies.music import report as music
from experiments.studies.page import interval
from experiments.studies.quickstart import study as quickstart
from experiments.studies.sampling.points import Choice, Point, draw_curves
from experiments.studies.sampling.points import page as sampling_page
from metrics.functional import Interval

RESULTS = Path(__file__).parents[3] / "experiments" / "studies" / "results"


def numbers(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def assert_same_page(page: str, name: str) -> None:
    """The same text, and the same numbers up to the rounding of the committed JSON file."""
    committed = (RESULTS / name).read_text(encoding="utf-8")
    number = re.compile(r"-?\d+\.\d+")
    assert number.sub("#", page) == number.sub("#", committed)
    values, expected = ([float(n) for n in number.findall(text)] for text in (page, committed))
    assert values == pytest.approx(expected, abs=0.0011)


def test_an_interval_survives_json() -> None:
    given = Interval(0.5, 0.25, 0.75, 4, 2)
    assert interval(json.loads(json.dumps(vars(given)))) == given


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
    assert_same_page(sampling_page(points, default, command), "sampling_steps/README.md")
    draw_curves(points, default, tmp_path)
    assert all((tmp_path / f"{name}.png").stat().st_size > 9000 for name in ("steps", "guidance"))


def test_metric(tmp_path: Path) -> None:
    results = numbers("metric/results.json")
    command = "dabfusion study metric --clips 12 --folder "
    command += "'official DabFusion outputs (project page)=OFFICIAL_OUTPUTS'"
    assert_same_page(metric.page(results, command), "metric/report.md")
    metric.draw_sweeps(results["sweeps"], tmp_path / "sweeps.png")
    metric.draw_power(results["clips_needed"], tmp_path / "power.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 9000 for name in ("sweeps", "power"))


def test_features() -> None:
    results = numbers("features/results.json")
    command = "dabfusion study features --videos 60 --seed 0"
    assert_same_page(features.page(results, command), "features/report.md")


def test_music(tmp_path: Path) -> None:
    results = numbers("music/results.json")
    command = "dabfusion study music preset=quickstart data=prepared --clips 600"
    assert_same_page(music.page(results, command), "music/report.md")
    music.draw_probes(results, tmp_path / "probes.png")
    assert (tmp_path / "probes.png").stat().st_size > 9000


def test_quickstart(tmp_path: Path) -> None:
    runs = numbers("quickstart/runs.json")
    command = "dabfusion study quickstart FOLDER... --out experiments/studies/results/quickstart"
    assert_same_page(quickstart.page(runs, command), "quickstart/README.md")
    quickstart.draw_curve(runs[:4], tmp_path)
    assert (tmp_path / "curve.png").stat().st_size > 9000


def test_flow(tmp_path: Path) -> None:
    results = numbers("flow/results.json")
    command = "dabfusion study flow RUN --beside RUN ... --curves RUN ... --losses RUN ..."
    command += " --videos VIDEOS --videos-autoencoder RUN --videos-size 128"
    assert_same_page(flow.page(results, command), "flow/report.md")
    rows = [row for row in results["clips"] if "genre" in row]
    draw_groups(rows, tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 9000


def commands() -> list[list[str]]:
    """The words of every command line of the committed pages."""
    found = []
    for path in sorted(RESULTS.rglob("*.md")):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ *dabfusion .*", text, re.MULTILINE):
            plain = line.replace("...", "").replace("MINUTES", "5")
            found.append(shlex.split(plain, comments=True)[1:])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_of_the_pages_parse(words: list[str]) -> None:
    verb, *rest = words
    parser = build_parser(verb)
    if verb == "study":
        parser = Parser(f"dabfusion study {rest[0]}")
        load_command("study").add_nested_arguments(rest.pop(0), parser)
    args = parser.parse(rest)
    if isinstance(getattr(args, "settings", None), list):
        assert settings_from_words(args.settings) is not None
