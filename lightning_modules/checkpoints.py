"""Stage 1 on disk: export, load, digest; and the published VGG-19 weights.

An export folder holds `autoencoder.safetensors` and `config.json` (format version, architecture,
digest of the weights, free metadata). Both are written atomically.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from datamodules.files import write_tensors, write_text
from lightning_modules.errors import CheckpointError
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.vgg import VGG19Pyramid
from lightning_modules.pickled import read_pickled

FORMAT = "dabfusion-autoencoder"
FORMAT_VERSION = 1
WEIGHTS_NAME = "autoencoder.safetensors"
CONFIG_NAME = "config.json"


def autoencoder_digest(model: LatentFlowAutoencoder) -> str:
    """Return 16 hex digits of the SHA-256 of architecture and weights.

    Latent flow that is cached under a digest belongs to exactly these weights.
    """
    return _digest(model.config, model.state_dict())


def save_autoencoder(
    model: LatentFlowAutoencoder, folder: Path | str, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write an export of a model.

    Args:
        model: The autoencoder.
        folder: Created if missing.
        metadata: Anything JSON can hold, such as training data, scores and settings.

    Returns:
        The folder.
    """
    folder = Path(folder)
    config = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "architecture": model.config,
        "digest": autoencoder_digest(model),
        "metadata": dict(metadata or {}),
    }
    write_tensors(folder / WEIGHTS_NAME, model.state_dict())
    write_text(folder / CONFIG_NAME, json.dumps(config, indent=2) + "\n")
    return folder


def load_autoencoder(path: Path | str) -> LatentFlowAutoencoder:
    """Load the autoencoder of a run folder or an export folder, frozen and in eval mode.

    Raises:
        CheckpointError: The export does not exist, or is of another stage or format version,
            or the weights do not fit the architecture or the digest.
    """
    folder = _export_folder(Path(path))
    config = _read_config(folder / CONFIG_NAME)
    weights = folder / WEIGHTS_NAME
    if not weights.is_file():
        raise CheckpointError(
            f"{folder} has a {CONFIG_NAME} but no {WEIGHTS_NAME}: export the run again."
        )
    try:
        model = LatentFlowAutoencoder.from_config(config["architecture"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / CONFIG_NAME} does not describe an autoencoder of this version: {error}"
        ) from error
    try:
        model.load_state_dict(load_file(weights), strict=True)
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{weights} does not hold the weights that its {CONFIG_NAME} describes ({reason})"
            ": export the run again."
        ) from error
    # Of the architecture as written: this version may have settings that the file does not name.
    if _digest(config["architecture"], model.state_dict()) != config.get("digest"):
        raise CheckpointError(
            f"{weights} and its {CONFIG_NAME} come from different exports (their digests differ)"
            ": export the run again."
        )
    return freeze(model)


def read_metadata(path: Path | str) -> dict[str, Any]:
    """Read the metadata of an export, and its `digest`."""
    config = _read_config(_export_folder(Path(path)) / CONFIG_NAME)
    return {**config.get("metadata", {}), "digest": config.get("digest")}


def freeze(model: LatentFlowAutoencoder) -> LatentFlowAutoencoder:
    """Put a model into eval mode without gradients, and return it."""
    return model.eval().requires_grad_(False)


def load_vgg19(path: Path | str) -> VGG19Pyramid:
    """Load the feature pyramid with torchvision's ImageNet weights (`vgg19-dcbb9e9d.pth`), frozen.

    If the file's name ends with the start of its SHA-256, as torchvision's does, it is checked.

    Raises:
        CheckpointError: The file does not exist, is damaged, or it is another network.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"There are no VGG-19 weights at {path}: fetch them with `dabfusion download vgg19 "
            f"{path}`, or leave stage1.loss.vgg_weights empty for the loss that needs none."
        )
    expected = path.stem.rpartition("-")[2] if "-" in path.stem else ""
    if len(expected) == 8 and not _sha256(path).startswith(expected):
        raise CheckpointError(
            f"{path} does not have the SHA-256 that is part of its name ({expected}...): it is "
            "damaged or another file; download it again."
        )
    state = read_pickled(path, "VGG-19 weights")
    pyramid = VGG19Pyramid()
    wanted = pyramid.state_dict().keys()
    published = {name: state[name] for name in wanted if isinstance(state.get(name), Tensor)}
    try:
        pyramid.load_state_dict(published)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} is not a VGG-19: its convolutions are not those of torchvision's vgg19; "
            "give torchvision's vgg19-dcbb9e9d.pth."
        ) from error
    return pyramid.eval().requires_grad_(False)


def _digest(architecture: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(dict(architecture), sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _export_folder(path: Path) -> Path:
    if not path.exists():
        raise CheckpointError(
            f"There is no folder {path}: give the run folder, or the export, of a trained "
            "autoencoder (dabfusion train autoencoder)."
        )
    folder = path / "export" if (path / "export").is_dir() else path
    if (folder / "model_index.json").is_file():
        raise CheckpointError(
            f"{path} holds a pipeline of stage 2; expected an autoencoder of stage 1: give "
            f"{folder / 'autoencoder'}, or stage 1's own run."
        )
    if not (folder / CONFIG_NAME).is_file():
        raise CheckpointError(
            f"{path} holds no exported autoencoder ({CONFIG_NAME} is missing): let its training "
            "finish, or give the folder of a finished run."
        )
    return folder


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: export the run again.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} does not describe an autoencoder of stage 1: give the export folder of "
            "`dabfusion train autoencoder`."
        )
    if config.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {config.get('version')}, but this program reads version "
            f"{FORMAT_VERSION}: use the version that wrote it, or export again."
        )
    return config
