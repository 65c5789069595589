"""Files of a saved pipeline in addition to its networks: index, model card and scene."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from datamodules.files import replacing, write_text
from datamodules.options.clips import ClipOptions
from lightning_modules.errors import CheckpointError
from lightning_modules.generation.model_card import model_card
from lightning_modules.generation.people import Scene
from lightning_modules.options.diffusion import SamplingOptions

CLASS_NAME = "DabFusionPipeline"
FORMAT_VERSION = 1
INDEX_NAME = "model_index.json"
SCENE = "scene"


@dataclass(frozen=True)
class PipelineSettings:
    """The clip format the networks were trained on, and the defaults of sampling."""

    fps: float = ClipOptions.fps
    frames: int = ClipOptions.frames
    """Frames of a window."""
    size: int = ClipOptions.size
    """Side of the square frames in pixels."""
    fit: Literal["letterbox", "crop"] = ClipOptions.fit
    """How images are put into the square, as in training: letterbox or crop."""
    solver: str = SamplingOptions.solver
    steps: int = SamplingOptions.steps
    guidance_scale: float = SamplingOptions.guidance_scale
    image_guidance_scale: float = SamplingOptions.image_guidance_scale
    overlap: int = SamplingOptions.overlap
    """Frames by which windows of a long song overlap."""
    window_batch: int = SamplingOptions.window_batch


def write_index(folder: Path, settings: PipelineSettings, notes: Mapping[str, Any]) -> None:
    """Write `README.md` and then `model_index.json`, without which a folder is incomplete."""
    index = {
        "_class_name": CLASS_NAME,
        "format_version": FORMAT_VERSION,
        "settings": asdict(settings),
        "notes": dict(notes),
    }
    write_text(folder / "README.md", model_card(asdict(settings), notes))
    write_text(folder / INDEX_NAME, json.dumps(index, indent=2, default=str) + "\n")


def read_index(path: Path) -> tuple[Path, PipelineSettings, dict[str, Any]]:
    """Find a pipeline and read its index.

    Args:
        path: The pipeline's folder, or a run folder with the pipeline in `export/`.

    Returns:
        The pipeline's folder, its settings and its notes.

    Raises:
        CheckpointError: The pipeline does not exist, has another version, or its index is damaged.
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
                f"{path / INDEX_NAME} has {key} = {index.get(key)!r}, but this version reads "
                f"{expected!r}: export the run again with this version."
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
    with replacing(path / "background.png") as part:
        Image.fromarray(scene.background.permute(1, 2, 0).contiguous().numpy()).save(part, "PNG")
    write_text(path / "scene.json", json.dumps(place, indent=2) + "\n")


def read_scene(folder: Path) -> Scene | None:
    """Read the scene in a pipeline's folder; None if it has none.

    Raises:
        CheckpointError: Its files are damaged.
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
