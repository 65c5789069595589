"""What data costs: preparing videos against decoding them, loading clips against reading them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from experiments.arguments import Parser

SIZE, FRAMES, FPS = 128, 40, 10.0
INDEX_ROWS = 40_000
#: What the numbers are held to.
BARS = {
    "prepare": {
        "cpu_share": "above 0.85",
        "cpu_share_wanted": "above 0.85",
        "cost_against_decoding": "at most 1.3",
    },
    "load": {
        "clips_per_minute_per_core": "at least 3000",
        "ratio_to_decord": "at least 0.7",
        "ratio_to_av": "at least 0.7",
    },
    "index": {"load_s": "below 1"},
}


def run(options: list[str]) -> dict[str, Any]:
    """Render (or take over) videos, prepare them, load clips of them, load a large index.

    Args:
        options: see `dabfusion benchmark data --help`.

    Returns:
        Settings, load of the machine, and the numbers of `prepare`, `load` and `index`.
    """
    parser = Parser("dabfusion benchmark data", __doc__ or "")
    parser.add_argument("--videos", type=int, default=40, help="1080p videos to prepare (40)")
    parser.add_argument(
        "--distinct", type=int, default=0, help="of them rendered, the others copied; 0 for all"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each (8)")
    parser.add_argument("--fps", type=int, default=60, help="their frames a second (60)")
    parser.add_argument("--height", type=int, default=1080, help="their height in pixels (1080)")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 takes every core")
    parser.add_argument("--clips", type=int, default=400, help="clips to load (400)")
    parser.add_argument(
        "--folder", type=Path, help="keep the rendered videos here, and use those that are there"
    )
    args = parser.parse(options)
    if args.seconds * FPS < FRAMES or args.videos < 1 or args.clips < 1:
        parser.error("--seconds must be 4 or more, --videos and --clips at least 1")
    args.workers = args.workers or len(os.sched_getaffinity(0))
    args.distinct = min(args.distinct or args.videos, args.videos)
    import torch

    torch.set_num_threads(1)
    from datamodules.index import DatasetSettings
    from datamodules.windows import WindowRule
    from experiments.benchmarks.data_load import measure_index, measure_load
    from experiments.benchmarks.data_prepare import measure_prepare, render_videos

    with tempfile.TemporaryDirectory(prefix="dabfusion-benchmark-") as scratch:
        folder, prepared = Path(scratch), Path(scratch) / "prepared"
        videos = render_videos(
            args.folder or folder,
            args.videos,
            args.seconds,
            args.fps,
            args.height,
            args.distinct,
        )
        settings = {name: value for name, value in vars(args).items() if name != "folder"}
        numbers = {
            "settings": settings,
            "load_average_before": os.getloadavg()[0],
            "prepare": measure_prepare(videos, prepared, DatasetSettings(FPS, SIZE), args.workers),
            "load": measure_load(prepared, WindowRule(FRAMES, stride=5, fps=FPS), args.clips),
            "index": measure_index(prepared, folder / "index", INDEX_ROWS),
        }
    _print(numbers)
    return numbers


def _print(numbers: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    for part, bars in BARS.items():
        table = Table(part, "", "bar")
        for name, value in numbers[part].items():
            table.add_row(name.replace("_", " "), f"{value:.4g}", bars.get(name, ""))
        Console().print(table)
