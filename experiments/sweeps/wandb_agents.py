"""The same sweep file on Weights & Biases' server, with agents on this machine."""

import copy
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from experiments.errors import SettingsError
from experiments.sweeps.grammar import Sweep, fixed_values


def wandb_config(sweep: Sweep, words: Sequence[str]) -> dict[str, Any]:
    """The file's mapping with the fixed words added as constant parameters.

    Args:
        sweep: as loaded.
        words: ``key=value`` words of every trial.

    Raises:
        SettingsError: a word without ``=``, or one that the sweep sets itself.
    """
    config = copy.deepcopy(sweep.raw)
    config.setdefault("name", sweep.name)
    for name, value in fixed_values(sweep, words).items():
        config["parameters"][name] = {"value": value}
    return config


def run_agents(sweep: Sweep, words: Sequence[str], project: str, workers: int) -> int:
    """Register the sweep and run agents until it is done; returns the worst exit status.

    Args:
        sweep: as loaded.
        words: fixed words of every trial.
        project: name at Weights & Biases.
        workers: number of agents.

    Raises:
        SettingsError: nobody is logged in.
    """
    from experiments.runs.log_wandb import logged_in

    if not logged_in():
        raise SettingsError(
            "--wandb needs an account, and this machine is not logged in: run `wandb login`, or "
            "leave --wandb out to sweep on this machine alone."
        )
    import wandb

    # The runs must log to the sweep's own project.
    config = wandb_config(sweep, [*words, f"run.project={project}"])
    sweep_id = wandb.sweep(config, project=project)
    command = [sys.executable, "-m", "wandb", "agent", "--project", project, sweep_id]
    agents = [subprocess.Popen(command) for _ in range(workers)]
    try:
        return max(agent.wait() for agent in agents)
    except KeyboardInterrupt:
        # The terminal has sent it to the agents, too; they end their trials.
        for agent in agents:
            agent.wait()
        raise
