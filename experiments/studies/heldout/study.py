"""`dabfusion study heldout`: generate held-out clips with a trained stage 2 and score them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

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
    from datamodules.files import write_text
    from experiments.caching.features import cache_needed_music
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError
    from experiments.evaluation.clips import summarize
    from experiments.evaluation.evaluations import write_heldout
    from experiments.evaluation.heldout import score_heldout
    from experiments.factories.data import build_clip_data
    from experiments.processes.progress import shown_progress
    from experiments.processes.ranks import KEPT, find_ranks, is_main_rank, start_ranks
    from experiments.quickstart.report import contact_sheet, write_rows
    from experiments.runs.folder import RunFolder
    from lightning_modules.pipeline import DabFusionPipeline

    settings, split = settings_from_words(args.settings), args.split
    if not settings.data:
        raise SettingsError("data= is missing: name the folder that `dabfusion prepare` wrote.")
    if args.clips < 0:
        raise SettingsError(f"--clips is {args.clips}, but must be 0 (all) or more.")
    status = start_ranks(settings.run, KEPT)
    if status is not None:
        return status
    pipeline = DabFusionPipeline.from_pretrained(args.model)
    ranks = find_ranks(settings.run)
    music = cache_needed_music(settings, pipeline.music.needs, split, ranks)
    data = build_clip_data(settings, batch_size=8, music=music)
    if not data.windows(split):
        raise SettingsError(f"{settings.data} has no clips in split {split}: see clips.split.")
    chosen = {"split": split, "seed": settings.seed, "clips": args.clips}
    with shown_progress("Generate and score") as progress:
        scores = score_heldout(
            pipeline, data, **chosen, run=settings.run, ranks=ranks, progress=progress
        )
    if not is_main_rank():
        return 0
    alignment = {}
    for kind, rows in scores.rows.items():
        means = summarize(rows)
        alignment[kind] = {name: asdict(means[name]) for name in SCORES if name in means}
        write_rows(args.out / f"{kind}.csv", rows)
        print(f"{kind:14}{means['corrected'].text()}")
    result = {"split": split, "seed": settings.seed, "data": data.index.digest}
    result |= {"alignment": alignment, "reconstruction": scores.reconstruction}
    write_text(args.out / "scores.json", json.dumps(result, indent=1) + "\n")
    contact_sheet(scores.shown, args.out / "contact_sheet.png")
    print(f"Scores, rows and a contact sheet are in {args.out}.")
    if RunFolder(args.model).exists():
        kept = args.model / "evaluation" / split
        write_heldout(kept, settings, scores.rows["generated"], settings.seed, split)
        print(f"`dabfusion compare` reads them from {kept}.")
    return 0
