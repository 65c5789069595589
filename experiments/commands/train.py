"""`dabfusion train`: train one stage, or resume its training."""

from __future__ import annotations

import argparse
import shlex
import sys

HELP = """Train a stage: the latent-flow autoencoder, then the diffusion over its flow.

Optionally in between: music-adapter trains adapters over frozen music embeddings to recognize dance
genres; stage 2 uses them with music.adapter=RUN.

The run folder (out=, by default runs/STAGE-PRESET) gets the settings, a manifest, metrics as JSON
lines in addition to Weights & Biases, checkpoints, samples with sound and, at the end, the exported
networks. A run that was stopped in any way continues with resume=auto, with the same result, bit by
bit, as if it had not been stopped."""

EXAMPLES = [
    "dabfusion train autoencoder preset=aist128 data=aist",
    "dabfusion train diffusion preset=aist128 data=aist autoencoder=runs/autoencoder-aist128",
    "dabfusion train diffusion preset=aist128 data=aist autoencoder=RUN --dry-run   # the plan",
    "dabfusion train music-adapter preset=aist128 data=aist music.clap_weights=clap.pt "
    "music.wav2clip_weights=Wav2CLIP.pt",
    "dabfusion train autoencoder preset=aist128 data=aist resume=auto               # resume",
    "dabfusion train autoencoder preset=aist128 data=aist run.devices=8             # eight GPUs",
    "torchrun --nnodes 2 --nproc-per-node 8 -m experiments.cli train autoencoder preset=aist128 "
    "data=aist",
]

#: What to do after each stage.
_NEXT = {
    "autoencoder": "dabfusion train diffusion data={data} autoencoder={run} preset=...",
    "music-adapter": "dabfusion train diffusion data={data} music.adapter={run} preset=...",
    "diffusion": "dabfusion generate {run} IMAGE SONG dance.mp4",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("stage", choices=list(_NEXT), help="what to train")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see `dabfusion settings`")
    dry_run = "print the plan (steps, memory, disk, time) and stop"
    parser.add_argument("--dry-run", action="store_true", help=dry_run)
    no_probe = "with --dry-run: leave out the timing of a few steps"
    parser.add_argument("--no-probe", action="store_true", help=no_probe)


def run(args: argparse.Namespace) -> int:
    """Check the settings, then train, or print the plan."""
    from experiments.config.load import settings_from_words
    from experiments.processes.ranks import RESUME, is_main_rank, start_ranks
    from experiments.training.start import find_start

    settings = settings_from_words(args.settings)
    # Refuse before Lightning is loaded, and before the other processes are started.
    find_start(settings, args.stage, 0)
    if args.dry_run:
        from experiments.training.plan import print_plan

        print_plan(settings, args.stage, probe=not args.no_probe)
        return 0
    status = start_ranks(settings.run, RESUME)
    if status is not None:
        return status
    from experiments.training.adapter import REPORT, print_report
    from experiments.training.train import train_stage

    folder = train_stage(settings, args.stage)
    if is_main_rank():
        print(f"Trained: {folder.path} (its networks are in {folder.export}).", file=sys.stderr)
        if args.stage == "music-adapter":
            print_report(folder.export / REPORT)
        run_name, data = shlex.quote(folder.path.as_posix()), shlex.quote(settings.data)
        print(f"Next: {_NEXT[args.stage].format(run=run_name, data=data)}")
    return 0
