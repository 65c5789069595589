"""`dabfusion evaluate`: score any folder of videos with sound."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.processes.ranks import Ranks

HELP = """Score how well dance videos fit their music, whatever method made them.

Beats are tracked in each video's own sound, and motion is measured from its frames. Every score is
shown with its chance level and with the same score for shifted and for other music; intervals are
95% bootstrap intervals, resampled by song. Videos that cannot be read are listed and left out."""

EXAMPLES = [
    "dabfusion evaluate videos                          # writes videos/evaluation",
    "dabfusion evaluate videos --processes 8            # eight videos at a time",
    "dabfusion evaluate generated --reference true --out scores/mine",
    "dabfusion evaluate generated --reference true --paired   # also PSNR and SSIM, by name",
    "dabfusion evaluate --table scores/mine scores/theirs     # compare two evaluations",
]

#: Options that take a number: type, smallest value, default, help.
_NUMBERS = {
    "size": (int, 16, 128, "longer side in pixels to scale videos to (128)"),
    "fps": (float, 1, None, "frames a second (default: each video's own)"),
    "seconds": (float, 0.1, None, "score only the first seconds of each video"),
    "processes": (int, 1, 1, "videos scored at a time (1)"),
}
#: Options that take a path that must exist: metavar, help.
_PATHS = {
    "reference": (
        "FOLDER",
        "true videos to measure distances to; videos shorter than half the usual length are left "
        "out of the distances, the others are cut to the shortest",
    ),
    "beats": ("FOLDER", "beat files NAME.txt to use instead of tracking"),
    "extractor": (
        "FILE",
        "feature network for --reference: TorchScript, or .safetensors of `dabfusion study "
        "features` (default: the included one, trained on rendered dancers)",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("folder", nargs="*", type=Path, help="a folder of videos")
    for name, (metavar, text) in _PATHS.items():
        add(f"--{name}", type=Path, metavar=metavar, help=text)
    add(
        "--extractor-call",
        choices=["plain", "i3d"],
        default="plain",
        help="how that network is called (see metrics.extractors)",
    )
    add(
        "--paired",
        action="store_true",
        help="with --reference: PSNR and SSIM of each video and the true one of the same name",
    )
    add("--out", type=Path, help="folder to write (default: FOLDER/evaluation)")
    for name, (kind, _, default, text) in _NUMBERS.items():
        add(f"--{name}", type=kind, default=default, help=text)
    methods = ["farneback", "dis"]
    add("--flow", choices=methods, default=methods[0], help="optical flow method")
    add("--table", nargs="+", type=Path, metavar="EVALUATION", help="compare evaluations")
    add("--mix", action="store_true", help="with --table: even if their protocols differ")


def run(args: argparse.Namespace) -> int:
    """Score a folder, or print a table of evaluations."""
    from experiments.errors import SettingsError

    if args.table:
        from experiments.evaluation.evaluations import score_table
        from experiments.reports.tables import markdown_table

        print(markdown_table(*score_table(args.table, args.mix)))
        return 0
    if len(args.folder) != 1:
        raise SettingsError(
            f"{len(args.folder)} folders were given; expected one folder of videos, or --table "
            "with evaluations."
        )
    for name, (_, minimum, *_) in _NUMBERS.items():
        value = getattr(args, name)
        if value is not None and value < minimum:
            raise SettingsError(f"--{name} is {value}; expected at least {minimum}.")
    if args.paired and args.reference is None:
        raise SettingsError("--paired needs the true videos; add --reference FOLDER.")
    for path in (getattr(args, name) for name in _PATHS):
        if path is not None:
            path.stat()  # raises if there is none
    from experiments.config.run import RunSettings
    from experiments.processes.ranks import find_ranks, start_ranks

    shared = RunSettings(accelerator="cpu", devices=args.processes)
    status = start_ranks(shared, "give the same command again")
    return _evaluate(args, find_ranks(shared)) if status is None else status


def _evaluate(args: argparse.Namespace, ranks: Ranks) -> int:
    from datamodules.files import describe_passed_over
    from experiments.errors import SettingsError
    from experiments.evaluation.clips import clip_rows
    from experiments.evaluation.evaluations import cell, write_evaluation
    from experiments.evaluation.folder import FolderOptions, list_videos, score_folder, videos_in
    from experiments.evaluation.reference import PAIRED_PROTOCOL, compare_folders, find_partners
    from experiments.processes.progress import shown_progress
    from experiments.processes.ranks import is_main_rank

    options = FolderOptions(args.size, args.fps, args.seconds, args.flow, args.beats)
    folder = args.folder[0]
    out = args.out or folder / "evaluation"
    # Whatever can be refused is refused before the progress bar appears.
    videos, passed_over = list_videos(folder, exclude=out)
    passed_over = [item for item in passed_over if args.beats not in item.path.parents]
    true = {} if args.reference is None else videos_in(args.reference)
    for place, found in ((folder, videos), (args.reference, true)):
        if args.reference is not None and len(found) < 2:
            raise SettingsError(f'"{place}" holds one video; a distance needs at least two.')
    more = find_partners(videos, true, options).scores if args.paired else None
    with shown_progress("Scoring") as progress:
        scores = score_folder(videos, options, progress, ranks, more)
    if not is_main_rank():
        return 0
    for failure in scores.failures:
        print(f"Left out: {failure.name}: {failure.reason}", file=sys.stderr)
    if not scores.clips:
        raise SettingsError(
            f'None of the {len(scores.failures)} videos in "{folder}" could be scored; the '
            "reasons are above."
        )
    compared = None
    if args.reference is not None:
        compared = compare_folders(videos, true, options, args.extractor, args.extractor_call)
        for failure in compared.left_out:
            print(f"Left out of the distances: {failure.name}: {failure.reason}", file=sys.stderr)
    facts = scores.facts | {"reference": compared.protocol if compared else None}
    digest, means = write_evaluation(
        out,
        clip_rows(scores.clips),
        facts | ({"paired": PAIRED_PROTOCOL} if args.paired else {}),
        compared.distances if compared else None,
        failures=[vars(failure) for failure in scores.failures],
        left_out_of_distances=[vars(failure) for failure in compared.left_out] if compared else [],
        passed_over=[{"name": str(p.path), "reason": p.reason} for p in passed_over],
    )
    print(f"{len(scores.clips)} videos, {len(scores.failures)} left out, protocol {digest}")
    if passed_over:
        print(describe_passed_over(passed_over))
    for name, value in means.items():
        print(f"  {name:20}{cell(value)}")
    print(f"Written to {out}: clips.csv, clips.parquet, scores.json, protocol.json")
    return 0
