"""`dabfusion evaluate`: score any folder of videos with sound."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.processes.ranks import Ranks

HELP = """Score how well dance videos fit their music, by whatever method they were made.

Beats are tracked in each video's own sound; motion is read from its frames. Every score stands
beside its level under chance and beside the same score with shifted and with other music, with
intervals that redraw pieces of music. Files that cannot be read are listed and stop nothing."""

EXAMPLES = [
    "dabfusion evaluate videos                          # writes videos/evaluation",
    "dabfusion evaluate videos --processes 8            # eight at a time",
    "dabfusion evaluate generated --reference true --out scores/mine",
    "dabfusion evaluate generated --reference true --paired   # also PSNR and SSIM, by name",
    "dabfusion evaluate --table scores/mine scores/theirs   # side by side, if measured alike",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", nargs="*", type=Path, help="a folder of videos")
    parser.add_argument(
        "--reference", type=Path, metavar="FOLDER", help="true videos to measure the distance to"
    )
    parser.add_argument(
        "--paired",
        action="store_true",
        help="with --reference: PSNR and SSIM of each video against the true one of its name",
    )
    parser.add_argument("--out", type=Path, help="where to write (default: FOLDER/evaluation)")
    parser.add_argument("--size", type=int, default=128, help="longer side scored, pixels (128)")
    parser.add_argument("--fps", type=float, help="frames a second (default: each video's own)")
    parser.add_argument("--seconds", type=float, help="score only the first so many seconds")
    parser.add_argument("--flow", choices=["farneback", "dis"], default="farneback")
    parser.add_argument(
        "--beats", type=Path, metavar="FOLDER", help="beat files NAME.txt that win over tracking"
    )
    parser.add_argument(
        "--extractor",
        type=Path,
        metavar="FILE",
        help="network for --reference: TorchScript, or .safetensors of `dabfusion study features` "
        "(default: the one that ships, trained on rendered dancers)",
    )
    parser.add_argument(
        "--extractor-call",
        choices=["plain", "i3d"],
        default="plain",
        help="how that network is called (see metrics.extractors)",
    )
    parser.add_argument("--processes", type=int, default=1, help="that share the videos out (1)")
    parser.add_argument(
        "--table", nargs="+", type=Path, metavar="EVALUATION", help="put evaluations side by side"
    )
    parser.add_argument(
        "--mix", action="store_true", help="with --table: although their protocols differ"
    )


def run(args: argparse.Namespace) -> int:
    """Score a folder, or print a table of evaluations."""
    from experiments.errors import SettingsError

    if args.table:
        from experiments.evaluation.protocol import score_table

        print(score_table(args.table, args.mix))
        return 0
    if len(args.folder) != 1:
        raise SettingsError(
            f"{len(args.folder)} folders were given; expected one folder of videos, or --table "
            "with evaluations."
        )
    _check(args)
    from experiments.config.run import RunSettings
    from experiments.processes.ranks import find_ranks, start_ranks

    shared = RunSettings(accelerator="cpu", devices=args.processes)
    status = start_ranks(shared, "give the same command again")
    return _evaluate(args, find_ranks(shared)) if status is None else status


def _check(args: argparse.Namespace) -> None:
    from experiments.errors import SettingsError

    for name, least in (("size", 16), ("fps", 1), ("seconds", 0.1), ("processes", 1)):
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise SettingsError(f"--{name} is {value}; expected at least {least}.")
    if args.paired and args.reference is None:
        raise SettingsError("--paired was given alone; give the true videos with --reference.")
    for name in ("beats", "extractor", "reference"):
        path = getattr(args, name)
        if path is not None and not path.exists():
            raise FileNotFoundError(2, "No such file or directory", str(path))


def _evaluate(args: argparse.Namespace, ranks: Ranks) -> int:
    from experiments.errors import SettingsError
    from experiments.evaluation.clips import clip_rows, summarise
    from experiments.evaluation.folder import FolderOptions, score_folder, videos_in
    from experiments.evaluation.paired import PROTOCOL, find_partners
    from experiments.evaluation.protocol import build_protocol, interval_text, write_evaluation
    from experiments.processes.progress import shown_progress
    from experiments.processes.ranks import is_main_rank
    from metrics.functional.optical_flow import FlowMethod

    flow: FlowMethod = args.flow
    options = FolderOptions(args.size, args.fps, args.seconds, flow, args.beats)
    folder = args.folder[0]
    out = args.out or folder / "evaluation"
    for place in [] if args.reference is None else [folder, args.reference]:
        if len(videos_in(place)) < 2:  # said before the scoring, not after it
            raise SettingsError(f'"{place}" holds one video; a distance needs at least two.')
    partners = find_partners(folder, args.reference, options) if args.paired else None
    more = None if partners is None else partners.scores
    with shown_progress("Scoring") as progress:
        scores = score_folder(folder, options, progress, ranks, more)
    if not is_main_rank():
        return 0
    for failure in scores.failures:
        print(f"Left out: {failure.name}: {failure.reason}", file=sys.stderr)
    if not scores.clips:
        raise SettingsError(
            f'None of the {len(scores.failures)} videos in "{folder}" could be scored; the '
            "reasons are above."
        )
    distances, described = None, None
    if args.reference is not None:
        from experiments.evaluation.reference import compare_folders

        distances, described = compare_folders(
            folder, args.reference, options, args.extractor, args.extractor_call
        )
    rows = clip_rows(scores.clips)
    means = summarise(rows)
    protocol = build_protocol(scores, options, described, PROTOCOL if args.paired else None)
    failures = [vars(failure) for failure in scores.failures]
    write_evaluation(out, protocol, rows, means, failures, distances)
    print(f"{len(rows)} videos, {len(failures)} left out, protocol {protocol['hash']}")
    for name in means:
        print(f"  {name:20}{interval_text(means[name])}")
    for name, value in (distances or {}).items():
        print(f"  {name:20}{interval_text(value)}")
    print(f"Written to {out}: clips.csv, clips.parquet, scores.json, protocol.json")
    return 0
