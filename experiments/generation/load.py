"""Generating from trained folders: music encoders, contact sheets, beat ticks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from experiments.errors import SettingsError
from experiments.factories.scene import measure_scene
from lightning_modules.generation.people import Scene
from lightning_modules.generation.segmentation import load_segmenter
from lightning_modules.music.clap import load_clap
from lightning_modules.music.encoders import ENCODED, MusicEncoders
from lightning_modules.music.wav2clip import load_wav2clip
from lightning_modules.pipeline import DabFusionPipeline, Dance

#: Frames of a contact sheet, evenly spread over the dance, in two rows.
SHEET_FRAMES = 20
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF"}


def load_pipeline(
    folder: Path,
    clap_weights: Path | None = None,
    wav2clip_weights: Path | None = None,
    segmenter: Path | None = None,
) -> DabFusionPipeline:
    """The pipeline of a run or export folder, on the GPU if there is one.

    Args:
        folder: run or pipeline.
        clap_weights: for models that hear through CLAP.
        wav2clip_weights: for models that hear through Wav2CLIP.
        segmenter: a segmentation model's folder; with it, persons are cut out of their pictures.

    Raises:
        CheckpointError: no pipeline there, or one that needs encoders whose weights are not given.
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
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return pipe.to(device)


def scene_of(data: Path) -> Scene:
    """The scene of a prepared folder's training videos.

    Raises:
        DataError: the folder is not prepared.
        SettingsError: nothing moves in its videos.
    """
    scene = measure_scene(data)
    if scene is None:
        raise SettingsError(f"{data} shows no moving dancer; give a background picture instead.")
    return scene


def write_sheet(dance: Dance, path: Path) -> None:
    """Frames of a dance on one picture, ten a row; `.gif` and `.webp` give an animation.

    Raises:
        SettingsError: a kind of picture that is not known.
    """
    kind = sheet_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    if kind in ("GIF", "WEBP"):
        pictures = [_image(frame) for frame in dance.frames]
        pictures[0].save(
            part,
            format=kind,
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 / dance.fps),
            loop=0,
        )
    else:
        _image(sheet(dance.frames)).save(part, format=kind)
    part.replace(path)


def sheet_format(path: Path) -> str:
    """The kind of picture that a name asks for.

    Raises:
        SettingsError: one that is not known.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(_FORMATS)
        raise SettingsError(f"{path} cannot be drawn: give a name that ends in {known}.")
    return kind


def sheet(frames: Tensor, columns: int = 10) -> Tensor:
    """At most `SHEET_FRAMES` of (N, 3, H, W) frames in rows: (3, rows * H, columns * W)."""
    count = min(SHEET_FRAMES, len(frames))
    places = torch.linspace(0, len(frames) - 1, count).round().long()
    chosen = frames[places]
    empty = -count % columns
    filler = chosen.new_full((empty, *chosen.shape[1:]), 255)
    rows = torch.cat((chosen, filler)).unflatten(0, (-1, columns))
    return rows.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)


def draw_beat_ticks(dance: Dance) -> Dance:
    """The dance with a bar at the lower edge of the frames nearest to a beat."""
    frames = dance.frames.clone()
    places = torch.from_numpy(dance.beats_s * dance.fps).round().long()
    inside = places[(places >= 0) & (places < len(frames))]
    height = max(1, frames.shape[-2] // 24)
    frames[inside, :, -height:] = torch.tensor([255, 200, 0], dtype=torch.uint8)[:, None, None]
    return replace(dance, frames=frames)


def _image(frame: Tensor) -> Image.Image:
    return Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
