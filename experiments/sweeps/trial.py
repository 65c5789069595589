"""One trial of a sweep: train or only sample, generate held-out clips, score them.

Training is a ``dabfusion train`` process of its own, so that it can start its own ranks. A trial
that is started again in the same folder resumes there.
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

from datamodules.files import write_text
from experiments.config.load import Settings, settings_from_words
from experiments.errors import SettingsError
from experiments.runs.folder import RunFolder
from experiments.sweeps.wandb_agents import log_scores
from experiments.sweeps.worker import RESULT

#: Settings of stage 1: a trial that changes one cannot use the sweep's stage 1.
OWN_STAGE1 = ("stage1.network.", "stage1.loss.")
#: Settings of the training clips; inside `change` they do not alter the clips that are scored.
CLIP_LENGTH = ("clips.frames=", "clips.stride=")
#: Clips generated at once.
EVALUATION_BATCH = 8
#: Scores of the held-out clips, available to a sweep as ``heldout/NAME``.
HEADLINES = ("corrected", "raw", "chance", "half_beat_off", "other_music", "other_difference")


def run_trial(kind: str, words: Sequence[str], clips: int = 0) -> int:
    """Run one trial, score ``clips`` held-out clips (0 for all), and return the exit status.

    ``diffusion`` trains a stage 2, after a stage 1 of its own if a word changes stage 1's network
    or losses; ``sampling`` scores the run given by the word ``model=RUN`` with other sampling
    settings. The word ``change=...`` has further settings, separated by blanks.
    """
    changes = expand([word for word in words if word.startswith("change=")])
    words = expand(words)
    if not any(word.startswith("out=") for word in words):
        # An agent of Weights & Biases names no folder.
        group, name = (os.environ.get(f"WANDB_{key}_ID") for key in ("SWEEP", "RUN"))
        if name is None:
            raise SettingsError("A trial needs out=FOLDER outside a sweep of Weights & Biases.")
        words += [f"out=sweeps/{group or 'sweep'}/{name}", "resume=auto"]
    if kind == "sampling":
        model, settings = _sampling_run(words)
    else:
        out = next(word for word in reversed(words) if word.startswith("out="))
        if any(word.startswith(OWN_STAGE1) for word in changes):
            # Under an agent of Weights & Biases the trial's run is that of stage 2.
            own = [f"{out}/stage1", "autoencoder=", "run.wandb=off"]
            if status := _train("autoencoder", [*words, *own]):
                return status
            words.append(f"autoencoder={out.removeprefix('out=')}/stage1")
        if status := _train("diffusion", words):
            return status
        # All trials are scored on the same clips, whatever length they were trained on.
        same_clips = [w for w in words if w not in changes or not w.startswith(CLIP_LENGTH)]
        settings = settings_from_words(same_clips)
        model = RunFolder(Path(settings.out))
    folder = Path(settings.out)
    metrics = score_run(model, folder, settings, clips)
    write_text(folder / RESULT, json.dumps({"metrics": metrics}, indent=1) + "\n")
    log_scores(folder, metrics)
    return 0


def expand(words: Sequence[str]) -> list[str]:
    """Replace ``change=...`` by the settings in it; ``change=none`` has none."""
    expanded: list[str] = []
    for word in words:
        name, _, value = word.partition("=")
        inside = [] if value == "none" else value.split()
        expanded += inside if name == "change" else [word]
    return expanded


def score_run(
    model: RunFolder, out: Path, settings: Settings, clips: int
) -> dict[str, float | None]:
    """Generate and score held-out clips with a stage 2, and write ``out/evaluation``.

    Returns the means as ``heldout/NAME``; None if a score is not defined.
    """
    from experiments.caching.features import cache_needed_music
    from experiments.evaluation.evaluations import write_heldout
    from experiments.evaluation.heldout import score_heldout
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
    rows = score_heldout(pipeline, data, seed=0, clips=clips, shown=0).rows["generated"]
    means = write_heldout(out / "evaluation", settings, rows, noise_seed=0)
    return {
        f"heldout/{name}": means[name].mean if math.isfinite(means[name].mean) else None
        for name in HEADLINES
        if name in means
    }


def _sampling_run(words: Sequence[str]) -> tuple[RunFolder, Settings]:
    """Start the trial's run; return the model's run, and its settings changed by the words."""
    models = [word.removeprefix("model=") for word in words if word.startswith("model=")]
    if not models:
        raise SettingsError("A sampling sweep needs model=RUN, the run folder of a stage 2.")
    model = RunFolder(Path(models[-1]))
    others = [word for word in words if not word.startswith(("model=", "preset="))]
    settings = settings_from_words([f"preset={model.config}", *others])
    folder = RunFolder(Path(settings.out))
    folder.write_settings(settings)
    folder.write_manifest({**model.read_manifest(), "command": "dabfusion sweep"})
    return model, settings


def _train(stage: str, words: Sequence[str]) -> int:
    """Run ``dabfusion train`` and return its exit status; SIGTERM is passed on to it."""
    # The inherited lock on the trial is held for as long as training runs.
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", "train", stage, *words], close_fds=False
    )
    previous = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
        process.terminate()  # does nothing if training has ended
        process.wait()
