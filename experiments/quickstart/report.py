"""The results of a quickstart: a table, a contact sheet, and commands to try next."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch
from PIL import Image, ImageDraw
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from datamodules.files import replacing, write_text
from datamodules.index import Index
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
  dabfusion generate {out}/diffusion IMAGE SONG dance.mp4
  dabfusion compare {out}/autoencoder {out}/diffusion --out report.html
  dabfusion prepare VIDEOS OUT     # your own dance videos, or AIST++
  dabfusion settings               # everything that can be changed"""


def print_report(out: Path, seconds: float) -> None:
    """Print the table of `results.json`, where the results are, and commands to try next."""
    results: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
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
        cells = [scores[kind][name] for kind in COLUMNS]
        table.add_row(label, *("{mean:.2f} [{low:.2f},{high:.2f}]".format(**c) for c in cells))
    console.print(table)
    numbers = scores["generated"]["corrected"] | results["reconstruction"] | results["beats"]
    console.print(REPORT.format(**numbers))
    videos = "\n".join(f"  {path}" for path in sorted((out / "videos").glob("*.mp4")))
    text = NEXT.format(minutes=seconds / 60, videos=videos, out=out)
    console.print(text, highlight=False, soft_wrap=True)


def contact_sheet(shown: Sequence[tuple[str, Tensor, Tensor]], path: Path) -> None:
    """Write a PNG of clips as rows of frames, the true one above the generated one, with names.

    Args:
        shown: Name, true and generated frames (T, 3, H, W) uint8 of each clip.
        path: PNG to write.
    """
    rows = [
        (f"{kind}: {name}", video[:SHEET_FRAMES])
        for name, *pair in shown
        for kind, video in zip(("true", "generated"), pair, strict=True)
    ]
    frames, _, height, width = rows[0][1].shape
    band = height + LABEL_PIXELS
    sheet = Image.new("RGB", (frames * width, len(rows) * band), "white")
    for place, (label, video) in enumerate(rows):
        strip = video.permute(2, 0, 3, 1).flatten(1, 2)  # (H, T * W, 3)
        sheet.paste(Image.fromarray(strip.numpy()), (0, place * band + LABEL_PIXELS))
        ImageDraw.Draw(sheet).text((3, place * band + 1), label, fill="black")
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
    scores = [
        float(beat_f1(torch.tensor(found)[None], torch.tensor(known)[None]))
        for found, known in zip(index.beats("beats"), index.beats("beats_truth"), strict=True)
        if found is not None and known is not None
    ]
    tempi, named = (index.table[name].to_pylist() for name in ("tempo_bpm", "tempo_name_bpm"))
    right = {
        music: abs(tempo / known - 1) <= 0.04
        for music, tempo, known in zip(index.music, tempi, named, strict=True)
        if known
    }
    return {
        "f1": fmean(scores) if scores else math.nan,
        "videos": float(len(scores)),
        "tempo_right": fmean(right.values()) if right else math.nan,
        "pieces": float(len(right)),
    }
