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
from contextlib import AbstractContextManager
from dataclasses import asdict

from datamodules.aist_names import tempo_of
from datamodules.files import write_text
from datamodules.media.video import read_frames
from experiments.caching.features import cache_latent_flow, load_stage1
from experiments.evaluation.clips import summarize
from experiments.evaluation.evaluations import write_heldout
from experiments.evaluation.heldout import score_heldout
from experiments.factories import preparation
from experiments.factories.data import build_clip_data
from experiments.processes.progress import Progress, shown_progress
from experiments.quickstart.plan import FORMAT, QuickstartPlan, claim_folder
from experiments.quickstart.report import contact_sheet, print_report, tracked_beats, write_rows
from experiments.training.train import train_stage
from lightning_modules.pipeline import DabFusionPipeline


def run_quickstart(plan: QuickstartPlan) -> None:
    """Do every step that is not finished, and print the table."""
    claim_folder(plan)
    began = time.monotonic()
    stage1, stage2 = plan.stage_settings("autoencoder"), plan.stage_settings("diffusion")
    rendered, prepared = plan.out / "rendered", plan.out / "prepared"
    with _step(1, "Render dancers and music") as progress:
        preparation.render(rendered, plan.settings, progress)
    with _step(2, "Prepare clips, track beats") as progress:
        preparation.prepare_folder(
            rendered, prepared, plan.settings, progress=lambda _, *done: progress(*done)
        )
    with _step(3, "Train stage 1, the autoencoder") as progress:
        train_stage(stage1, "autoencoder", progress)
    with _step(4, "Cache latent flow") as progress:
        trained, data = load_stage1(stage1.out), build_clip_data(stage2, 8)
        cache_latent_flow(stage2, trained, data, progress=progress)
    with _step(5, "Train stage 2, the diffusion") as progress:
        train_stage(stage2, "diffusion", progress)
    with _step(6, "Generate and score held-out dances") as progress:
        if not (plan.out / "results.json").exists():
            score(plan, progress)
    with _step(7, "Write videos and contact sheet") as progress:
        write_videos(plan, progress)
    print_report(plan.out, time.monotonic() - began)


def _step(number: int, title: str) -> AbstractContextManager[Progress]:
    return shown_progress(f"{number}/7 {title}")


def score(plan: QuickstartPlan, progress: Progress) -> None:
    """Write `results.json`, per-clip rows and the contact sheet of held-out clips."""
    settings, run = plan.stage_settings("diffusion"), plan.out / "diffusion"
    data = build_clip_data(settings, batch_size=10)
    scores = score_heldout(
        DabFusionPipeline.from_pretrained(run),
        data,
        seed=settings.seed,
        clips=plan.heldout_clips,
        progress=progress,
    )
    alignment = {}
    for kind, rows in scores.rows.items():
        write_rows(plan.out / "scores" / f"{kind}.csv", rows)
        alignment[kind] = {name: asdict(value) for name, value in summarize(rows).items()}
    write_heldout(run / "evaluation", settings, scores.rows["generated"], settings.seed)
    contact_sheet(scores.shown, plan.out / "contact_sheet.png")
    results = {
        "format": FORMAT,
        "alignment": alignment,
        "reconstruction": scores.reconstruction,
        "beats": tracked_beats(data.index),
        "protocol": {
            "data": data.index.digest,
            "seed": settings.seed,
            "minutes": plan.minutes,
            "split": "test",
            **{name: getattr(settings.clips, name) for name in ("frames", "fps", "size")},
        },
    }
    write_text(plan.out / "results.json", json.dumps(results, indent=2) + "\n")


def write_videos(plan: QuickstartPlan, progress: Progress) -> None:
    """Write whole dances of held-out people to held-out music, with sound."""
    settings = plan.stage_settings("diffusion")
    data = build_clip_data(settings, batch_size=1)
    index = data.index
    rows = [row for row, name in enumerate(index.names) if data.splits.get(name) == "test"]
    chosen = rows[:: max(1, len(rows) // plan.shown_videos)][: plan.shown_videos]
    pipeline = None
    for done, row in enumerate(chosen, start=1):
        clip = index.clip_path(index.names[row])
        path = plan.out / "videos" / f"{index.names[row]}.mp4"
        if not path.exists():
            pipeline = pipeline or DabFusionPipeline.from_pretrained(settings.out)
            image, tempo = read_frames(clip, [0])[0], tempo_of(index.music[row])
            pipeline(image, clip, tempo_bpm=tempo, generator=settings.seed).save(path)
        progress(done, len(chosen))
