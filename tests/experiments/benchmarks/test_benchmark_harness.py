"""The shared parts of benchmarks, and the names and keys that committed results rely on."""

import argparse
import importlib
import json
from pathlib import Path

import pytest

from experiments.arguments import described_modules
from experiments.benchmarks.harness import best_time, print_table, time_in_turns

RESULTS = Path(__file__).resolve().parents[3] / "experiments" / "benchmarks" / "results"


def test_the_shortest_timing_counts_and_the_warm_up_only_alone() -> None:
    times = iter([0.0, 9.0, 10.0, 13.0, 20.0, 22.0, 30.0, 35.0])
    assert best_time(lambda: None, 3, clock=lambda: next(times)) == 2.0
    times = iter([0.0, 9.0])
    assert best_time(lambda: None, 0, clock=lambda: next(times)) == 9.0


def test_candidates_take_turns_after_a_warm_up() -> None:
    order: list[str] = []
    found = time_in_turns({n: lambda k, n=n: order.append(f"{n}{k}") for n in "ab"}, 2)
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert set(found) == {"a", "b"}
    assert found["a"]["wall_s"] >= 0.0


def test_a_table_has_all_cells(capsys: pytest.CaptureFixture[str]) -> None:
    import_ms = {"torch": 1.5}
    print_table({"one": {"step_s": 2.5, "import_ms": import_ms}, "bar": {"step_s": "3"}}, "Times")
    printed = capsys.readouterr().out
    for text in ("Times", "one", "bar", "step s", "2.5", "3", "import ms", "torch 1.5"):
        assert text in printed


def test_every_committed_result_belongs_to_a_benchmark() -> None:
    for path in RESULTS.glob("*.json"):
        assert json.loads(path.read_text())["benchmark"] == path.stem
        assert path.stem in described_modules("benchmarks")


def test_committed_options_still_exist() -> None:
    options = json.loads((RESULTS / "diffusion.json").read_text())["numbers"]["options"]
    parser = argparse.ArgumentParser()
    importlib.import_module("experiments.benchmarks.diffusion").add_arguments(parser)
    assert set(vars(parser.parse_args([]))) == set(options)
