"""Settings -> the rule that divides videos into splits; without torch."""

from __future__ import annotations

from pathlib import Path

from datamodules.splits import SplitRule
from experiments.config.load import Settings


def build_split_rule(settings: Settings) -> SplitRule:
    """Build the rule that assigns each video to a split."""
    clips = settings.clips
    return SplitRule(
        rule=clips.split,
        folder=Path(clips.split_files) if clips.split_files else None,
        seed=clips.split_seed,
        val_by_music=clips.val_by_music,
        val_fraction=clips.val_fraction,
        ignore_list=Path(clips.ignore_list) if clips.ignore_list else None,
    )
