"""One trial of a sweep: train (or only sample), let held-out clips dance, score, leave the numbers.

Training runs as its own ``dabfusion train``, so that it may start its own ranks. A trial that is
started again in the same folder goes on where it was stopped.
"""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from experiments.config import Settings, settings_from_words
from experiments.errors import SettingsError
from experiments.results import RunFolder, write_text
from experiments.sweep_grammar import CHANGE
from experiments.sweep_worker import RESULT

KINDS = ("diffusion", "sampling")
MODEL = "model"
#: Clips that are generated at once.
EVALUATION_BATCH = 8
#: Scores of the held-out clips that a sweep may look at, as ``heldout/NAME``.
HEADLINES = ("corrected", "raw", "chance", "half_beat_off", "other_music", "other_difference")


def run_trial(kind: str, words: Sequence[str], clips: int = 0) -> int:
    """Run one trial and return its exit status.

    Args:
        kind: ``diffusion`` trains a stage 2 and scores it; ``sampling`` scores the run that the
            word ``model=RUN`` names, with other sampling settings.
        words: ``key=value`` settings; ``change=...`` holds further ones, blanks between.
        clips: held-out clips that are scored; 0 for all.

    Raises:
        SettingsError: from the settings, or ``model`` missing.
    """
    words = expand(words)
    if kind == "diffusion":
        words = _with_folder(words)
        status = _train(words)
        if status != 0:
            return status
        settings = settings_from_words(words)
        model = folder = RunFolder(Path(settings.out))
    else:
        models = [word.partition("=")[2] for word in words if word.startswith(f"{MODEL}=")]
        if not models:
            raise SettingsError("A sampling sweep needs model=RUN, the run folder of a stage 2.")
        model = RunFolder(Path(models[-1]))
        others = [word for word in words if not word.startswith((f"{MODEL}=", "preset="))]
        words = _with_folder([f"preset={model.config}", *others])
        settings = settings_from_words(words)
        folder = RunFolder(Path(settings.out))
        folder.write_settings(settings)
        folder.write_manifest({**model.read_manifest(), "command": "dabfusion sweep"})
    metrics = score_run(model, folder.path, settings, clips)
    write_text(folder.path / RESULT, json.dumps({"metrics": metrics}, indent=1) + "\n")
    _report_to_wandb(folder, metrics)
    return 0


def expand(words: Sequence[str]) -> list[str]:
    """The words with those inside ``change=...`` put in its place; ``change=none`` holds none."""
    expanded: list[str] = []
    for word in words:
        name, _, value = word.partition("=")
        inside = [] if value == "none" else value.split()
        expanded += inside if name == CHANGE else [word]
    return expanded


def score_run(
    model: RunFolder, out: Path, settings: Settings, clips: int
) -> dict[str, float | None]:
    """Generate the held-out clips of ``model``, score them, write ``out/evaluation``.

    Args:
        model: run of a stage 2, exported.
        out: folder of the trial.
        settings: with the data and the sampling to use.
        clips: how many; 0 for all.

    Returns:
        Means as ``heldout/NAME``; None where a score is not defined.
    """
    from experiments.build.data import build_clip_data
    from experiments.evaluation import summarise
    from experiments.evaluation_protocol import digest_of, write_evaluation
    from experiments.heldout import score_heldout
    from experiments.manifest import data_digest
    from lightning_modules.pipeline import DabFusionPipeline
    from metrics import VERSION

    if settings.run.threads:
        import torch

        torch.set_num_threads(settings.run.threads)
    pipeline = DabFusionPipeline.from_pretrained(model.export)
    sampling = settings.sampling
    pipeline.settings = replace(
        pipeline.settings,
        solver=sampling.solver,
        steps=sampling.steps,
        guidance_scale=sampling.guidance_scale,
        image_guidance_scale=sampling.image_guidance_scale,
    )
    data = build_clip_data(settings, EVALUATION_BATCH)
    data.setup("test")
    scored = score_heldout(pipeline, data, seed=0, clips=clips, shown=0)
    rows = scored.rows["generated"]
    protocol: dict[str, Any] = {
        "format": 1,
        "metric": "MotionMusicAlignment2D",
        "metric_version": VERSION,
        "split": "test",
        "clips": len(rows),
        "clips_digest": digest_of([row["clip"] for row in rows]),
        "data_digest": data_digest(Path(settings.data)),
        "fps": settings.clips.fps,
        "frames": settings.clips.frames,
        "size": settings.clips.size,
        "beats": settings.clips.beats,
        "noise_seed": 0,
    }
    means = summarise(rows)
    write_evaluation(out / "evaluation", {**protocol, "hash": digest_of(protocol)}, rows, means)
    return {
        f"heldout/{name}": means[name].mean if math.isfinite(means[name].mean) else None
        for name in HEADLINES
        if name in means
    }


def _with_folder(words: list[str]) -> list[str]:
    """An ``out`` where none is given, as under an agent of Weights & Biases."""
    if any(word.startswith("out=") for word in words):
        return words
    name = os.environ.get("WANDB_RUN_ID")
    if name is None:
        raise SettingsError("A trial needs out=FOLDER outside a sweep of Weights & Biases.")
    group = os.environ.get("WANDB_SWEEP_ID", "sweep")
    return [*words, f"out=sweeps/{group}/{name}", "resume=auto"]


def _train(words: Sequence[str]) -> int:
    # Inherited files keep the sweep's lock on this trial for as long as training lives.
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", "train", "diffusion", *words], close_fds=False
    )

    def forward(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    previous = signal.signal(signal.SIGTERM, forward)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
        if process.poll() is None:
            process.terminate()
            process.wait()


def _report_to_wandb(folder: RunFolder, metrics: dict[str, float | None]) -> None:
    """Under an agent of Weights & Biases, add the held-out scores to the trial's own run."""
    run_id = os.environ.get("WANDB_RUN_ID")
    if run_id is None or "WANDB_SWEEP_ID" not in os.environ:
        return
    import wandb

    with wandb.init(id=run_id, resume="allow", dir=folder.path) as run:
        run.log({name: value for name, value in metrics.items() if value is not None})
