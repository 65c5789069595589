"""Sweep files: the commands that we build are those that Weights & Biases' own agent builds."""

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import IntDistribution
from wandb.sdk.launch.sweeps import utils as wandb_sweeps

from experiments.config.load import settings_from_words
from experiments.errors import SettingsError
from experiments.sweeps.grammar import (
    SWEEPS,
    build_command,
    load_sweep,
    local_command,
    parse_sweep,
    shipped_sweeps,
)
from experiments.sweeps.trial import expand
from experiments.sweeps.wandb_agents import wandb_config

PLAIN: dict[str, Any] = {
    "method": "grid",
    "metric": {"name": "m"},
    "parameters": {"a": {"values": [1, 2]}, "b": {"value": "x"}},
    "command": ["${env}", "dabfusion", "${args_no_hyphens}"],
}


def parse(**changes: Any) -> Any:
    return parse_sweep({**PLAIN, **changes}, "test")


def agent_command(command: list[str], values: dict[str, Any]) -> list[str]:
    """What `wandb agent` would run, from its own functions (as in its `_command_run`)."""
    filled = wandb_sweeps.create_sweep_command(list(command))
    args = {name: {"value": value} for name, value in values.items()}
    macros = wandb_sweeps.create_sweep_command_args({"args": args})
    macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"]}
    words: list[str] = []
    for word in filled:
        words += macros[word[2:-1]] if word.startswith("${") else [word]
    return words


@pytest.mark.parametrize("name", shipped_sweeps())
def test_shipped_sweeps_build_the_agents_command(name: str) -> None:
    sweep = load_sweep(name)
    for values in sweep.grid():
        ours = build_command(sweep.command, values)
        assert ours == agent_command(list(sweep.command), values)


@pytest.mark.parametrize("name", shipped_sweeps())
def test_shipped_sweeps_are_settings(name: str) -> None:
    sweep = load_sweep(name)
    # Every value once, not every combination.
    rows = {(key, str(value)): row for row in sweep.grid() for key, value in row.items()}
    for values in {str(row): row for row in rows.values()}.values():
        words = build_command(sweep.command, values)
        settings_words = [word for word in expand(words[5:]) if "=" in word]
        settings = settings_from_words(settings_words)
        for dotted, value in values.items():
            if dotted == "change":
                continue
            found: Any = settings
            for part in dotted.split("."):
                found = getattr(found, part)
            assert found == value


def test_shipped_sweeps_are_valid_for_wandb() -> None:
    for path in SWEEPS.glob("*.yaml"):
        raw = yaml.safe_load(path.read_text())
        assert set(raw) <= {
            "name", "description", "method", "metric", "parameters", "command",
            "early_terminate", "run_cap", "program", "project", "entity",
        }  # fmt: skip
        for body in raw["parameters"].values():
            assert set(body) <= {"value", "values", "min", "max", "distribution", "q"}


def test_agents_command_really_runs_and_values_arrive(tmp_path: Path) -> None:
    """The trial refuses its missing data in one sentence that shows the values have arrived."""
    sweep = load_sweep("beat_ablation")
    config = wandb_config(sweep, ["data=nowhere", f"out={tmp_path / 'run'}"])
    constant = {k: v["value"] for k, v in config["parameters"].items() if "value" in v}
    values = {"music.beats": "frame", "music.spectral": True, "seed": 1, **constant}
    words = agent_command(config["command"], values)
    dabfusion = shutil.which("dabfusion", path=str(Path(sys.executable).parent))
    assert dabfusion is not None
    assert words[:2] == ["/usr/bin/env", "dabfusion"]
    done = subprocess.run([dabfusion, *words[2:]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_the_last_parameter_of_a_grid_varies_fastest() -> None:
    nested = {"parameters": {"c": {"values": ["x", "y"]}}}
    sweep = parse(parameters={"a": {"values": [1, 2]}, "b": nested})
    assert [tuple(row.items()) for row in sweep.grid()] == [
        (("a", 1), ("b.c", "x")),
        (("a", 1), ("b.c", "y")),
        (("a", 2), ("b.c", "x")),
        (("a", 2), ("b.c", "y")),
    ]


def test_ranges() -> None:
    body = {
        "whole": {"min": 1, "max": 3},
        "plain": {"min": 0.0, "max": 1.0},
        "log": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "exponent": {"distribution": "log_uniform", "min": -2, "max": 0},
        "steps": {"distribution": "q_uniform", "q": 0.5, "min": 0.0, "max": 1.0},
    }
    by_name = parse(method="random", run_cap=3, parameters=body).distributions
    assert isinstance(by_name["whole"], IntDistribution)
    assert (by_name["log"].log, by_name["log"].low) == (True, 1e-4)
    assert by_name["exponent"].low == pytest.approx(math.exp(-2))
    assert by_name["steps"].step == 0.5
    grid = parse(parameters={"steps": body["steps"], "whole": body["whole"]}).grid()
    assert {row["steps"] for row in grid} == {0.0, 0.5, 1.0}
    assert {row["whole"] for row in grid} == {1, 2, 3}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "magic"}, "method is 'magic'"),
        ({"metric": {}}, "metric needs a name"),
        ({"metric": {"name": "m", "goal": "best"}}, "minimize or maximize"),
        ({"parameters": {}}, "missing or empty"),
        ({"parameters": {"a": 3}}, "parameter a is 3"),
        ({"parameters": {"a": {"min": 1}}}, "parameter a needs value"),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}}, "continuous range"),
        ({"parameters": {"a": {"distribution": "beta", "min": 0, "max": 1}}}, "'beta'"),
        ({"parameters": {"a": {"values": [1], "probabilities": [1]}}}, "plain values"),
        ({"command": "dabfusion"}, "must be a list"),
        ({"early_terminate": {"type": "envelope"}}, "hyperband"),
        ({"run_cap": 0}, "above 0"),
        ({"surprise": 1}, "'surprise' is not known"),
    ],
)
def test_what_is_not_supported_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse(**changes)


def test_macros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDER", "somewhere")
    words = build_command(["${interpreter}", "x", "out=${envvar:FOLDER}", "${args}"], {"a": 1})
    assert words == [sys.executable, "x", "out=somewhere", "--a=1"]
    assert local_command(["/usr/bin/env", "dabfusion", "train"])[1:] == [
        "-m", "experiments.cli", "train",
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="not known"):
        build_command(["${surprise}"], {})


def test_fixed_words_become_constants() -> None:
    sweep = load_sweep("beat_ablation")
    config = wandb_config(sweep, ["data=d"])
    assert config["parameters"]["data"] == {"value": "d"}
    assert "data" not in sweep.raw["parameters"]
    with pytest.raises(SettingsError, match="is set by"):
        wandb_config(sweep, ["seed=3"])


def test_change_expands() -> None:
    assert expand(["a=1", "change=b=2 c=3", "change=none", "d=4"]) == ["a=1", "b=2", "c=3", "d=4"]
