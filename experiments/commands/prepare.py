"""`dabfusion prepare`: videos into a folder of small clips, beats and an index."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.preparation.prepare import PrepareReport
    from experiments.config.load import Settings

HELP = """Prepare a folder of dance videos for training.

Every video below VIDEOS is resampled by time stamp to clips.fps, fitted into a square of
clips.size pixels and stored small, with its sound; the beats of each piece of music are tracked
once, on its longest sound track. Damaged and silent videos are left out and listed with the
reason. The command can be killed at any moment; a second run goes on where it stopped. Embeddings
of the music by CLAP and Wav2CLIP are optional here: training computes those that it misses."""

EXAMPLES = [
    "dabfusion prepare AIST_VIDEOS aist preset=aist128",
    "dabfusion prepare dances dances-prepared preset=quickstart         # a rendered set",
    "dabfusion prepare AIST_VIDEOS aist --keypoints annotations/keypoints2d",
    "dabfusion prepare my_videos mine --beats my_beats --music my_songs # mBR0.txt, mBR0.mp3, ...",
    "dabfusion prepare AIST_VIDEOS aist256 clips.size=256 clips.fps=20 --workers 16",
    "dabfusion prepare AIST_VIDEOS aist preset=aist128 --embeddings music.clap_weights=clap.pt "
    "music.wav2clip=false",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("videos", type=Path, help="folder of videos, searched with all its folders")
    parser.add_argument("out", type=Path, help="folder to write, or to go on with")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="clips.fps, clips.size, clips.fit; preset; music.* with --embeddings",
    )
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 takes every core")
    parser.add_argument(
        "--beats",
        type=Path,
        metavar="FOLDER",
        help="your beats, which win over tracking: NAME.txt of a video, or MUSIC.txt of a piece, "
        "one time in seconds a line",
    )
    parser.add_argument(
        "--music",
        type=Path,
        metavar="FOLDER",
        help="whole pieces of music (MUSIC.mp3, ...), to track beats on",
    )
    parser.add_argument(
        "--keypoints", type=Path, metavar="FOLDER", help="AIST++'s keypoints2d/*.pkl, optional"
    )
    parser.add_argument(
        "--embeddings",
        action="store_true",
        help="also embed the sound of every clip, by the encoders that music.* names weights of",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare with a progress bar, then say what was left out and what to do next."""
    from datamodules.files import describe_passed_over, is_no_space
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError

    settings = replace(settings_from_words(args.settings), data=str(args.out))
    if args.workers < 0:
        raise SettingsError(f"--workers is {args.workers}, but must be 0 (all cores) or more.")
    if args.embeddings:
        _check_encoders(settings)
    try:
        report = _prepare_shown(args, settings)
        if args.embeddings:
            _embed(settings)
    except OSError as error:
        if not is_no_space(error):
            raise
        raise SettingsError(
            f"There is no space left for {args.out}; make some and run the same command again, "
            "which goes on from what is done."
        ) from error
    print(f"{report.prepared} videos are prepared in {args.out}.")
    if report.quarantined:
        print(
            f"{len(report.quarantined)} videos were left out; {args.out}/quarantine.jsonl says "
            f"why. The first: {report.quarantined[0]['reason']}"
        )
    if report.passed_over:
        print(describe_passed_over(report.passed_over))
    print(f"Next: dabfusion doctor {shlex.quote(str(args.out))}")
    return 0


def _prepare_shown(args: argparse.Namespace, settings: Settings) -> PrepareReport:
    """Prepare behind a bar with the time that is left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from experiments.factories.preparation import prepare_folder

    columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    # A single video may take longer than the half minute that is looked back on by default.
    with Progress(*columns, *times, speed_estimate_period=600.0) as bar:
        task = bar.add_task("videos", total=None)

        def show(step: str, done: int, total: int) -> None:
            if done == 0 or bar.tasks[0].description != step:
                bar.reset(task, description=step, total=total, start=True)
            bar.update(task, completed=done, total=total)

        return prepare_folder(
            args.videos,
            args.out,
            settings,
            workers=args.workers,
            beats=args.beats,
            music=args.music,
            keypoints=args.keypoints,
            progress=show,
        )


def _check_encoders(settings: Settings) -> None:
    """Refuse before hours of preparation what would be refused after them."""
    from experiments.errors import SettingsError
    from experiments.factories.music import build_encoders

    if build_encoders(settings) is None:
        raise SettingsError(
            "--embeddings has nothing to compute, because neither music.clap, music.clap_tokens "
            "nor music.wav2clip is on."
        )


def _embed(settings: Settings) -> None:
    """Embeddings of all clips into the stores that training and `dabfusion cache` look into."""
    from datamodules.splits import SPLITS
    from experiments.caching.music import cache_music, music_stores
    from experiments.factories.data import build_clip_data
    from experiments.processes.progress import shown_progress

    data = build_clip_data(settings, 1, frames="none")
    stores = tuple(music_stores(settings, data.index).values())
    with shown_progress("Music embeddings") as progress:
        cache_music(settings, data, stores, splits=SPLITS, progress=progress)
