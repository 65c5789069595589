"""`dabfusion download`: published weights, only when a user requests them."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Download published weights and check their SHA-256; no other command downloads anything.

vgg19: torchvision's VGG-19 (548 MiB) for the published perceptual loss of stage 1."""

EXAMPLES = [
    "dabfusion download vgg19 vgg19.pth",
    "dabfusion train autoencoder preset=aist128 data=clips stage1.loss.vgg_weights=vgg19.pth",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("what", choices=["vgg19"], help="which weights")
    parser.add_argument("out", type=Path, help="file to write, or a folder for it")
    parser.add_argument("--url", default="", help="another address of the same file")


def run(args: argparse.Namespace) -> int:
    """Download the file, check it, and print where it is."""
    from experiments.generation.downloads import PUBLISHED, download
    from experiments.processes.progress import shown_progress

    file = PUBLISHED[args.what]
    path = args.out / file.name if args.out.is_dir() else args.out
    with shown_progress(file.name) as progress:
        fetched = download(file, path, args.url, progress)
    print(f"{path}: {file.name} of {file.terms}" + ("." if fetched else "; it existed already."))
    return 0
