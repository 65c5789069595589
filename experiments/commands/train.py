"""`dabfusion train`: teach one stage, or go on teaching it."""

from __future__ import annotations

import argparse
import shlex
import sys

HELP = """Train a stage: the latent-flow auto-encoder, then the diffusion over its flow.

Between them, where wanted: music-adapter teaches adapters over frozen music embeddings the genres
of dance music; stage 2 takes them with music.adapter=RUN.

The run folder (out=, by default runs/STAGE-PRESET) gets the settings, a manifest, metrics as JSON
lines beside Weights & Biases, checkpoints, samples with sound and, at the end, the exported
networks. A run that was stopped in any way goes on with resume=auto, bit by bit as if it had not
been stopped."""

EXAMPLES = [
    "dabfusion train autoencoder preset=aist128 data=aist",
    "dabfusion train diffusion preset=aist128 data=aist autoencoder=runs/autoencoder-aist128",
    "dabfusion train diffusion preset=aist128 data=aist autoencoder=RUN --dry-run   # the plan",
    "dabfusion train music-adapter preset=aist128 data=aist music.clap_weights=clap.pt "
    "music.wav2clip_weights=Wav2CLIP.pt",
    "dabfusion train autoencoder preset=aist128 data=aist resume=auto               # go on",
    "dabfusion train autoencoder preset=aist128 data=aist run.devices=8             # eight GPUs",
    "torchrun --nnodes 2 --nproc-per-node 8 -m experiments.cli train autoencoder preset=aist128 "
    "data=aist",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "stage", choices=["autoencoder", "diffusion", "music-adapter"], help="what to train"
    )
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
    from experiments.config.load import settings_from_words
    from experiments.processes.ranks import RESUME, find_ranks, is_main_rank, start_ranks
    from experiments.training.checks import check_inputs
    from experiments.training.resume import decide_start

    settings = settings_from_words(args.settings)
    if is_main_rank():
        check_inputs(settings, args.stage)
    if args.dry_run:
        from experiments.training.plan import print_plan

        print_plan(settings, args.stage, probe=not args.no_probe)
        return 0
    if not find_ranks(settings.run).started:
        decide_start(settings, args.stage, 0)  # refuse in one voice, before the ranks start
    status = start_ranks(settings.run, RESUME)
    if status is not None:
        return status
    from experiments.training.train import train_stage

    folder = train_stage(settings, args.stage)
    if is_main_rank():
        print(f"Trained: {folder.path} (its networks are in {folder.export}).", file=sys.stderr)
        if args.stage == "music-adapter":
            from experiments.training.adapter import REPORT, print_report

            print_report(folder.export / REPORT)
        print(_next(args.stage, folder.path.as_posix(), settings.data))
    return 0


def _next(stage: str, folder: str, data: str) -> str:
    folder, data = shlex.quote(folder), shlex.quote(data)
    if stage == "autoencoder":
        return f"Next: dabfusion train diffusion data={data} autoencoder={folder} preset=..."
    if stage == "music-adapter":
        return f"Next: dabfusion train diffusion data={data} music.adapter={folder} preset=..."
    return f"Next: dabfusion generate {folder} PICTURE SONG dance.mp4"
