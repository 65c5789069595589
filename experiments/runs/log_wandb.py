"""Weights & Biases: online where this machine is logged in, offline elsewhere, off if asked."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch.loggers import WandbLogger

from experiments.errors import SettingsError

DEFAULT_HOST = "https://api.wandb.ai"


def logged_in() -> bool:
    """Whether this machine has a key for Weights & Biases, by environment or netrc file.

    Only whether there is one is looked at: the key itself is left to wandb.
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
    """`online`, `offline` or `off`.

    Args:
        choice: The setting `run.wandb`; WANDB_MODE in the environment decides where it is `auto`.

    Raises:
        SettingsError: If `online` is asked for without being logged in.
    """
    if choice == "auto":
        asked = os.environ.get("WANDB_MODE", "")
        if asked in ("disabled", "offline"):
            return "off" if asked == "disabled" else "offline"
        return "online" if logged_in() else "offline"
    if choice == "online" and not logged_in():
        raise SettingsError(
            "run.wandb=online needs an account, and this machine is not logged in: run "
            "`wandb login` or set WANDB_API_KEY, or choose run.wandb=offline and "
            "`wandb sync` later."
        )
    return choice


def build_wandb_logger(
    folder: Path,
    mode: str,
    run_id: str,
    project: str,
    name: str,
    group: str,
    config: dict[str, Any],
) -> WandbLogger:
    """A logger that goes on in the run `run_id`, or begins it.

    Args:
        folder: The run folder; wandb writes below its `wandb/`.
        mode: `online` or `offline`.
        run_id: Kept in the run's manifest, so that a resumed run logs to the same place.
        project: As at Weights & Biases.
        name: The run's name there.
        group: The run's group there, or empty.
        config: The resolved settings.
    """
    import wandb

    logger = WandbLogger(
        name=name,
        save_dir=str(folder),
        id=run_id,
        project=project,
        offline=mode == "offline",
        resume="allow",
        group=group or None,
        config=config,
        settings=wandb.Settings(silent=True, console="off"),
    )
    # Lightning passes it in any case, and wandb warns of it in any case.
    logger._wandb_init.pop("anonymous", None)
    return logger
