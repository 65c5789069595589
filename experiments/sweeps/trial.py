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

from datamodules.files import write_text
from experiments.config.load import Settings, settings_from_words
from experiments.errors import SettingsError
from experiments.runs.folder import RunFolder
from experiments.sweeps.grammar import CHANGE
from experiments.sweeps.worker import RESULT

KINDS = ("diffusion", "sampling")
MODEL = "model"
#: Words about stage 1's network or losses: such a trial cannot share the sweep's stage 1.
OWN_STAGE1 = ("stage1.network.", "stage1.loss.")
#: Words about the clips that a trial learns from; inside a change they do not touch its scores.
CLIP_LENGTH = ("clips.frames=", "clips.stride=")
#: Clips that are generated at once.
EVALUATION_BATCH = 8
#: Scores of the held-out clips that a sweep may look at, as ``heldout/NAME``.
HEADLINES = ("corrected", "raw", "chance", "half_beat_off", "other_music", "other_difference")


def run_trial(kind: str, words: Sequence[str], clips: int = 0) -> int:
    """Run one trial and return its exit status.

    Args:
        kind: ``diffusion`` trains a stage 2 and scores it, after a stage 1 of its own where a word
            changes stage 1's network or losses; ``sampling`` scores the run that the word
            ``model=RUN`` names, with other sampling settings.
        words: ``key=value`` settings; ``change=...`` holds further ones, blanks between.
        clips: held-out clips that are scored; 0 for all.

    Raises:
        SettingsError: from the settings, or ``model`` missing.
    """
    changes = expand([word for word in words if word.startswith(f"{CHANGE}=")])
    words = expand(words)
    if kind == "diffusion":
        words = _with_folder(words)
        if any(word.startswith(OWN_STAGE1) for word in changes):
            words, status = _train_own_stage1(words)
            if status != 0:
                return status
        status = _train("diffusion", words)
        if status != 0:
            return status
        # A change of the training clips' length is scored on the others' clips.
        same_clips = [w for w in words if w not in changes or not w.startswith(CLIP_LENGTH)]
        settings = settings_from_words(same_clips)
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
    from experiments.caching.music import cache_needed_music
    from experiments.evaluation.heldout import score_heldout
    from experiments.evaluation.heldout_protocol import write_heldout
    from experiments.factories.data import build_clip_data
    from experiments.processes.cpu import set_up_processor
    from lightning_modules.pipeline import DabFusionPipeline

    set_up_processor(settings.run.threads)
    pipeline = DabFusionPipeline.from_pretrained(model.export)
    sampling = settings.sampling
    pipeline.settings = replace(
        pipeline.settings,
        solver=sampling.solver,
        steps=sampling.steps,
        guidance_scale=sampling.guidance_scale,
        image_guidance_scale=sampling.image_guidance_scale,
    )
    music = cache_needed_music(settings, pipeline.music.needs, "test")
    data = build_clip_data(settings, EVALUATION_BATCH, music=music)
    data.setup("test")
    scored = score_heldout(pipeline, data, seed=0, clips=clips, shown=0)
    rows = scored.rows["generated"]
    means = write_heldout(out / "evaluation", settings, rows, noise_seed=0)
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


def _train_own_stage1(words: Sequence[str]) -> tuple[list[str], int]:
    """Train a stage 1 of the trial's own; the words of its stage 2, and the exit status."""
    out = next(word for word in reversed(words) if word.startswith("out=")).partition("=")[2]
    own = Path(out) / "stage1"
    # Under an agent of Weights & Biases the trial's run is stage 2's.
    status = _train("autoencoder", [*words, f"out={own}", "autoencoder=", "run.wandb=off"])
    return [*words, f"autoencoder={own}"], status


def _train(stage: str, words: Sequence[str]) -> int:
    # Inherited files keep the sweep's lock on this trial for as long as training lives.
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", "train", stage, *words], close_fds=False
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
