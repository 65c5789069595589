"""The same sweep on the server of Weights & Biases, with agents on this machine."""

import copy
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import SettingsError
from experiments.sweeps.grammar import Sweep


def wandb_config(sweep: Sweep, words: Sequence[str]) -> dict[str, Any]:
    """Return the sweep file's mapping with the shared settings as constant parameters."""
    config = copy.deepcopy({"name": sweep.name, **sweep.raw})
    for name, value in sweep.fixed_values(words).items():
        config["parameters"][name] = {"value": value}
    return config


def run_agents(sweep: Sweep, words: Sequence[str], project: str, workers: int) -> int:
    """Register the sweep and run agents until it is done; return the worst exit status."""
    from experiments.runs.log_wandb import logged_in

    if not logged_in():
        raise SettingsError(
            "--wandb needs an account, and this machine is not logged in: run `wandb login`, or "
            "leave --wandb out to run the sweep on this machine alone."
        )
    import wandb

    # The runs must log to the sweep's own project.
    config = wandb_config(sweep, [*words, f"run.project={project}"])
    sweep_id = wandb.sweep(config, project=project)
    command = [sys.executable, "-m", "wandb", "agent", "--project", project, sweep_id]
    agents = [subprocess.Popen(command) for _ in range(workers)]
    try:
        return max(agent.wait() for agent in agents)
    finally:
        # The terminal has sent Ctrl-C to the agents too, which end their trials.
        for agent in agents:
            agent.wait()


def log_scores(folder: Path, metrics: Mapping[str, float | None]) -> None:
    """Under an agent of Weights & Biases, add a trial's held-out scores to the trial's run."""
    run_id = os.environ.get("WANDB_RUN_ID")
    if run_id is None or "WANDB_SWEEP_ID" not in os.environ:
        return
    import wandb

    with wandb.init(id=run_id, resume="allow", dir=folder) as run:
        run.log({name: value for name, value in metrics.items() if value is not None})
