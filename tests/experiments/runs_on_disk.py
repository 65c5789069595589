"""Run folders like those of `dabfusion train` and `dabfusion evaluate`, without training."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from experiments.evaluation.evaluations import write_evaluation

MANIFEST = {
    "format": 1,
    "stage": "diffusion",
    "preset": "quickstart",
    "command": "dabfusion train diffusion preset=quickstart",
    "code": {"commit": "0123456789abcdef", "dirty": True},
    "machine": {"processor": "A Processor", "gpus": []},
    "finished": "2026-01-01T00:00:00+00:00",
}


def make_run(
    path: Path,
    settings: Mapping[str, Any],
    *,
    steps: int = 100,
    final: float = 0.1,
    seed: int = 0,
) -> Path:
    """Write the files of a run whose loss falls to ``final``."""
    generator = np.random.default_rng(seed)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(dict(settings)))
    (path / "manifest.json").write_text(json.dumps(MANIFEST))
    with (path / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            loss = final + np.exp(-step / 20) * (1 + 0.1 * generator.normal())
            line = {"step": step, "seconds": 0.5 * step, "epoch": 0, "train/loss": loss}
            if step % 10 == 0:
                line["val/align_corrected"] = 0.5 - loss / 2
            file.write(json.dumps(line) + "\n")
    return path


def add_evaluation(
    run: Path,
    digest: str,
    scores: Mapping[str, Sequence[float]],
    *,
    folder: str = ".",
) -> None:
    """Add an evaluation with one clip per score and two clips per song."""
    clips = [f"clip{i:02}" for i in range(len(next(iter(scores.values()))))]
    rows = [
        {"clip": clip, "music_id": f"mBR{i // 2}", **{k: v[i] for k, v in scores.items()}}
        for i, clip in enumerate(clips)
    ]
    # Runs with other clips have the same protocol here, as `digest` alone decides.
    facts = {"fps": 10, "frames": 40, "data_digest": f"data-of-{digest}"}
    facts |= {"clips": 0, "clips_digest": ""}
    place = run / "evaluation" / folder
    write_evaluation(place, rows, facts)
    pd.DataFrame(rows).to_csv(place / "clips.csv", index=False)  # more digits, for comparisons


def add_sample(run: Path, video: Path, clip: str, step: int = 100) -> None:
    """Add a sample video and the file with its beats."""
    folder = run / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(video, folder / f"{step:07}-{clip}.mp4")
    beats = {"music_beats_s": [0.1, 0.35], "motion_beats_s": [0.12]}
    (folder / f"{step:07}-{clip}.json").write_text(json.dumps(beats))
