"""The quickstart: every step of the main job on rendered dancers, resumable, in minutes.

    OUT/rendered     videos with sound under AIST names, and what is true of them
    OUT/prepared     small clips, beats, features, the index
    OUT/autoencoder  the run of stage 1
    OUT/flow         cached latent flow
    OUT/diffusion    the run of stage 2; its export/ is the pipeline to use, its evaluation/ what
                     `dabfusion compare` shows of its scores
    OUT/scores       per-clip rows of true, reconstructed and generated clips
    OUT/videos       generated dances with sound; OUT/contact_sheet.png

Every step keeps what it has done, so a second run after Ctrl-C only does what is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from experiments.config.load import Settings, load_settings
from experiments.errors import SettingsError
from experiments.processes.progress import Progress, shown_progress

#: Minutes for which the preset's numbers of steps are meant.
PRESET_MINUTES = 9.0
#: Minutes of a run that do not depend on the number of steps.
FIXED_MINUTES = 1.5
#: Least share of the preset's steps: a handful, so that every step of the road is taken.
LEAST_SHARE = 0.01
FORMAT = 1


@dataclass(frozen=True)
class QuickstartPlan:
    """What a quickstart run will do."""

    out: Path
    minutes: float
    settings: Settings
    heldout_clips: int
    """Test clips that are generated and scored; 0 for all."""
    shown_videos: int
    """Whole dances that are written as videos."""

    @property
    def rendered(self) -> Path:
        """The rendered data set."""
        return self.out / "rendered"

    @property
    def prepared(self) -> Path:
        """The prepared data set."""
        return self.out / "prepared"

    @property
    def autoencoder(self) -> Path:
        """The run of stage 1."""
        return self.out / "autoencoder"

    @property
    def diffusion(self) -> Path:
        """The run of stage 2."""
        return self.out / "diffusion"

    @property
    def results(self) -> Path:
        """The figures of the closing table."""
        return self.out / "results.json"


def plan_quickstart(out: Path, minutes: float, words: list[str]) -> QuickstartPlan:
    """The preset `quickstart`, its training scaled to so many minutes on two cores.

    Args:
        out: folder to work in.
        minutes: budget; it scales numbers of steps (and, below three minutes, of videos), never
            looks at the clock.
        words: `key=value` settings that win over the preset.

    Raises:
        SettingsError: a budget outside [0.5, 1440], or a setting that does not exist.
    """
    if not 0.5 <= minutes <= 1440:
        raise SettingsError(f"--minutes is {minutes:g}, but must lie between 0.5 and 1440.")
    settings = load_settings("quickstart", words)
    share = (minutes - FIXED_MINUTES) / (PRESET_MINUTES - FIXED_MINUTES)
    share = max(LEAST_SHARE, share)
    stage1, stage2 = settings.stage1.train, settings.stage2.train
    stage1.steps = max(10, round(stage1.steps * share))
    stage1.region_steps = round(stage1.region_steps * share)
    stage2.steps = max(10, round(stage2.steps * share))
    stage2.warmup_steps = round(stage2.warmup_steps * share)
    short = minutes < 3
    if short:
        settings.synthetic.train_videos = min(20, settings.synthetic.train_videos)
    return QuickstartPlan(out, minutes, settings, 10 if short else 0, 1 if short else 4)


def run_quickstart(plan: QuickstartPlan) -> None:
    """Take every step that is not done yet, and print the table.

    Raises:
        SettingsError: the folder holds a quickstart with other settings.
    """
    claim(plan)
    steps: list[tuple[str, Callable[[QuickstartPlan, Progress], None]]] = [
        ("Render dancers and music", render),
        ("Prepare clips, track beats", prepare),
        ("Train stage 1, the auto-encoder", train_autoencoder),
        ("Cache latent flow", cache_flow),
        ("Train stage 2, the diffusion", train_diffusion),
        ("Generate and score held-out dances", score),
        ("Write videos and contact sheet", show),
    ]
    began = time.monotonic()
    for number, (title, step) in enumerate(steps, start=1):
        with shown_progress(f"{number}/{len(steps)} {title}") as progress:
            step(plan, progress)
    from experiments.quickstart.report import print_report

    print_report(plan, time.monotonic() - began)


def claim(plan: QuickstartPlan) -> None:
    """Write the plan into its folder, or check that the plan that is there is the same one."""
    from datamodules.files import write_text

    path = plan.out / "quickstart.json"
    wanted = {"format": FORMAT, "minutes": plan.minutes, "settings": asdict(plan.settings)}
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = {}
        if found != json.loads(json.dumps(wanted)):
            raise SettingsError(
                f"{plan.out} holds a quickstart with other settings ({found.get('minutes')} "
                f"minutes, seed {found.get('settings', {}).get('seed')}): give another --out, or "
                "remove that folder."
            )
        return
    if plan.out.exists() and (not plan.out.is_dir() or any(plan.out.iterdir())):
        raise SettingsError(f"{plan.out} holds something else: give another --out.")
    plan.out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(wanted, indent=2) + "\n")


def stage_settings(plan: QuickstartPlan, out: Path) -> Settings:
    """The settings of one stage's run."""
    return replace(
        plan.settings,
        data=str(plan.prepared),
        autoencoder=str(plan.autoencoder),
        out=str(out),
        resume="auto",
    )


def render(plan: QuickstartPlan, progress: Progress) -> None:
    """Step 1."""
    from experiments.factories.preparation import render as render_set

    render_set(plan.rendered, plan.settings, progress)


def prepare(plan: QuickstartPlan, progress: Progress) -> None:
    """Step 2."""
    from experiments.factories.preparation import prepare_folder

    prepare_folder(
        plan.rendered,
        plan.prepared,
        plan.settings,
        progress=lambda step, done, total: progress(done, total),
    )


def train_autoencoder(plan: QuickstartPlan, progress: Progress) -> None:
    """Step 3."""
    from experiments.training.train import train_stage

    train_stage(stage_settings(plan, plan.autoencoder), "autoencoder", progress)


def cache_flow(plan: QuickstartPlan, progress: Progress) -> None:
    """Step 4."""
    from experiments.caching.latent_flow import cache_latent_flow, load_stage1
    from experiments.factories.data import build_clip_data

    settings = stage_settings(plan, plan.diffusion)
    stage1, data = load_stage1(plan.autoencoder), build_clip_data(settings, 8)
    cache_latent_flow(settings, stage1, data, progress=progress)


def train_diffusion(plan: QuickstartPlan, progress: Progress) -> None:
    """Step 5."""
    from experiments.training.train import train_stage

    train_stage(stage_settings(plan, plan.diffusion), "diffusion", progress)


def score(plan: QuickstartPlan, progress: Progress) -> None:
    """Step 6: `results.json`, per-clip rows, and the frames for the contact sheet."""
    from datamodules.files import write_text
    from experiments.evaluation.clips import summarise
    from experiments.evaluation.heldout import score_heldout
    from experiments.evaluation.protocol import write_heldout
    from experiments.factories.data import build_clip_data
    from experiments.quickstart.report import contact_sheet, tracked_beats, write_rows
    from lightning_modules.pipeline import DabFusionPipeline

    if plan.results.exists():
        return
    settings = stage_settings(plan, plan.diffusion)
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
            kind: {name: asdict(value) for name, value in summarise(rows).items()}
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


def show(plan: QuickstartPlan, progress: Progress) -> None:
    """Step 7: whole dances of held-out persons to held-out music, with sound."""
    from datamodules.aist_names import tempo_of
    from datamodules.media.video import read_frames
    from experiments.factories.data import build_clip_data
    from lightning_modules.pipeline import DabFusionPipeline

    settings = stage_settings(plan, plan.diffusion)
    data = build_clip_data(settings, batch_size=1)
    index = data.index
    rows = [row for row, name in enumerate(index.names) if data.splits.get(name) == "test"]
    spread = rows[:: max(1, len(rows) // plan.shown_videos)][: plan.shown_videos]
    pipeline = None
    for done, row in enumerate(spread):
        name = index.names[row]
        path = plan.out / "videos" / f"{name}.mp4"
        if not path.exists():
            pipeline = pipeline or DabFusionPipeline.from_pretrained(plan.diffusion)
            clip = index.clip_path(name)
            dance = pipeline(
                read_frames(clip, [0])[0],
                clip,
                tempo_bpm=tempo_of(index.music[row]),
                generator=settings.seed,
            )
            path.parent.mkdir(exist_ok=True)
            dance.save(path)
        progress(done + 1, len(spread))
