"""`dabfusion import-lfdm`: an LFDM or MRAA checkpoint as an auto-encoder of ours."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Convert a published LFDM or MRAA checkpoint of stage 1 into an export folder.

The architecture is read off the weights' shapes. What shapes cannot tell has LFDM's values; the
options below are for checkpoints that were configured otherwise."""

EXAMPLES = [
    "dabfusion import-lfdm RegionMM.pth exports/lfdm",
    "dabfusion import-lfdm taichi256.pth exports/taichi --no-skips",
    "dabfusion cache data=clips autoencoder=exports/lfdm",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="the .pth file")
    parser.add_argument("out", type=Path, help="folder to write the export to")
    parser.add_argument(
        "--no-skips", action="store_true", help="the generator was trained without skips"
    )
    parser.add_argument(
        "--no-sign-correction",
        action="store_true",
        help="trained without undoing flips of a region's axes (revert_axis_swap: False)",
    )
    parser.add_argument(
        "--round-heatmaps",
        type=float,
        metavar="VARIANCE",
        help="trained with round heatmaps of this variance (use_covar_heatmap: False)",
    )
    parser.add_argument(
        "--no-affine",
        action="store_true",
        help="regions have centres only (estimate_affine: False)",
    )
    parser.add_argument(
        "--temperature", type=float, help="temperature of the heatmaps' softmax (0.1)"
    )
    parser.add_argument("--padding", type=int, help="zero padding of the heatmaps' convolution (0)")


def run(args: argparse.Namespace) -> int:
    """Convert, write the export, print what was found."""
    from lightning_modules.checkpoints import autoencoder_digest, save_autoencoder
    from lightning_modules.lfdm_checkpoint import read_lfdm

    overrides: dict[str, object] = {}
    if args.no_skips:
        overrides["skips"] = False
    if args.no_sign_correction:
        overrides["correct_sign"] = False
    if args.round_heatmaps is not None:
        overrides |= {"covariance_heatmaps": False, "region_variance": args.round_heatmaps}
    if args.no_affine:
        overrides["affine"] = "none"
    if args.temperature is not None:
        overrides["temperature"] = args.temperature
    if args.padding is not None:
        overrides["region_padding"] = args.padding
    model = read_lfdm(args.checkpoint, overrides)
    save_autoencoder(model, args.out, {"imported_from": args.checkpoint.name})
    parameters = sum(p.numel() for p in model.parameters())
    config = model.config
    print(
        f"{args.out}: {parameters / 1e6:.1f} M parameters, {config['regions']} regions, background "
        f"{config['background']}, digest {autoencoder_digest(model)}."
    )
    return 0
