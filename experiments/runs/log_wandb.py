"""Weights & Biases: online where this machine is logged in, otherwise offline, or off."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import Logger

from experiments.config.run import RunSettings
from experiments.errors import SettingsError

DEFAULT_HOST = "https://api.wandb.ai"


def logged_in() -> bool:
    """Return whether this machine has a key for Weights & Biases, by environment or netrc file.

    This only checks that there is a key; the key itself is read by wandb.
    """
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", DEFAULT_HOST)).hostname or ""
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def wandb_mode(choice: str) -> str:
    """Return `online`, `offline` or `off`.

    Args:
        choice: The setting `run.wandb`; with `auto`, WANDB_MODE in the environment decides first.

    Raises:
        SettingsError: `online` is requested on a machine that is not logged in.
    """
    if choice == "auto":
        requested = os.environ.get("WANDB_MODE", "")
        if requested in ("disabled", "offline"):
            return "off" if requested == "disabled" else "offline"
        return "online" if logged_in() else "offline"
    if choice == "online" and not logged_in():
        raise SettingsError(
            "run.wandb=online needs an account, and this machine is not logged in: run "
            "`wandb login` or set WANDB_API_KEY, or choose run.wandb=offline and "
            "`wandb sync` later."
        )
    return choice


def build_wandb_logger(
    folder: Path, mode: str, run_id: str, run: RunSettings, config: dict[str, Any]
) -> WandbLogger:
    """Return a logger that resumes the wandb run `run_id`, or starts it.

    Args:
        folder: The run folder; wandb writes to its `wandb/`.
        mode: `online` or `offline`.
        run_id: Kept in the run's manifest, so that a resumed run logs to the same place.
        run: Project, name and group at Weights & Biases.
        config: The resolved settings.
    """
    import wandb

    # Started here and not by WandbLogger, which passes wandb an argument that it warns about.
    experiment = wandb.init(
        name=run.name or folder.name,
        dir=str(folder),
        id=run_id,
        project=run.project,
        group=run.group or None,
        config=config,
        mode="offline" if mode == "offline" else "online",
        resume="allow",
        settings=wandb.Settings(silent=True, console="off"),
    )
    # The x axis of all curves, as WandbLogger would define it.
    experiment.define_metric("trainer/global_step")
    experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=experiment, save_dir=str(folder))


def finish_wandb(loggers: Iterable[Logger]) -> None:
    """End the run at Weights & Biases, so that this process can start another one."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
