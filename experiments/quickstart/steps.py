"""The quickstart: every step from rendered dancers to scored videos, in minutes.

    OUT/rendered     videos with sound under AIST names, and their ground truth
    OUT/prepared     small clips, beats, features, the index
    OUT/autoencoder  the run of stage 1
    OUT/flow         cached latent flow
    OUT/diffusion    the run of stage 2; its export/ is the pipeline, its evaluation/ is read by
                     `dabfusion compare`
    OUT/scores       per-clip rows of true, reconstructed and generated clips
    OUT/videos       generated dances with sound; OUT/contact_sheet.png

Every step keeps what it has finished, so that a second run after Ctrl-C only does the rest.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict

from datamodules.aist_names import tempo_of
from datamodules.files import write_text
from datamodules.media.video import read_frames
from experiments.caching.latent_flow import cache_latent_flow, load_stage1
from experiments.evaluation.clips import summarize
from experiments.evaluation.heldout import score_heldout
from experiments.evaluation.protocol import write_heldout
from experiments.factories import preparation
from experiments.factories.data import build_clip_data
from experiments.processes.progress import Progress, shown_progress
from experiments.quickstart.plan import FORMAT, QuickstartPlan, claim_folder
from experiments.quickstart.report import contact_sheet, print_report, tracked_beats, write_rows
from experiments.training.train import train_stage
from lightning_modules.pipeline import DabFusionPipeline


def run_quickstart(plan: QuickstartPlan) -> None:
    """Do every step that is not finished, and print the table.

    Raises:
        SettingsError: The folder has a quickstart with other settings.
    """
    claim_folder(plan)
    began = time.monotonic()
    for number, (title, step) in enumerate(STEPS.items(), start=1):
        with shown_progress(f"{number}/{len(STEPS)} {title}") as progress:
            step(plan, progress)
    print_report(plan, time.monotonic() - began)


def render(plan: QuickstartPlan, progress: Progress) -> None:
    """Render dancers and music."""
    preparation.render(plan.rendered, plan.settings, progress)


def prepare(plan: QuickstartPlan, progress: Progress) -> None:
    """Prepare clips and track beats."""
    preparation.prepare_folder(
        plan.rendered,
        plan.prepared,
        plan.settings,
        progress=lambda step, done, total: progress(done, total),
    )


def train_autoencoder(plan: QuickstartPlan, progress: Progress) -> None:
    """Train stage 1."""
    train_stage(plan.stage_settings(plan.autoencoder), "autoencoder", progress)


def cache_flow(plan: QuickstartPlan, progress: Progress) -> None:
    """Cache the latent flow of stage 1."""
    settings = plan.stage_settings(plan.diffusion)
    stage1, data = load_stage1(plan.autoencoder), build_clip_data(settings, 8)
    cache_latent_flow(settings, stage1, data, progress=progress)


def train_diffusion(plan: QuickstartPlan, progress: Progress) -> None:
    """Train stage 2."""
    train_stage(plan.stage_settings(plan.diffusion), "diffusion", progress)


def score(plan: QuickstartPlan, progress: Progress) -> None:
    """Write `results.json`, per-clip rows and the contact sheet of held-out clips."""
    if plan.results.exists():
        return
    settings = plan.stage_settings(plan.diffusion)
    data = build_clip_data(settings, batch_size=10)
    scores = score_heldout(
        DabFusionPipeline.from_pretrained(plan.diffusion),
        data,
        seed=settings.seed,
        clips=plan.heldout_clips,
        progress=progress,
    )
    for kind, rows in scores.rows.items():
        write_rows(plan.out / "scores" / f"{kind}.csv", rows)
    write_heldout(plan.diffusion / "evaluation", settings, scores.rows["generated"], settings.seed)
    contact_sheet(scores.shown, plan.out / "contact_sheet.png")
    results = {
        "format": FORMAT,
        "alignment": {
            kind: {name: asdict(value) for name, value in summarize(rows).items()}
            for kind, rows in scores.rows.items()
        },
        "reconstruction": scores.reconstruction,
        "beats": tracked_beats(data.index),
        "protocol": {
            "data": data.index.digest,
            "seed": settings.seed,
            "minutes": plan.minutes,
            "split": "test",
            "frames": settings.clips.frames,
            "fps": settings.clips.fps,
            "size": settings.clips.size,
        },
    }
    write_text(plan.results, json.dumps(results, indent=2) + "\n")


def write_videos(plan: QuickstartPlan, progress: Progress) -> None:
    """Write whole dances of held-out people to held-out music, with sound."""
    settings = plan.stage_settings(plan.diffusion)
    data = build_clip_data(settings, batch_size=1)
    index = data.index
    rows = [row for row, name in enumerate(index.names) if data.splits.get(name) == "test"]
    chosen = rows[:: max(1, len(rows) // plan.shown_videos)][: plan.shown_videos]
    pipeline = None
    for done, row in enumerate(chosen, start=1):
        clip = index.clip_path(index.names[row])
        path = plan.out / "videos" / f"{index.names[row]}.mp4"
        if not path.exists():
            pipeline = pipeline or DabFusionPipeline.from_pretrained(plan.diffusion)
            image, tempo = read_frames(clip, [0])[0], tempo_of(index.music[row])
            pipeline(image, clip, tempo_bpm=tempo, generator=settings.seed).save(path)
        progress(done, len(chosen))


STEPS = {
    "Render dancers and music": render,
    "Prepare clips, track beats": prepare,
    "Train stage 1, the autoencoder": train_autoencoder,
    "Cache latent flow": cache_flow,
    "Train stage 2, the diffusion": train_diffusion,
    "Generate and score held-out dances": score,
    "Write videos and contact sheet": write_videos,
}
