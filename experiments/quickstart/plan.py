"""What a quickstart run does, scaled to a number of minutes, and its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from datamodules.files import write_text
from experiments.config.load import Settings, load_settings
from experiments.errors import SettingsError

#: Minutes for which the preset's numbers of steps are meant.
PRESET_MINUTES = 9.0
#: Minutes of a run that do not depend on the number of steps.
FIXED_MINUTES = 1.5
#: Smallest fraction of the preset's steps: a few, so that every stage of the run is exercised.
MIN_SHARE = 0.01
#: Shorter runs render fewer videos and score fewer clips.
SHORT_MINUTES = 3.0
FORMAT = 1


@dataclass(frozen=True)
class QuickstartPlan:
    """Settings and folder of a quickstart run."""

    out: Path
    minutes: float
    settings: Settings
    heldout_clips: int
    """Number of test clips to generate and score; 0 for all."""
    shown_videos: int
    """Number of whole dances to write as videos."""

    def stage_settings(self, stage: str) -> Settings:
        """Return the settings of the run in the subfolder `autoencoder` or `diffusion`."""
        data, autoencoder = str(self.out / "prepared"), str(self.out / "autoencoder")
        out = str(self.out / stage)
        return replace(self.settings, data=data, autoencoder=autoencoder, out=out, resume="auto")


def plan_quickstart(out: Path, minutes: float, words: list[str]) -> QuickstartPlan:
    """Scale the training of the preset `quickstart` to a number of minutes on two cores.

    The clock is not consulted, so that the same command gives the same result.

    Args:
        out: Folder to work in.
        minutes: Scales the numbers of steps (and, below three minutes, of videos).
        words: `key=value` settings that override the preset.
    """
    if not 0.5 <= minutes <= 1440:
        raise SettingsError(f"--minutes is {minutes:g}, but must be between 0.5 and 1440.")
    settings = load_settings("quickstart", words)
    share = max(MIN_SHARE, (minutes - FIXED_MINUTES) / (PRESET_MINUTES - FIXED_MINUTES))
    stage1, stage2 = settings.stage1.train, settings.stage2.train
    stage1.steps = max(10, round(stage1.steps * share))
    stage1.region_steps = round(stage1.region_steps * share)
    stage2.steps = max(10, round(stage2.steps * share))
    stage2.warmup_steps = round(stage2.warmup_steps * share)
    if minutes >= SHORT_MINUTES:
        return QuickstartPlan(out, minutes, settings, heldout_clips=0, shown_videos=4)
    settings.synthetic.train_videos = min(20, settings.synthetic.train_videos)
    return QuickstartPlan(out, minutes, settings, heldout_clips=10, shown_videos=1)


def claim_folder(plan: QuickstartPlan) -> None:
    """Write the plan to its folder, or check that the folder has the same plan."""
    path = plan.out / "quickstart.json"
    wanted = {"format": FORMAT, "minutes": plan.minutes, "settings": asdict(plan.settings)}
    if not path.exists():
        if plan.out.exists() and (not plan.out.is_dir() or any(plan.out.iterdir())):
            raise SettingsError(f"{plan.out} has other files: give another --out.")
        write_text(path, json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = {}
    if found != json.loads(json.dumps(wanted)):
        raise SettingsError(
            f"{plan.out} has a quickstart with other settings ({found.get('minutes')} minutes, "
            f"seed {found.get('settings', {}).get('seed')}): give another --out, or remove that "
            "folder."
        )
