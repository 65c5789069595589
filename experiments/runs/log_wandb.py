"""Weights & Biases: online where this machine is logged in, otherwise offline, or off."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlparse

from lightning.pytorch.loggers import WandbLogger

from experiments.config.load import Settings, to_dict
from experiments.errors import SettingsError

DEFAULT_HOST = "https://api.wandb.ai"


def logged_in() -> bool:
    """Return whether wandb would find a key on this machine, in its environment or netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", DEFAULT_HOST)).hostname or ""
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def wandb_mode(choice: str) -> str:
    """Return `online`, `offline` or `off` for the setting `run.wandb`."""
    if choice == "auto":
        # WANDB_MODE in the environment decides first.
        modes = {"disabled": "off", "offline": "offline"}
        automatic = "online" if logged_in() else "offline"
        return modes.get(os.environ.get("WANDB_MODE", ""), automatic)
    if choice == "online" and not logged_in():
        raise SettingsError(
            "run.wandb=online needs an account, and this machine is not logged in: run "
            "`wandb login` or set WANDB_API_KEY, or choose run.wandb=offline and "
            "`wandb sync` later."
        )
    return choice


def build_wandb_logger(folder: Path, mode: str, run_id: str, settings: Settings) -> WandbLogger:
    """Return a logger that starts or resumes the run `run_id`; wandb writes to FOLDER/wandb."""
    import wandb

    # Started here and not by WandbLogger, which passes wandb an argument that it warns about.
    experiment = wandb.init(
        name=settings.run.name or folder.name,
        dir=str(folder),
        id=run_id,
        project=settings.run.project,
        group=settings.run.group or None,
        config=to_dict(settings),
        mode="offline" if mode == "offline" else "online",
        resume="allow",
        settings=wandb.Settings(silent=True, console="off"),
    )
    # The x axis of all curves, as WandbLogger would define it.
    experiment.define_metric("trainer/global_step")
    experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=experiment, save_dir=str(folder))
