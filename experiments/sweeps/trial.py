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
from types import FrameType

from datamodules.files import write_text
from experiments.config.load import Settings, settings_from_words
from experiments.errors import SettingsError
from experiments.runs.folder import RunFolder
from experiments.sweeps.command import CHANGE
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
    """Run one trial and return its exit status.

    Args:
        kind: ``diffusion`` trains a stage 2 and scores it, after a stage 1 of its own if a word
            changes stage 1's network or losses; ``sampling`` scores the run given by the word
            ``model=RUN`` with other sampling settings.
        words: ``key=value`` settings; ``change=...`` has further ones, separated by blanks.
        clips: Number of held-out clips to score; 0 for all.

    Raises:
        SettingsError: A setting is wrong, or ``model`` is missing.
    """
    if kind == "sampling":
        model, folder, settings = _sampling_run(words)
    else:
        changes = expand([word for word in words if word.startswith(f"{CHANGE}=")])
        words = _with_folder(expand(words))
        if any(word.startswith(OWN_STAGE1) for word in changes):
            out = next(word for word in reversed(words) if word.startswith("out="))
            own = f"{out.removeprefix('out=')}/stage1"
            # Under an agent of Weights & Biases the trial's run is that of stage 2.
            status = _train("autoencoder", [*words, f"out={own}", "autoencoder=", "run.wandb=off"])
            if status != 0:
                return status
            words.append(f"autoencoder={own}")
        status = _train("diffusion", words)
        if status != 0:
            return status
        # All trials are scored on the same clips, whatever length they were trained on.
        same_clips = [w for w in words if w not in changes or not w.startswith(CLIP_LENGTH)]
        settings = settings_from_words(same_clips)
        model = folder = RunFolder(Path(settings.out))
    metrics = score_run(model, folder.path, settings, clips)
    write_text(folder.path / RESULT, json.dumps({"metrics": metrics}, indent=1) + "\n")
    log_scores(folder.path, metrics)
    return 0


def expand(words: Sequence[str]) -> list[str]:
    """Replace ``change=...`` by the settings in it; ``change=none`` has none."""
    expanded: list[str] = []
    for word in words:
        name, _, value = word.partition("=")
        inside = [] if value == "none" else value.split()
        expanded += inside if name == CHANGE else [word]
    return expanded


def score_run(
    model: RunFolder, out: Path, settings: Settings, clips: int
) -> dict[str, float | None]:
    """Generate and score held-out clips, and write ``out/evaluation``.

    Args:
        model: An exported run of stage 2.
        out: Folder of the trial.
        settings: The data and sampling settings to use.
        clips: Number of clips; 0 for all.

    Returns:
        Means as ``heldout/NAME``; None if a score is not defined.
    """
    from experiments.caching.music import cache_needed_music
    from experiments.evaluation.heldout import score_heldout
    from experiments.evaluation.protocol import write_heldout
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


def _sampling_run(words: Sequence[str]) -> tuple[RunFolder, RunFolder, Settings]:
    """Return the model's run, and the trial's run with its settings, which are the model's own
    with other sampling settings."""
    words = expand(words)
    models = [word.removeprefix("model=") for word in words if word.startswith("model=")]
    if not models:
        raise SettingsError("A sampling sweep needs model=RUN, the run folder of a stage 2.")
    model = RunFolder(Path(models[-1]))
    others = [word for word in words if not word.startswith(("model=", "preset="))]
    settings = settings_from_words(_with_folder([f"preset={model.config}", *others]))
    folder = RunFolder(Path(settings.out))
    folder.write_settings(settings)
    folder.write_manifest({**model.read_manifest(), "command": "dabfusion sweep"})
    return model, folder, settings


def _with_folder(words: list[str]) -> list[str]:
    """Add ``out`` if it is missing, as under an agent of Weights & Biases."""
    if any(word.startswith("out=") for word in words):
        return words
    name = os.environ.get("WANDB_RUN_ID")
    if name is None:
        raise SettingsError("A trial needs out=FOLDER outside a sweep of Weights & Biases.")
    group = os.environ.get("WANDB_SWEEP_ID", "sweep")
    return [*words, f"out=sweeps/{group}/{name}", "resume=auto"]


def _train(stage: str, words: Sequence[str]) -> int:
    # The inherited lock on the trial is held for as long as training runs.
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
