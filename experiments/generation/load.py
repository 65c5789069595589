"""Pipelines of trained runs with their music encoders; videos and contact sheets of dances."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from datamodules.files import replacing
from experiments.factories.music import load_encoders
from experiments.generation.options import SHEETS
from lightning_modules.generation.segmentation import load_segmenter
from lightning_modules.pipeline import DabFusionPipeline, Dance

#: Frames of a contact sheet, evenly spread over the dance.
SHEET_FRAMES = 20


def load_pipeline(
    folder: Path,
    clap_weights: Path | None = None,
    wav2clip_weights: Path | None = None,
    segmenter: Path | None = None,
) -> DabFusionPipeline:
    """Load the pipeline of a run or export folder, on the GPU if there is one.

    Args:
        folder: Run or pipeline folder.
        clap_weights: For models that are conditioned on CLAP.
        wav2clip_weights: For models that are conditioned on Wav2CLIP.
        segmenter: Folder of a segmentation model; with it, people are cut out of their images.

    Raises:
        CheckpointError: The pipeline does not exist, or it needs encoders without weights.
    """
    pipe = DabFusionPipeline.from_pretrained(folder)
    if segmenter is not None:
        pipe.segmenter = load_segmenter(segmenter)
    weights = (str(path) if path else "" for path in (clap_weights, wav2clip_weights))
    pipe.encoder = load_encoders(pipe.music.needs, *weights)
    return pipe.to("cuda" if torch.cuda.is_available() else "cpu")


def finish(dance: Dance, out: Path, options: Mapping[str, Any], note: str = "") -> Dance:
    """Mark the beats if `beat_ticks` is on, write the video, and print a sentence about it.

    The sentence and a note are also the description in the video's metadata.
    """
    if options.get("beat_ticks"):
        dance = draw_beat_ticks(dance)
    shorter = too_short(dance, options.get("seconds"))
    text = f"{dance.seconds:.1f} s, {len(dance.beats)} beats in the music{shorter}."
    dance.save(out, f"{text} {note}".strip())
    print(f"{out}: {text}", file=sys.stderr)
    return dance


def too_short(dance: Dance, seconds: float | None) -> str:
    """Return ``, although N s were requested: the song ends there`` if a dance is shorter."""
    if seconds is None or dance.seconds > seconds - 1 / dance.fps:
        return ""
    return f", although {seconds:g} s were requested: the song ends there"


def draw_beat_ticks(dance: Dance) -> Dance:
    """Return the dance with a bar at the lower edge of the frames nearest to a beat."""
    frames = dance.frames.clone()
    places = torch.from_numpy(dance.beats_s * dance.fps).round().long()
    inside = places[(places >= 0) & (places < len(frames))]
    height = max(1, frames.shape[-2] // 24)
    frames[inside, :, -height:] = torch.tensor([255, 200, 0], dtype=torch.uint8)[:, None, None]
    return replace(dance, frames=frames)


def write_sheet(dance: Dance, path: Path) -> None:
    """Write frames of a dance as one image, ten in a row; `.gif` and `.webp` are animations."""
    kind = SHEETS[path.suffix.lower()]
    animated = kind in ("GIF", "WEBP")
    frames = list(dance.frames) if animated else [sheet(dance.frames)]
    first, *others = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]
    more: dict[str, Any] = (
        {"save_all": True, "append_images": others, "loop": 0} if animated else {}
    )
    with replacing(path) as temporary:
        first.save(temporary, format=kind, duration=round(1000 / dance.fps), **more)


def sheet(frames: Tensor, columns: int = 10) -> Tensor:
    """Arrange at most `SHEET_FRAMES` of (N, 3, H, W) frames: (3, rows * H, columns * W)."""
    count = min(SHEET_FRAMES, len(frames))
    chosen = frames[torch.linspace(0, len(frames) - 1, count).round().long()]
    filler = chosen.new_full((-count % columns, *chosen.shape[1:]), 255)
    rows = torch.cat((chosen, filler)).unflatten(0, (-1, columns))
    return rows.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
