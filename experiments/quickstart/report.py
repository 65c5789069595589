"""The results of a quickstart: a table, a contact sheet, and commands to try next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from datamodules.files import replacing, write_text
from datamodules.index import Index
from experiments.quickstart.plan import QuickstartPlan
from metrics.functional import beat_f1

#: Frames of a clip in the contact sheet.
SHEET_FRAMES = 20
LABEL_PIXELS = 14
#: Rows and columns of the table by their names in `results.json`.
ROWS = {
    "corrected": "own music",
    "half_beat_off": "half a beat",
    "shifted": "16 shifts",
    "other_music": "other music",
}
COLUMNS = {"generated": "generated", "reconstructed": "stage 1 only", "true": "true clips"}
REPORT = """\
{clips} rendered clips, {clusters} songs; mean and 95% interval (bootstrap, resampled by song). \
1: on every beat, 0: chance, below 0: reliably off the beat. Stage 1 only: the true motion as \
reconstructed by the autoencoder.
Stage 1 on moving pixels: L1 {l1:.3f} against {l1_copy:.3f} for copying the image (ratio \
{l1_ratio:.2f}); PSNR {psnr:.1f} against {psnr_copy:.1f} dB.
Beat tracker against the renderer's beats: F1 {f1:.3f} within 70 ms; tempo within 4% on \
{tempo_right:.0%} of {pieces:.0f} songs."""
NEXT = """
[bold]Results[/bold] ({minutes:.1f} minutes this time)
  {out}/contact_sheet.png   true clips above generated ones
{videos}

[bold]Next[/bold]
  dabfusion generate {diffusion} IMAGE SONG dance.mp4
  dabfusion compare {autoencoder} {diffusion} --out report.html
  dabfusion prepare VIDEOS OUT     # your own dance videos, or AIST++
  dabfusion settings               # everything that can be changed"""


def print_report(plan: QuickstartPlan, seconds: float) -> None:
    """Print the table of `results.json`, where the results are, and commands to try next.

    Args:
        plan: A finished quickstart.
        seconds: How long this run took.
    """
    results: dict[str, Any] = json.loads(plan.results.read_text(encoding="utf-8"))
    scores = results["alignment"]
    console = Console()
    table = Table(
        title="2D-MM Align, corrected for chance: held-out people, held-out music",
        box=SIMPLE_HEAD,  # so that it fits 80 columns
        pad_edge=False,
    )
    table.add_column("beats")
    for heading in COLUMNS.values():
        table.add_column(heading, no_wrap=True)
    for name, label in ROWS.items():
        table.add_row(label, *(interval(scores[kind][name]) for kind in COLUMNS))
    console.print(table)
    numbers = scores["generated"]["corrected"] | results["reconstruction"] | results["beats"]
    console.print(REPORT.format(**numbers))
    videos = "\n".join(f"  {path}" for path in sorted((plan.out / "videos").glob("*.mp4")))
    places = {"out": plan.out, "diffusion": plan.diffusion, "autoencoder": plan.autoencoder}
    text = NEXT.format(minutes=seconds / 60, videos=videos, **places)
    console.print(text, highlight=False, soft_wrap=True)


def interval(value: Mapping[str, float]) -> str:
    """Format an interval as `0.33 [0.25,0.41]`."""
    return f"{value['mean']:.2f} [{value['low']:.2f},{value['high']:.2f}]"


def contact_sheet(shown: Sequence[tuple[str, Tensor, Tensor]], path: Path, scale: int = 1) -> None:
    """Draw clips as rows of frames, the true one above the generated one, with their names.

    Args:
        shown: Name, true and generated frames (T, 3, H, W) uint8 of each clip.
        path: PNG to write.
        scale: Pixels of the sheet for each pixel of the frames.
    """
    bands: list[Image.Image] = []
    for name, true, generated in shown:
        for kind, video in (("true", true), ("generated", generated)):
            strip = video[:SHEET_FRAMES].permute(2, 0, 3, 1).flatten(1, 2).numpy()
            height, width = strip.shape[:2]
            band = Image.new("RGB", (width * scale, height * scale + LABEL_PIXELS), "white")
            frames = Image.fromarray(np.ascontiguousarray(strip))
            resized = frames.resize((width * scale, height * scale), Image.Resampling.BICUBIC)
            band.paste(resized, (0, LABEL_PIXELS))
            ImageDraw.Draw(band).text((3, 1), f"{kind}: {name}", fill="black")
            bands.append(band)
    sheet = Image.new("RGB", (bands[0].width, sum(b.height for b in bands)), "white")
    top = 0
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    with replacing(path) as temporary:
        sheet.save(temporary)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write per-clip rows as CSV."""
    write_text(path, pd.DataFrame(list(rows)).to_csv(index=False, float_format="%.6f"))


def tracked_beats(index: Index) -> dict[str, float]:
    """Compare the beat tracker with the true beats of a rendered data set.

    Returns:
        `f1` of tracked against true beats within 70 ms, mean over videos; `tempo_right`, the
        fraction of songs whose tracked tempo is within 4% of that in the name; the numbers of
        `videos` and of songs (`pieces`).
    """
    true, tracked = index.beats("beats_truth"), index.beats("beats")
    scores = [
        float(beat_f1(torch.tensor(found)[None], torch.tensor(known)[None]))
        for found, known in zip(tracked, true, strict=True)
        if found is not None and known is not None
    ]
    tempi, named = (index.table[name].to_pylist() for name in ("tempo_bpm", "tempo_name_bpm"))
    right = {
        music: abs(tempo / known - 1) <= 0.04
        for music, tempo, known in zip(index.music, tempi, named, strict=True)
        if known
    }
    return {
        "f1": float(np.mean(scores)) if scores else float("nan"),
        "videos": float(len(scores)),
        "tempo_right": float(np.mean(list(right.values()))) if right else float("nan"),
        "pieces": float(len(right)),
    }
