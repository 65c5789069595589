"""`dabfusion cache`: compute once what stage 2 would compute in every epoch."""

from __future__ import annotations

import argparse
import sys

HELP = """Compute latent flow (and CLAP, Wav2CLIP) of all clips, and keep them on disk.

`dabfusion train diffusion` does the same where it is missing. A second run computes what is missing
only; a changed stage 1, clip length or data set gets a store of its own."""

EXAMPLES = [
    "dabfusion cache preset=aist128 data=aist autoencoder=runs/autoencoder-aist128",
    "dabfusion cache preset=aist128 data=aist autoencoder=RUN --splits train val test",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see `dabfusion settings`")
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=["train", "val", "test"],
        default=["train", "val"],
        help="whose clips (train val)",
    )
    parser.add_argument("--batch-size", type=int, default=8, help="clips at a time (8)")


def run(args: argparse.Namespace) -> int:
    """Compute what is missing, behind a bar."""
    from experiments.config import settings_from_words
    from experiments.errors import SettingsError
    from experiments.progress import shown_progress
    from experiments.training_inputs import check_inputs

    settings = settings_from_words(args.settings)
    if args.batch_size < 1:
        raise SettingsError(f"--batch-size is {args.batch_size}, but must be at least 1.")
    check_inputs(settings, "diffusion")
    from experiments.latent_cache import cache_latent_flow
    from experiments.music_cache import cache_music, hears_encoders

    with shown_progress("Latent flow") as progress:
        store = cache_latent_flow(
            settings,
            splits=tuple(args.splits),
            batch_size=args.batch_size,
            progress=progress,
        )
    print(f"Latent flow lies in {store.folder}.", file=sys.stderr)
    if hears_encoders(settings):
        with shown_progress("Music embeddings") as progress:
            for kept in cache_music(settings, splits=tuple(args.splits), progress=progress):
                print(f"{kept.kind} lies in {kept.folder}.", file=sys.stderr)
    return 0
