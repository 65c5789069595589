"""What a quickstart run ends with: a table, a contact sheet, and what to type next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

if TYPE_CHECKING:
    from datamodules.index import Index
    from experiments.quickstart.steps import QuickstartPlan

#: Frames of a clip that the contact sheet shows.
SHEET_FRAMES = 20
LABEL_PIXELS = 14


def contact_sheet(shown: Sequence[tuple[str, Tensor, Tensor]], path: Path, scale: int = 1) -> None:
    """Draw clips as rows of frames: the true one above the generated one, names beside them.

    Args:
        shown: name, true and generated frames (T, 3, H, W) uint8.
        path: PNG to write.
        scale: pixels of the sheet for one pixel of the frames.
    """
    bands: list[Image.Image] = []
    for name, true, made in shown:
        for kind, video in (("true", true), ("generated", made)):
            strip = video[:SHEET_FRAMES].permute(2, 0, 3, 1).flatten(1, 2).numpy()
            height, width = strip.shape[:2]
            band = Image.new("RGB", (width * scale, height * scale + LABEL_PIXELS), "white")
            picture = Image.fromarray(np.ascontiguousarray(strip))
            resized = picture.resize((width * scale, height * scale), Image.Resampling.BICUBIC)
            band.paste(resized, (0, LABEL_PIXELS))
            ImageDraw.Draw(band).text((3, 1), f"{kind}: {name}", fill="black")
            bands.append(band)
    sheet = Image.new("RGB", (bands[0].width, sum(b.height for b in bands)), "white")
    top = 0
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    temporary = path.with_suffix(".partial.png")
    sheet.save(temporary)
    temporary.replace(path)


def print_report(plan: QuickstartPlan, seconds: float) -> None:
    """Print the table of `results.json`, where everything is, and what to type next."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    results: dict[str, Any] = json.loads(plan.results.read_text(encoding="utf-8"))
    console = Console()
    table = Table(
        title="2D-MM Align, corrected for chance: held-out persons, held-out music",
        box=SIMPLE_HEAD,  # so that it fits 80 columns
        pad_edge=False,
    )
    table.add_column("beats")
    for heading in ("generated", "stage 1 only", "true clips"):
        table.add_column(heading, no_wrap=True)
    for key, label in (
        ("corrected", "own music"),
        ("half_beat_off", "half a beat"),
        ("shifted", "16 shifts"),
        ("other_music", "other music"),
    ):
        cells = [
            interval(results["alignment"][kind][key])
            for kind in ("generated", "reconstructed", "true")
        ]
        table.add_row(label, *cells)
    console.print(table)
    counts = results["alignment"]["generated"]["corrected"]
    console.print(
        f"{counts['clips']} rendered clips, {counts['clusters']} pieces of music; mean and 95% "
        "interval, redrawing pieces. 1: on every beat, 0: chance, below 0: reliably off the beat. "
        "Stage 1 only: the true motion as the auto-encoder draws it."
    )
    console.print(_reconstruction(results["reconstruction"]))
    console.print(_beats(results["beats"]))
    console.print(_places(plan, seconds), highlight=False, soft_wrap=True)


def interval(value: Mapping[str, float]) -> str:
    """`0.33 [0.25,0.41]`."""
    return f"{value['mean']:.2f} [{value['low']:.2f},{value['high']:.2f}]"


def _reconstruction(scores: Mapping[str, float]) -> str:
    return (
        f"Stage 1 on moving pixels: L1 {scores['l1']:.3f} against {scores['l1_copy']:.3f} for "
        f"copying the picture (ratio {scores['l1_ratio']:.2f}); PSNR {scores['psnr']:.1f} against "
        f"{scores['psnr_copy']:.1f} dB."
    )


def _beats(scores: Mapping[str, float]) -> str:
    return (
        f"Beat tracker against the renderer's beats: F1 {scores['f1']:.3f} within 70 ms; tempo "
        f"within 4% on {scores['tempo_right']:.0%} of {scores['pieces']:.0f} pieces."
    )


def _places(plan: QuickstartPlan, seconds: float) -> str:
    out = plan.out
    videos = sorted((out / "videos").glob("*.mp4"))
    lines = [
        f"\n[bold]Look[/bold] ({seconds / 60:.1f} minutes this time)",
        f"  {out / 'contact_sheet.png'}   true clips above generated ones",
        *(f"  {video}" for video in videos),
        "\n[bold]Next[/bold]",
        f"  dabfusion generate {plan.diffusion} PICTURE SONG dance.mp4",
        f"  dabfusion compare {plan.autoencoder} {plan.diffusion} --out report.html",
        "  dabfusion prepare VIDEOS OUT     # your own dance videos, or AIST++",
        "  dabfusion settings               # everything that can be changed",
    ]
    return "\n".join(lines)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write per-clip rows as CSV."""
    import pandas as pd

    from datamodules.files import write_text

    write_text(path, pd.DataFrame(list(rows)).to_csv(index=False, float_format="%.6f"))


def tracked_beats(index: Index) -> dict[str, float]:
    """How often the beat tracker was right, where the true beats are known.

    Returns:
        `f1` of tracked against true beats within 70 ms, mean over videos; `tempo_right`, the share
        of pieces whose tracked tempo is within 4% of the name's; `videos` and `pieces`.
    """
    from metrics.functional import beat_f1

    true, tracked = index.beats("beats_truth"), index.beats("beats")
    scores = [
        float(beat_f1(torch.tensor(found)[None], torch.tensor(known)[None]))
        for found, known in zip(tracked, true, strict=True)
        if found is not None and known is not None
    ]
    tempi = {
        music: abs(tempo / named - 1) <= 0.04
        for music, tempo, named in zip(
            index.music,
            index.table["tempo_bpm"].to_pylist(),
            index.table["tempo_name_bpm"].to_pylist(),
            strict=True,
        )
        if named
    }
    return {
        "f1": float(np.mean(scores)) if scores else float("nan"),
        "videos": float(len(scores)),
        "tempo_right": float(np.mean(list(tempi.values()))) if tempi else float("nan"),
        "pieces": float(len(tempi)),
    }
