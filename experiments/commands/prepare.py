"""`dabfusion prepare`: convert videos to a folder of small clips, beats and an index."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.config.load import Settings

HELP = """Prepare a folder of dance videos for training.

Every video in VIDEOS and its subfolders is resampled to clips.fps by its time stamps, fitted into a
square of clips.size pixels and stored as a small video with its sound. The beats of each song are
tracked once, on its longest sound track. Damaged and silent videos are left out and listed with the
reason. The command can be killed at any time; run it again to continue. Embedding the music with
CLAP and Wav2CLIP is optional here: training computes missing embeddings."""

EXAMPLES = [
    "dabfusion prepare AIST_VIDEOS aist preset=aist128",
    "dabfusion prepare dances dances-prepared preset=quickstart         # a rendered set",
    "dabfusion prepare AIST_VIDEOS aist --keypoints annotations/keypoints2d",
    "dabfusion prepare my_videos mine --beats my_beats --music my_songs # mBR0.txt, mBR0.mp3, ...",
    "dabfusion prepare AIST_VIDEOS aist256 clips.size=256 clips.fps=20 --workers 16",
    "dabfusion prepare AIST_VIDEOS aist preset=aist128 --embeddings music.clap_weights=clap.pt "
    "music.wav2clip=false",
]


#: Options that take a folder, and their help.
_FOLDERS = {
    "beats": "beat files to use instead of tracking: NAME.txt of a video or MUSIC.txt of a song, "
    "with one time in seconds a line",
    "music": "whole songs (MUSIC.mp3, ...) to track beats on",
    "keypoints": "AIST++'s keypoints2d/*.pkl (optional)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("videos", type=Path, help="folder of videos")
    parser.add_argument("out", type=Path, help="folder to write or to continue")
    known = "clips.fps, clips.size, clips.fit; preset; music.* with --embeddings"
    parser.add_argument("settings", nargs="*", metavar="key=value", help=known)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one a core (0)")
    for name, text in _FOLDERS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=text)
    parser.add_argument(
        "--embeddings",
        action="store_true",
        help="also embed the sound of every clip, with the encoders of the music.* settings",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare the folder, then print what was left out and what to do next."""
    from datamodules.files import describe_passed_over, is_no_space
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError
    from experiments.factories.music import build_encoders
    from experiments.factories.preparation import prepare_folder

    settings = replace(settings_from_words(args.settings), data=str(args.out))
    if args.workers < 0:
        raise SettingsError(f"--workers is {args.workers}, but must be 0 (all cores) or more.")
    # Missing encoders are refused before hours of preparation, not after them.
    if args.embeddings and build_encoders(settings) is None:
        raise SettingsError(
            "--embeddings has nothing to compute, because neither music.clap, music.clap_tokens "
            "nor music.wav2clip is on."
        )
    folders = {name: getattr(args, name) for name in _FOLDERS}
    try:
        with _shown_steps() as progress:
            report = prepare_folder(
                args.videos, args.out, settings, workers=args.workers, progress=progress, **folders
            )
        if args.embeddings:
            _embed(settings)
    except OSError as error:
        if not is_no_space(error):
            raise
        raise SettingsError(
            f"There is no space left for {args.out}; free some and run the same command again to "
            "continue."
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


@contextmanager
def _shown_steps() -> Iterator[Callable[[str, int, int], None]]:
    """Show one progress bar after the other, for functions that report the step, too."""
    from experiments.processes.progress import Progress, shown_progress

    shown: dict[str, Progress] = {}
    with ExitStack() as stack:

        def show(step: str, done: int, total: int) -> None:
            if step not in shown:
                stack.close()  # ends the bar of the step before
                shown[step] = stack.enter_context(shown_progress(f"Preparing {step}"))
            shown[step](done, total)

        yield show


def _embed(settings: Settings) -> None:
    """Embed all clips; training and `dabfusion cache` use the same stores."""
    from datamodules.splits import SPLITS
    from experiments.caching.features import cache_music, music_stores
    from experiments.factories.data import build_clip_data
    from experiments.processes.progress import shown_progress

    data = build_clip_data(settings, 1, frames="none")
    stores = tuple(music_stores(settings, data.index).values())
    with shown_progress("Music embeddings") as progress:
        cache_music(settings, data, stores, splits=SPLITS, progress=progress)
