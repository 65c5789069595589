"""`dabfusion study flow`: how accurate is stage 1's latent flow?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = """How accurate is stage 1's flow? Against the truth, an independent flow, and rivals.

On rendered dancers the true flow is known: end-point and angular errors, hidden areas, pictures,
motion over time, in-between poses, and whether timing survives, by genre and speed. On real clips
(--videos) the flow is set beside OpenCV's. Rivals: copying the reference, which is zero flow.
Writes report.md, flow.png and results.json."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("autoencoder", type=Path, help="run or export folder of stage 1")
    parser.add_argument("--clips", type=int, default=40, help="rendered dances (default: 40)")
    parser.add_argument("--frames", type=int, default=20, help="frames a clip (default: 20)")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the rendered set")
    parser.add_argument(
        "--videos", type=Path, help="folder of videos (any names) to compare with optical flow on"
    )
    parser.add_argument("--out", type=Path, default=Path("flow-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Measure, summarise, write the report."""
    from experiments.errors import SettingsError
    from experiments.results import write_text
    from experiments.studies.flow_rendered import measure_rendered
    from experiments.studies.flow_report import draw_groups, summaries, write_report
    from experiments.studies.flow_videos import measure_videos
    from lightning_modules.checkpoints import load_autoencoder, read_metadata

    if args.clips < 2 or args.frames < 4:
        raise SettingsError(
            f"--clips is {args.clips} and --frames {args.frames}; expected at least 2 and 4."
        )

    def progress(done: int, total: int) -> None:
        print(f"\r{done}/{total} clips", end="" if done < total else "\n", file=sys.stderr)

    network = load_autoencoder(args.autoencoder)
    digest = read_metadata(args.autoencoder)["digest"]
    rendered = measure_rendered(
        network, args.seed, args.clips, args.frames, args.size, progress=progress
    )
    real = (
        measure_videos(network, args.videos, args.frames, args.size, progress)
        if args.videos
        else []
    )
    settings = {
        "autoencoder": digest,
        "clips": len(rendered),
        "frames": args.frames,
        "size": args.size,
        "seed": args.seed,
    }
    text = write_report(rendered, real, settings)
    draw_groups(rendered, args.out / "flow.png")
    write_text(args.out / "report.md", text)
    found = {
        "settings": settings,
        "rendered": {k: vars(v) for k, v in summaries(rendered).items()},
        "real": {k: vars(v) for k, v in summaries(real).items()},
        "clips": rendered + real,
    }
    write_text(args.out / "results.json", json.dumps(found, indent=1, default=str) + "\n")
    print(text.split("\n## ")[1])
    print(f"Written to {args.out}: report.md, flow.png, results.json")
    return 0
