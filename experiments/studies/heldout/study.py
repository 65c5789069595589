"""`dabfusion study heldout`: generate held-out clips with a trained stage 2 and score them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.config.load import Settings
    from experiments.evaluation.heldout import HeldoutScores

HELP = """How well does a trained model dance? Scores of held-out clips and of the true ones."""
EXAMPLES = [
    "dabfusion study heldout runs/stage2 preset=aist128 data=aist --out scores",
    "dabfusion study heldout runs/stage2 preset=aist128 data=aist --split val --clips 40",
    "dabfusion study heldout runs/stage2 preset=aist128 data=aist run.devices=8   # eight GPUs",
]

SCORES = ("corrected", "half_beat_off", "shifted", "other_music")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("model", type=Path, help="run or pipeline folder of stage 2")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="preset, data, clips.*")
    parser.add_argument("--split", choices=["val", "test"], default="test")
    parser.add_argument("--clips", type=int, default=0, help="number of clips (0: all)")
    help_out = "folder to write (heldout); scores of a run are also kept for `dabfusion compare`"
    parser.add_argument("--out", type=Path, default=Path("heldout"), help=help_out)


def run(args: argparse.Namespace) -> int:
    """Write `scores.json`, rows of each set and a contact sheet; keep the scores in the run."""
    from experiments.caching.music import cache_needed_music
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError
    from experiments.evaluation.heldout import score_heldout
    from experiments.factories.data import build_clip_data
    from experiments.processes.progress import shown_progress
    from experiments.processes.ranks import KEPT, find_ranks, is_main_rank, start_ranks
    from lightning_modules.pipeline import DabFusionPipeline

    settings = settings_from_words(args.settings)
    if not settings.data:
        raise SettingsError("data= is missing: name the folder that `dabfusion prepare` wrote.")
    if args.clips < 0:
        raise SettingsError(f"--clips is {args.clips}, but must be 0 (all) or more.")
    status = start_ranks(settings.run, KEPT)
    if status is not None:
        return status
    pipeline = DabFusionPipeline.from_pretrained(args.model)
    ranks = find_ranks(settings.run)
    music = cache_needed_music(settings, pipeline.music.needs, args.split, ranks)
    data = build_clip_data(settings, batch_size=8, music=music)
    if not data.windows(args.split):
        raise SettingsError(f"{settings.data} has no clips in split {args.split}: see clips.split.")
    with shown_progress("Generate and score") as progress:
        scores = score_heldout(
            pipeline,
            data,
            split=args.split,
            seed=settings.seed,
            clips=args.clips,
            run=settings.run,
            ranks=ranks,
            progress=progress,
        )
    if is_main_rank():
        _write(scores, settings, args, data.index.digest)
    return 0


def _write(
    scores: HeldoutScores, settings: Settings, args: argparse.Namespace, digest: str
) -> None:
    from datamodules.files import write_text
    from experiments.evaluation.clips import summarize
    from experiments.evaluation.protocol import write_heldout
    from experiments.quickstart.report import contact_sheet, write_rows
    from experiments.runs.folder import RunFolder

    means = {kind: summarize(rows) for kind, rows in scores.rows.items()}
    result = {
        "split": args.split,
        "seed": settings.seed,
        "data": digest,
        "alignment": {
            kind: {name: asdict(value) for name, value in found.items() if name in SCORES}
            for kind, found in means.items()
        },
        "reconstruction": scores.reconstruction,
    }
    write_text(args.out / "scores.json", json.dumps(result, indent=1) + "\n")
    for kind, rows in scores.rows.items():
        write_rows(args.out / f"{kind}.csv", rows)
        print(f"{kind:14}{means[kind]['corrected'].text()}")
    contact_sheet(scores.shown, args.out / "contact_sheet.png")
    print(f"Scores, rows and a contact sheet are in {args.out}.")
    if RunFolder(args.model).exists():
        kept = args.model / "evaluation" / args.split
        write_heldout(kept, settings, scores.rows["generated"], settings.seed, args.split)
        print(f"`dabfusion compare` reads them from {kept}.")
