"""`dabfusion study flow`: how accurate is the latent flow of stage 1?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from datamodules.synthetic.dataset import DanceSpec
    from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

HELP = """How accurate is the flow of stage 1? Errors against the true flow and optical flow.

The true flow of rendered dancers is known: end-point and angular errors, hidden areas, frames,
motion over time, poses in between, and whether timing is preserved, by genre and speed. Other runs
can be compared (--beside, --curves, --losses). On real clips (--videos) the flow is compared to
OpenCV's. Baseline: copying the reference, which is zero flow. Writes report.md, PNG files and
results.json."""
EXAMPLES = [
    "dabfusion study flow runs/autoencoder --size 64",
    "dabfusion study flow runs/autoencoder --videos my_videos --videos-size 128",
]


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
        ("--losses", "runs with other losses, the default one first"),
    ):
        parser.add_argument(option, type=Path, nargs="+", default=[], metavar="RUN", help=what)
    parser.add_argument(
        "--videos", type=Path, help="folder of videos (any names) to compare with optical flow on"
    )
    parser.add_argument("--videos-autoencoder", type=Path, help="stage 1 for them (the same one)")
    parser.add_argument("--videos-size", type=int, help="pixels of a side for them (as --size)")
    parser.add_argument("--out", type=Path, default=Path("flow-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Measure and write the report."""
    from experiments.errors import SettingsError
    from experiments.processes.progress import shown_progress
    from experiments.studies.flow import clips, report
    from experiments.studies.page import write_results
    from lightning_modules.checkpoints import load_autoencoder, read_metadata

    if args.clips < 2 or args.frames < 4:
        raise SettingsError(
            f"--clips is {args.clips} and --frames {args.frames}; expected at least 2 and 4."
        )
    paths = [args.autoencoder, *args.beside]
    runs = [report.read_run(path) for path in paths] if args.beside else []
    curves = [*runs, *map(report.read_run, args.curves)]
    losses = list(map(report.read_run, args.losses))
    videos_from = args.videos_autoencoder or args.autoencoder
    videos_size = args.videos_size or args.size
    videos = {}
    if args.videos is not None:
        videos = clips.read_videos(args.videos, args.frames, videos_size)
    specs = clips.dance_specs(args.seed, args.clips, args.frames, args.size)
    networks = [load_autoencoder(path) for path in paths]
    rows = []
    for network in networks:
        with shown_progress("Rendered dances") as progress:
            rows.append(clips.measure_rendered(network, specs, progress))
    real: list[dict[str, Any]] = []
    if videos:
        network = load_autoencoder(videos_from)
        with shown_progress("Videos") as progress:
            real = clips.measure_videos(network, videos, progress)
        draw_video_flows(network, videos, args.out / "videos.png")
    measured = zip(runs, rows, strict=True) if runs else ()
    results = {
        "settings": {
            "run": _described(args.autoencoder),
            "autoencoder": read_metadata(args.autoencoder)["digest"],
            **{name: getattr(args, name) for name in ("clips", "frames", "size", "seed")},
            "videos_run": _described(videos_from),
            "videos_size": videos_size,
        },
        "rendered": _plain(rows[0]),
        "beside": {run["title"]: _plain(of) for run, of in measured},
        "curves": {run["title"]: run["curve"] for run in curves},
        "losses": [{"settings": _without_folders(run), "val": run["val"]} for run in losses],
        "real": _plain(real),
        "clips": rows[0] + real,
    }
    text = report.page(results, args.command)
    write_results(args.out, text, results, ("report.md", "results.json"))
    report.draw_groups(rows[0], args.out / "flow.png")
    if curves:
        report.draw_curves(curves, args.out / "curves.png")
    titles = [run["title"] for run in runs] or ["found"]
    draw_dancers(dict(zip(titles, networks, strict=True)), specs, args.out / "dancers.png")
    print(text.split("\n## ")[1])
    print(f"Written to {args.out}: report.md, its figures, results.json")
    return 0


def _plain(rows: list[dict[str, Any]]) -> dict[str, Any]:
    from experiments.studies.flow.report import summaries

    return {name: vars(value) for name, value in summaries(rows).items()}


def _without_folders(run: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run without its folders, which have no meaning elsewhere."""
    return {k: v for k, v in run["settings"].items() if k not in ("data", "autoencoder", "out")}


def _described(path: Path) -> str:
    """Describe a run by its training, an export by its digest."""
    from experiments.studies.flow.report import read_run
    from lightning_modules.checkpoints import read_metadata

    if not (path / "metrics.jsonl").is_file():
        return f"autoencoder {read_metadata(path)['digest']}"
    found = read_run(path)
    return f"{found['title']} at {found['settings']['clips.size']} pixels"


def draw_dancers(
    networks: Mapping[str, LatentFlowAutoencoder], specs: list[DanceSpec], path: Path
) -> None:
    """Draw four dances: reference, driving frame, each network's frame and flow, and true flow.

    Each dance is shown at the frame that differs most from its reference.
    """
    from dataclasses import replace

    import torch

    from datamodules.batch import to_unit
    from datamodules.synthetic.dataset import dance_names, render_clip
    from experiments.studies.flow.clips import true_flow
    from experiments.studies.flow.measure import pixel_flow
    from lightning_modules.viz import flow_colors

    size = specs[0].size
    names = dance_names(specs[0].seed, 0)
    rows = []
    for name in names[:: max(1, len(names) // 4)][:4]:
        clip = render_clip(replace(specs[0], name=name))
        video = to_unit(clip.frames)
        at = _farthest(video)
        true = true_flow(clip, [at], size)[0][0]
        largest = float(true.norm(dim=-1).max())
        row = {"reference": video[0], "driving": video[at]}
        flows = {"true flow": flow_colors(true, largest)}
        for title, network in networks.items():
            with torch.no_grad():
                output = network(video[:1], video[None, at : at + 1])
            row[f"frame\n{title}"] = output.prediction[0, 0]
            found = pixel_flow(network, output.latent_flow[0], size)[0]
            flows[f"flow\n{title}"] = flow_colors(found, largest)
        rows.append(row | flows)
    _draw_sheet(rows, path)


def draw_video_flows(
    network: LatentFlowAutoencoder, videos: Mapping[str, Tensor], path: Path
) -> None:
    """Draw the flow of each video's frame that differs most from the first, and optical flow.

    Only the colors of the motion are drawn, so that nobody's image is shown.
    """
    import torch

    from experiments.studies.flow.clips import METHODS, optical_flow
    from experiments.studies.flow.measure import pixel_flow
    from lightning_modules.viz import flow_colors

    rows = []
    for video in videos.values():
        pair = video[[0, _farthest(video)]]
        with torch.no_grad():
            latent = network.flow(video[:1], pair[None, 1:])[0]
        flows = {"found": pixel_flow(network, latent, video.shape[-1])[0]}
        flows |= {method: optical_flow(pair, method)[1] for method in METHODS}
        lengths = torch.stack([flow.norm(dim=-1) for flow in flows.values()])
        largest = float(lengths.quantile(0.99))
        rows.append({title: flow_colors(flow, largest) for title, flow in flows.items()})
    _draw_sheet(rows, path)


def _farthest(video: Tensor) -> int:
    """Number of the frame that differs most from the first one."""
    return int((video - video[:1]).abs().mean(dim=(1, 2, 3)).argmax())


def _draw_sheet(rows: list[dict[str, Tensor]], path: Path) -> None:
    """Draw a grid of images (3, H, W) with the titles of the first row, and the color wheel."""
    from experiments.studies.page import new_figure, save_figure
    from lightning_modules.viz import color_wheel

    columns = len(rows[0]) + 1
    figure, panels = new_figure(len(rows), columns, 1.25 * columns, 1.25 * len(rows) + 0.4)
    for axes in panels:
        axes.axis("off")
    for number, row in enumerate(rows):
        for axes, (title, image) in zip(panels[number * columns :], row.items(), strict=False):
            axes.imshow(image.clamp(0, 1).movedim(0, -1).numpy(), interpolation="nearest")
            axes.set_title(title if number == 0 else "", fontsize=7)
    panels[columns - 1].imshow(color_wheel(64).movedim(0, -1).numpy())
    panels[columns - 1].set_title("direction\nof motion", fontsize=7)
    save_figure(figure, path)
