"""Read and write checkpoints of LFDM and MRAA.

Their file is a pickled dictionary with the state dicts `generator` (which holds the pixelwise flow
predictor), `region_predictor` and `bg_predictor`; the architecture is inferred from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.files import replacing
from lightning_modules.checkpoints import freeze
from lightning_modules.errors import CheckpointError
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.pickled import read_pickled

_FLOW = "pixelwise_flow_predictor."
_DEFAULT_CAP = 1024
#: Buffers that old files may lack; ours are the same by construction.
_OPTIONAL = ("num_batches_tracked", "down.weight")


def read_lfdm(
    path: Path | str, overrides: Mapping[str, Any] | None = None
) -> LatentFlowAutoencoder:
    """Read an LFDM or MRAA checkpoint (.pth) into a frozen autoencoder.

    Args:
        path: The checkpoint.
        overrides: Arguments of `LatentFlowAutoencoder` that the shapes do not determine: `skips`,
            `correct_sign`, `covariance_heatmaps`, `region_variance`, `temperature`,
            `region_padding`, `affine` (`none` where it was not estimated). By default LFDM's.

    Raises:
        CheckpointError: It cannot be read, networks are missing, or the architecture is unknown.
    """
    path = Path(path)
    loaded = read_pickled(path, "an LFDM or MRAA checkpoint")
    state = _join(loaded, path)
    try:
        config = {**infer_architecture(state), **dict(overrides or {})}
        model = LatentFlowAutoencoder.from_config(config)
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not an LFDM or MRAA checkpoint of a known architecture ({error}); "
            "give the file with generator, region_predictor and bg_predictor."
        ) from error
    ours = model.state_dict()
    missing = [name for name in ours if name not in state and not name.endswith(_OPTIONAL)]
    unknown = [name for name in state if name not in ours]
    wrong = [name for name in ours if name in state and ours[name].shape != state[name].shape]
    for names, problem in ((missing, "lacks"), (unknown, "has the unknown"), (wrong, "misfits in")):
        if names:
            raise CheckpointError(
                f"{path} {problem} {names[0]} (and {len(names) - 1} more): it does not have "
                "the architecture of LFDM or MRAA; give a checkpoint that has."
            )
    model.load_state_dict({**ours, **state})
    return freeze(model)


def write_lfdm(model: LatentFlowAutoencoder, path: Path | str) -> Path:
    """Write a checkpoint that LFDM's and MRAA's own code loads, and return its path.

    Raises:
        CheckpointError: The architecture has parts that theirs does not have.
    """
    path = Path(path)
    published = {"stem": "gaussian", "norm": "batch", "prior": 0.0, "prior_background": 0.0}
    published |= {
        "least_determinant": 0.0,
        "kernel": 7,
        "align_corners": False,
        "fill_hidden": False,
        "shared_affine_map": True,
    }
    for name, value in published.items():
        if model.config[name] != value:
            raise CheckpointError(
                f"This autoencoder has {name} = {model.config[name]}, but LFDM's format implies "
                f"{value}: export one that was trained with the published architecture."
            )
    parts: dict[str, dict[str, Tensor]] = {"generator": {}, "region_predictor": {}}
    parts["bg_predictor"] = {}
    for name, tensor in model.state_dict().items():
        network, _, key = name.partition(".")
        if network == "flow_predictor":
            network, key = "generator", _FLOW + key
        network = "bg_predictor" if network == "background_predictor" else network
        parts[network][key] = tensor.detach().cpu().clone()
    with replacing(path) as part:
        torch.save({**parts, "epoch": 0}, part)
    return path


def infer_architecture(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the arguments of `LatentFlowAutoencoder` from the shapes of its state dict.

    Raises:
        KeyError: A weight is missing.
        ValueError: The shapes are impossible.
    """
    regions, features, kernel, _ = state["region_predictor.regions.weight"].shape
    channels = state["generator.first.conv.weight"].shape[1]
    generator_width = state["generator.first.conv.weight"].shape[0]
    downsamplings = _count(state, r"generator\.down_blocks\.(\d+)\.")
    flow_inputs = _conv(state, "flow_predictor.hourglass.encoder.down_blocks.0").shape[1]
    config: dict[str, Any] = {
        "channels": channels,
        "regions": regions,
        "kernel": kernel,
        "scale": _scale(state.get("flow_predictor.down.weight")),
        "region_width": features - channels,
        "flow_width": state["flow_predictor.mask.weight"].shape[1] - flow_inputs,
        "deformed_source": flow_inputs == (regions + 1) * (channels + 1),
        "estimate_occlusion": "flow_predictor.occlusion.weight" in state,
        "affine": "pca",
        "generator_width": generator_width,
        "downsamplings": downsamplings,
        "residual_blocks": _count(state, r"generator\.bottleneck\.r(\d+)\."),
    }
    jacobian = state.get("region_predictor.jacobian.weight")
    if jacobian is not None:
        config |= {"affine": "regressed", "shared_affine_map": jacobian.shape[0] == 4}
    for name, prefix in (
        ("region", "region_predictor.predictor.encoder."),
        ("flow", "flow_predictor.hourglass.encoder."),
    ):
        config |= _encoder(state, name, prefix, config[f"{name}_width"])
    config["generator_cap"] = _cap(
        [_conv(state, f"generator.down_blocks.{i}").shape[0] for i in range(downsamplings)],
        generator_width,
        512,
    )
    return config | _background(state)


def _join(loaded: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Join their three state dicts under our names."""
    joined: dict[str, Tensor] = {}
    for theirs, ours in (
        ("generator", "generator."),
        ("region_predictor", "region_predictor."),
        ("bg_predictor", "background_predictor."),
    ):
        part = loaded.get(theirs)
        if part is None and theirs == "bg_predictor":
            continue  # the model of a static camera has no weights
        if not isinstance(part, Mapping):
            found = ", ".join(map(str, list(loaded)[:6])) or "nothing"
            raise CheckpointError(
                f"{path} has no {theirs} (found: {found}); expected an LFDM or MRAA checkpoint of "
                "stage 1 with generator, region_predictor and bg_predictor."
            )
        for key, tensor in part.items():
            if not isinstance(tensor, Tensor):
                continue
            key = key.removeprefix("module.")
            if key.startswith(_FLOW):
                joined["flow_predictor." + key.removeprefix(_FLOW)] = tensor
            else:
                joined[ours + key] = tensor
    return joined


def _background(state: Mapping[str, Tensor]) -> dict[str, Any]:
    weight = state.get("background_predictor.fc.weight")
    if weight is None:
        return {"background": "zero"}
    kinds = {2: "shift", 6: "affine", 8: "perspective"}
    if weight.shape[0] not in kinds:
        raise ValueError(f"the background predictor gives {weight.shape[0]} numbers, not 2, 6 or 8")
    prefix = "background_predictor.encoder."
    first = _conv(state, f"{prefix}down_blocks.0").shape[0]
    width = first // 2
    return {"background": kinds[weight.shape[0]], "background_width": width} | _encoder(
        state, "background", prefix, width
    )


def _encoder(state: Mapping[str, Tensor], name: str, prefix: str, width: int) -> dict[str, Any]:
    blocks = _count(state, re.escape(prefix) + r"down_blocks\.(\d+)\.")
    widths = [_conv(state, f"{prefix}down_blocks.{i}").shape[0] for i in range(blocks)]
    return {f"{name}_blocks": blocks, f"{name}_cap": _cap(widths, width, _DEFAULT_CAP)}


def _cap(widths: list[int], width: int, default: int) -> int:
    """Return the cap that ended the doubling of widths, or `default` where none did."""
    for level, found in enumerate(widths):
        if found < width * 2 ** (level + 1):
            return found
    return max([default, *widths])


def _conv(state: Mapping[str, Tensor], block: str) -> Tensor:
    return state[f"{block}.conv.weight"]


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    found = {int(match[1]) for name in state if (match := re.match(pattern, name))}
    return len(found)


def _scale(gaussian: Tensor | None) -> int:
    """Return the downsampling factor whose Gaussian has this many taps: 4 (factor - 1) + 1."""
    if gaussian is None:
        return 1
    for factor in (2, 4, 8, 16):
        if gaussian.shape[-1] == 4 * (factor - 1) + 1:
            return factor
    raise ValueError(f"a Gaussian of {gaussian.shape[-1]} taps belongs to no factor of 2")
