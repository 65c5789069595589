"""Pipelines of trained runs with their music encoders; contact sheets and beat marks of dances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from datamodules.files import replacing
from experiments.errors import SettingsError
from experiments.factories.scene import measure_scene
from lightning_modules.generation.people import Scene
from lightning_modules.generation.segmentation import load_segmenter
from lightning_modules.music.clap import load_clap
from lightning_modules.music.encoders import ENCODED, MusicEncoders
from lightning_modules.music.wav2clip import load_wav2clip
from lightning_modules.pipeline import DabFusionPipeline, Dance

#: Frames of a contact sheet, evenly spread over the dance.
SHEET_FRAMES = 20
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF"}


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
        CheckpointError: There is no pipeline, or it needs encoders whose weights are not given.
    """
    pipe = DabFusionPipeline.from_pretrained(folder)
    if segmenter is not None:
        pipe.segmenter = load_segmenter(segmenter)
    needs = set(pipe.music.needs)
    if needs & set(ENCODED):
        pipe.encoder = MusicEncoders(
            load_clap(clap_weights or "") if needs & {"clap", "clap_tokens"} else None,
            load_wav2clip(wav2clip_weights or "") if "wav2clip" in needs else None,
        )
    return pipe.to("cuda" if torch.cuda.is_available() else "cpu")


def scene_of(data: Path) -> Scene:
    """Return the scene of a prepared folder's training videos.

    Raises:
        DataError: The folder is not prepared.
        SettingsError: Nothing moves in its videos.
    """
    scene = measure_scene(data)
    if scene is None:
        raise SettingsError(f"{data} shows no moving dancer; give a background image instead.")
    return scene


def sheet_format(path: Path) -> str:
    """Return the image format of a file name.

    Raises:
        SettingsError: The format is not known.
    """
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(
            f"{path} cannot be drawn: give a name that ends in {', '.join(FORMATS)}."
        )
    return FORMATS[path.suffix.lower()]


def write_sheet(dance: Dance, path: Path) -> None:
    """Write frames of a dance as one image, ten in a row; `.gif` and `.webp` are animations.

    Raises:
        SettingsError: The format is not known.
    """
    kind = sheet_format(path)
    animated = kind in ("GIF", "WEBP")
    frames = list(dance.frames) if animated else [sheet(dance.frames)]
    first, *others = [
        Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()) for frame in frames
    ]
    animation = {
        "save_all": True,
        "append_images": others,
        "duration": round(1000 / dance.fps),
        "loop": 0,
    }
    with replacing(path) as temporary:
        first.save(temporary, format=kind, **(animation if animated else {}))


def sheet(frames: Tensor, columns: int = 10) -> Tensor:
    """Arrange at most `SHEET_FRAMES` of (N, 3, H, W) frames: (3, rows * H, columns * W)."""
    count = min(SHEET_FRAMES, len(frames))
    chosen = frames[torch.linspace(0, len(frames) - 1, count).round().long()]
    filler = chosen.new_full((-count % columns, *chosen.shape[1:]), 255)
    rows = torch.cat((chosen, filler)).unflatten(0, (-1, columns))
    return rows.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)


def draw_beat_ticks(dance: Dance) -> Dance:
    """Return the dance with a bar at the lower edge of the frames nearest to a beat."""
    frames = dance.frames.clone()
    places = torch.from_numpy(dance.beats_s * dance.fps).round().long()
    inside = places[(places >= 0) & (places < len(frames))]
    height = max(1, frames.shape[-2] // 24)
    frames[inside, :, -height:] = torch.tensor([255, 200, 0], dtype=torch.uint8)[:, None, None]
    return replace(dance, frames=frames)
