"""`dabfusion export-lfdm`: our auto-encoder as a checkpoint of LFDM's and MRAA's format."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Convert an auto-encoder into a checkpoint that LFDM's and MRAA's own code loads.

It must have the published architecture; the compact presets have parts theirs does not know."""

EXAMPLES = ["dabfusion export-lfdm runs/autoencoder lfdm.pth"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("autoencoder", type=Path, help="run or export folder of stage 1")
    parser.add_argument("out", type=Path, help=".pth file to write")


def run(args: argparse.Namespace) -> int:
    """Convert and write."""
    from lightning_modules.checkpoints import load_autoencoder
    from lightning_modules.lfdm_checkpoint import write_lfdm

    print(write_lfdm(load_autoencoder(args.autoencoder), args.out))
    return 0
