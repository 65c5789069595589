"""`dabfusion study flow`: how accurate is stage 1's latent flow?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.studies.flow.report import Comparison
    from experiments.studies.flow.runs import TrainedRun
    from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

HELP = """How accurate is stage 1's flow? Against the truth, an independent flow, and rivals.

On rendered dancers the true flow is known: end-point and angular errors, hidden areas, pictures,
motion over time, in-between poses, and whether timing survives, by genre and speed. Other trainings
may stand beside it (--beside, --curves, --losses). On real clips (--videos) the flow is set beside
OpenCV's. Rivals: copying the reference, which is zero flow. Writes report.md, PNGs and
results.json."""
EXAMPLES = [
    "dabfusion study flow runs/autoencoder --size 64",
    "dabfusion study flow runs/autoencoder --videos my_videos --videos-size 128",
]

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("autoencoder", type=Path, help="run or export folder of stage 1")
    parser.add_argument("--clips", type=int, default=40, help="rendered dances (default: 40)")
    parser.add_argument("--frames", type=int, default=20, help="frames a clip (default: 20)")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the rendered set")
    for option, what in (
        ("--beside", "runs to measure on the same dances"),
        ("--curves", "more runs whose validation is drawn over steps"),
        ("--losses", "runs with other losses, the usual one first"),
    ):
        parser.add_argument(option, type=Path, nargs="+", default=[], metavar="RUN", help=what)
    parser.add_argument(
        "--videos", type=Path, help="folder of videos (any names) to compare with optical flow on"
    )
    parser.add_argument("--videos-autoencoder", type=Path, help="stage 1 for them (the same one)")
    parser.add_argument("--videos-size", type=int, help="pixels of a side for them (as --size)")
    parser.add_argument("--out", type=Path, default=Path("flow-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Measure, summarise, write the report."""
    from datamodules.files import write_text
    from experiments.errors import SettingsError
    from experiments.studies.flow.pictures import draw_dancers
    from experiments.studies.flow.report import draw_groups, summaries, write_report

    if args.clips < 2 or args.frames < 4:
        raise SettingsError(
            f"--clips is {args.clips} and --frames {args.frames}; expected at least 2 and 4."
        )
    rows, networks, compared = _rendered(args)
    rendered = rows[args.autoencoder]
    real = _real(args)
    settings = _settings(args)
    text = write_report(rendered, real, settings, compared)
    draw_groups(rendered, args.out / "flow.png")
    draw_dancers(networks, args.seed, args.frames, args.size, args.out / "dancers.png")
    write_text(args.out / "report.md", text)
    found = {
        "settings": settings,
        "rendered": {k: vars(v) for k, v in summaries(rendered).items()},
        "beside": {run.title: {k: vars(v) for k, v in of.items()} for run, of in compared.measured},
        "curves": {run.title: run.curve for run in compared.curves},
        "losses": [{"settings": _placeless(run), "val": run.final} for run in compared.losses],
        "real": {k: vars(v) for k, v in summaries(real).items()},
        "clips": rendered + real,
    }
    write_text(args.out / "results.json", json.dumps(found, indent=1, default=str) + "\n")
    print(text.split("\n## ")[1])
    print(f"Written to {args.out}: report.md, its pictures, results.json")
    return 0


def _placeless(run: TrainedRun) -> dict[str, Any]:
    """A run's settings without the folders, which say nothing elsewhere."""
    return {k: v for k, v in run.settings.items() if k not in ("data", "autoencoder", "out")}


def _rendered(
    args: argparse.Namespace,
) -> tuple[dict[Path, list[Row]], dict[str, LatentFlowAutoencoder], Comparison]:
    """Rows of every measured run, their networks by title, and what is compared."""
    from experiments.studies.flow.rendered import measure_rendered
    from experiments.studies.flow.report import Comparison, summaries
    from experiments.studies.flow.runs import draw_curves, read_run
    from lightning_modules.checkpoints import load_autoencoder

    paths = [args.autoencoder, *args.beside]
    runs = [read_run(path) for path in (paths if args.beside else [])]
    curves = [*runs, *(read_run(path) for path in args.curves)]
    losses = [read_run(path) for path in args.losses]
    rows, networks = {}, {}
    for number, path in enumerate(paths):
        network = load_autoencoder(path)
        networks[runs[number].title if runs else "found"] = network
        rows[path] = measure_rendered(
            network, args.seed, args.clips, args.frames, args.size, progress=_progress
        )
    if curves:
        draw_curves(curves, args.out / "curves.png")
    compared = zip(runs, paths, strict=True) if runs else ()
    measured = [(run, summaries(rows[path])) for run, path in compared]
    return rows, networks, Comparison(measured, curves, losses)


def _real(args: argparse.Namespace) -> list[Row]:
    from experiments.evaluation.folder import videos_in
    from experiments.studies.flow.pictures import draw_video_flows
    from experiments.studies.flow.videos import measure_videos
    from lightning_modules.checkpoints import load_autoencoder

    if args.videos is None:
        return []
    network = load_autoencoder(args.videos_autoencoder or args.autoencoder)
    size = args.videos_size or args.size
    videos = videos_in(args.videos)
    draw_video_flows(network, videos, args.frames, size, args.out / "videos.png")
    return measure_videos(network, videos, args.frames, size, _progress)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    from lightning_modules.checkpoints import read_metadata

    return {
        "run": _described(args.autoencoder),
        "autoencoder": read_metadata(args.autoencoder)["digest"],
        "clips": args.clips,
        "frames": args.frames,
        "size": args.size,
        "seed": args.seed,
        "videos_run": _described(args.videos_autoencoder or args.autoencoder),
        "videos_size": args.videos_size or args.size,
    }


def _described(path: Path) -> str:
    """A run by its training, an export by its digest."""
    from experiments.studies.flow.runs import read_run
    from lightning_modules.checkpoints import read_metadata

    if not (path / "metrics.jsonl").is_file():
        return f"auto-encoder {read_metadata(path)['digest']}"
    found: TrainedRun = read_run(path)
    return f"{found.title} at {found.settings['clips.size']} pixels"


def _progress(done: int, total: int) -> None:
    print(f"\r{done}/{total} clips", end="" if done < total else "\n", file=sys.stderr)
