"""`dabfusion import-lfdm` and `export-lfdm`: checkpoints of LFDM's and MRAA's own code."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.arguments import Command


def _add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare arguments; every option that is given overrides the network's setting `dest`."""

    def override(option: str, text: str, **keywords: object) -> None:
        parser.add_argument(option, default=argparse.SUPPRESS, help=text, **keywords)  # type: ignore[arg-type]

    parser.add_argument("checkpoint", type=Path, help="the .pth file")
    parser.add_argument("out", type=Path, help="folder to write the export to")
    text = "generator trained without skip connections"
    override("--no-skips", text, dest="skips", action="store_false")
    text = "trained without undoing flips of a region's axes (revert_axis_swap: False)"
    override("--no-sign-correction", text, dest="correct_sign", action="store_false")
    text = "trained with round heatmaps of this variance (use_covar_heatmap: False)"
    override("--round-heatmaps", text, type=float, metavar="VARIANCE")
    text = "regions have centers only (estimate_affine: False)"
    override("--no-affine", text, dest="affine", action="store_const", const="none")
    override("--temperature", "softmax temperature of the heatmaps (default: 0.1)", type=float)
    text = "zero padding of the heatmaps' convolution (default: 0)"
    override("--padding", text, dest="region_padding", metavar="PADDING", type=int)


def _run_import(args: argparse.Namespace) -> int:
    """Convert a checkpoint, write the export and print what was found."""
    from lightning_modules.checkpoints import autoencoder_digest, save_autoencoder
    from lightning_modules.lfdm_checkpoint import read_lfdm

    overrides = {k: value for k, value in vars(args).items() if k not in ("checkpoint", "out")}
    if "round_heatmaps" in overrides:
        variance = overrides.pop("round_heatmaps")
        overrides |= {"covariance_heatmaps": False, "region_variance": variance}
    model = read_lfdm(args.checkpoint, overrides)
    save_autoencoder(model, args.out, {"imported_from": args.checkpoint.name})
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{args.out}: {parameters / 1e6:.1f} M parameters, {model.config['regions']} regions, "
        f"background {model.config['background']}, digest {autoencoder_digest(model)}."
    )
    return 0


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("autoencoder", type=Path, help="run or export folder of stage 1")
    parser.add_argument("out", type=Path, help=".pth file to write")


def _run_export(args: argparse.Namespace) -> int:
    """Convert an autoencoder and print what was written."""
    from lightning_modules.checkpoints import load_autoencoder
    from lightning_modules.lfdm_checkpoint import write_lfdm

    print(write_lfdm(load_autoencoder(args.autoencoder), args.out))
    return 0


IMPORT = Command(
    HELP="""Convert a published LFDM or MRAA checkpoint of stage 1 to an export folder.

The architecture is inferred from the shapes of the weights. Options that have no effect on shapes
default to LFDM's values; the flags below are for checkpoints that were configured otherwise.""",
    EXAMPLES=[
        "dabfusion import-lfdm RegionMM.pth exports/lfdm",
        "dabfusion import-lfdm taichi256.pth exports/taichi --no-skips",
        "dabfusion cache data=clips autoencoder=exports/lfdm",
    ],
    add_arguments=_add_import_arguments,
    run=_run_import,
)

EXPORT = Command(
    HELP="""Convert an autoencoder to a checkpoint that LFDM's and MRAA's own code loads.

The autoencoder must have the published architecture; the compact presets have parts that the
published code does not have.""",
    EXAMPLES=["dabfusion export-lfdm runs/autoencoder lfdm.pth"],
    add_arguments=_add_export_arguments,
    run=_run_export,
)
