"""`dabfusion train`: teach one stage, or go on teaching it."""

from __future__ import annotations

import argparse
import sys

HELP = """Train a stage: the latent-flow auto-encoder, then the diffusion over its flow.

The run folder (out=, by default runs/STAGE-PRESET) gets the settings, a manifest, metrics as JSON
lines beside Weights & Biases, checkpoints, samples with sound and, at the end, the exported
networks. A run that was stopped in any way goes on with resume=auto, bit by bit as if it had not
been stopped."""

EXAMPLES = [
    "dabfusion train autoencoder preset=aist128 data=aist",
    "dabfusion train diffusion preset=aist128 data=aist autoencoder=runs/autoencoder-aist128",
    "dabfusion train diffusion preset=aist128 data=aist autoencoder=RUN --dry-run   # the plan",
    "dabfusion train autoencoder preset=aist128 data=aist resume=auto               # go on",
    "dabfusion train autoencoder preset=aist128 data=aist run.devices=8             # eight GPUs",
    "torchrun --nnodes 2 --nproc-per-node 8 -m experiments.cli train autoencoder preset=aist128 "
    "data=aist",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("stage", choices=["autoencoder", "diffusion"], help="what to train")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see `dabfusion settings`")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan (steps, memory, disk, time) and stop"
    )
    parser.add_argument(
        "--no-probe",
        action="store_true",
        help="with --dry-run: leave out the timing of a few steps",
    )


def run(args: argparse.Namespace) -> int:
    """Check, then train, or print the plan."""
    from experiments.config import settings_from_words
    from experiments.errors import SettingsError
    from experiments.training_inputs import check_inputs
    from experiments.training_ranks import find_ranks, is_main_rank, launch
    from experiments.training_resume import decide_start

    settings = settings_from_words(args.settings)
    if is_main_rank():
        check_inputs(settings, args.stage)
    if args.dry_run:
        from experiments.training_plan import print_plan

        print_plan(settings, args.stage, probe=not args.no_probe)
        return 0
    ranks = find_ranks(settings)
    if ranks.nodes > 1 and not ranks.started:
        raise SettingsError(
            f"run.nodes={ranks.nodes} needs this command started on each of them by torchrun or "
            "SLURM; `dabfusion train --help` has an example."
        )
    if ranks.world > 1 and not ranks.started:
        decide_start(settings, args.stage, 0)  # refuse in one voice, before the ranks start
        if args.stage == "diffusion":
            from experiments.training_parts import cache_for_training

            cache_for_training(settings, alone=True)
        return launch(ranks.devices)
    from experiments.training import train_stage

    folder = train_stage(settings, args.stage)
    if is_main_rank():
        print(f"Trained: {folder.path} (its networks are in {folder.export}).", file=sys.stderr)
        print(_next(args.stage, folder.path.as_posix(), settings.data))
    return 0


def _next(stage: str, folder: str, data: str) -> str:
    if stage == "autoencoder":
        return f"Next: dabfusion train diffusion data={data} autoencoder={folder} preset=..."
    return f"Next: dabfusion generate {folder} PICTURE SONG dance.mp4"
