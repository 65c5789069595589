"""`dabfusion cache`: compute once what stage 2 would otherwise compute in every epoch."""

from __future__ import annotations

import argparse
import sys

HELP = """Compute latent flow (and CLAP, Wav2CLIP) of all clips, and keep them on disk.

`dabfusion train diffusion` computes what is missing in the same way. A second run computes only
what is missing; another stage 1, clip length or data set has a store of its own. With
run.devices=N, torchrun or SLURM, several processes share the clips."""

EXAMPLES = [
    "dabfusion cache preset=aist128 data=aist autoencoder=runs/autoencoder-aist128",
    "dabfusion cache preset=aist128 data=aist autoencoder=RUN --splits train val test",
    "dabfusion cache preset=aist128 data=aist autoencoder=RUN run.devices=8     # eight GPUs",
]
SPLITS = ("train", "val", "test")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see `dabfusion settings`")
    splits = "whose clips (train val)"
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS[:2], help=splits)
    parser.add_argument("--batch-size", type=int, default=8, help="clips at a time (8)")


def run(args: argparse.Namespace) -> int:
    """Compute what is missing, with a progress bar."""
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError
    from experiments.processes.ranks import KEPT, find_ranks, is_main_rank, start_ranks
    from experiments.training.start import check_inputs

    settings = settings_from_words(args.settings)
    if args.batch_size < 1:
        raise SettingsError(f"--batch-size is {args.batch_size}, but must be at least 1.")
    if is_main_rank():
        check_inputs(settings, "diffusion")
    status = start_ranks(settings.run, KEPT)
    if status is not None:
        return status

    from experiments.caching.features import (
        cache_latent_flow,
        cache_music,
        load_stage1,
        music_stores,
    )
    from experiments.factories.data import build_clip_data
    from experiments.processes.cpu import set_up_processor
    from experiments.processes.progress import shown_progress

    set_up_processor(settings.run.threads)
    ranks, splits, batch_size = find_ranks(settings.run), tuple(args.splits), args.batch_size
    data, stage1 = build_clip_data(settings, batch_size), load_stage1(settings.autoencoder)
    with shown_progress("Latent flow") as progress:
        flow = cache_latent_flow(settings, stage1, data, splits, batch_size, ranks, progress)
    folders = {"Latent flow": flow.folder}
    music = music_stores(settings, data.index)
    if music:
        with shown_progress("Music embeddings") as progress:
            cache_music(settings, data, tuple(music.values()), splits, ranks, progress)
        folders |= {name: store.folder for name, store in music.items()}
    if is_main_rank():
        for what, folder in folders.items():
            print(f"{what} is in {folder}.", file=sys.stderr)
    return 0
