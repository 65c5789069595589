"""The index and the model card of a saved pipeline: what lies beside the networks' folders."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from lightning_modules.errors import CheckpointError
from lightning_modules.generation.model_card import model_card
from lightning_modules.generation.people import Scene

CLASS_NAME = "DabFusionPipeline"
FORMAT_VERSION = 1
INDEX_NAME = "model_index.json"
SCENE = "scene"


@dataclass(frozen=True)
class PipelineSettings:
    """The clip format the networks were trained on, and the defaults of sampling."""

    fps: float = 10.0
    frames: int = 40
    """Frames of a window."""
    size: int = 128
    """Side of the square frames in pixels."""
    fit: Literal["letterbox", "crop"] = "letterbox"
    """How images are put into the square, as in training: letterbox or crop."""
    solver: str = "dpm++"
    steps: int = 15
    guidance_scale: float = 1.0
    image_guidance_scale: float = 1.0
    overlap: int = 10
    """Frames by which windows of a long song overlap."""
    window_batch: int = 8


def write_index(folder: Path, settings: PipelineSettings, notes: Mapping[str, Any]) -> None:
    """Write `README.md` and, last, `model_index.json`: a folder without it is no pipeline."""
    index = {
        "_class_name": CLASS_NAME,
        "format_version": FORMAT_VERSION,
        "settings": asdict(settings),
        "notes": dict(notes),
    }
    _write(folder / "README.md", model_card(asdict(settings), notes))
    _write(folder / INDEX_NAME, json.dumps(index, indent=2, default=str) + "\n")


def read_index(path: Path) -> tuple[Path, PipelineSettings, dict[str, Any]]:
    """Where a pipeline lies, its settings and notes.

    Args:
        path: its own folder, or a run folder with it in `export/`.

    Raises:
        CheckpointError: no pipeline there, another version's, or a damaged index.
    """
    if not (path / INDEX_NAME).is_file() and (path / "export" / INDEX_NAME).is_file():
        path = path / "export"
    try:
        index = json.loads((path / INDEX_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = "an autoencoder (stage 1)" if _holds_autoencoder(path) else "no pipeline"
        raise CheckpointError(
            f"{path} holds {found}: give the folder of a trained stage 2, which `dabfusion train "
            f"diffusion` exports, with its {INDEX_NAME}."
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path / INDEX_NAME} is damaged: export the run again.") from error
    known = {"_class_name": CLASS_NAME, "format_version": FORMAT_VERSION}
    for key, expected in known.items():
        if index.get(key) != expected:
            raise CheckpointError(
                f"{path / INDEX_NAME} says {key} = {index.get(key)!r}, and this version reads "
                f"{expected!r}: export it again with this version."
            )
    try:
        return path, PipelineSettings(**index["settings"]), dict(index["notes"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path / INDEX_NAME} lacks settings or has unknown ones ({error}): export it again."
        ) from error


def write_scene(folder: Path, scene: Scene) -> None:
    """Write `scene/background.png` and `scene/scene.json` into a pipeline's folder."""
    place = {"height": scene.height, "feet": scene.feet, "center": scene.center}
    path = folder / SCENE
    path.mkdir(parents=True, exist_ok=True)
    part = path / "background.png.part"
    Image.fromarray(scene.background.permute(1, 2, 0).contiguous().numpy()).save(part, "PNG")
    os.replace(part, path / "background.png")
    _write(path / "scene.json", json.dumps(place, indent=2) + "\n")


def read_scene(folder: Path) -> Scene | None:
    """The scene in a pipeline's folder; None where it has none.

    Raises:
        CheckpointError: its files are damaged.
    """
    path = folder / SCENE
    if not (path / "scene.json").is_file():
        return None
    try:
        place = json.loads((path / "scene.json").read_text(encoding="utf-8"))
        with Image.open(path / "background.png") as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
        place["center"] = place.pop("centre", place.get("center", 0.5))  # as earlier versions wrote
        return Scene(pixels.permute(2, 0, 1).contiguous(), **place)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): export the run again.") from error


def _holds_autoencoder(path: Path) -> bool:
    places = (path, path / "export", path / "autoencoder")
    return any((place / "autoencoder.safetensors").is_file() for place in places)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
