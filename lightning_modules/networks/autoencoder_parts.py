"""The four networks of the autoencoder, each built from the autoencoder's settings.

The mapping `config` is `LatentFlowAutoencoder.config`: every setting under its name. The networks
check the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_modules.networks.flow_predictor import FlowPredictor
from lightning_modules.networks.generator import Generator
from lightning_modules.networks.regions import BackgroundPredictor, RegionPredictor


def build_region_predictor(config: Mapping[str, Any]) -> RegionPredictor:
    """What finds the regions of an image."""
    return RegionPredictor(
        channels=config["channels"],
        regions=config["regions"],
        width=config["region_width"],
        blocks=config["region_blocks"],
        cap=config["region_cap"],
        scale=config["scale"],
        temperature=config["temperature"],
        padding=config["region_padding"],
        kernel=config["kernel"],
        affine=config["affine"],
        shared_affine_map=config["shared_affine_map"],
        stem=config["stem"],
        norm=config["norm"],
    )


def build_background_predictor(config: Mapping[str, Any]) -> BackgroundPredictor:
    """What finds the motion of the camera."""
    return BackgroundPredictor(
        channels=config["channels"],
        kind=config["background"],
        width=config["background_width"],
        blocks=config["background_blocks"],
        cap=config["background_cap"],
        norm=config["norm"],
    )


def build_flow_predictor(config: Mapping[str, Any]) -> FlowPredictor:
    """What turns two images' regions into flow and occlusion."""
    return FlowPredictor(
        channels=config["channels"],
        regions=config["regions"],
        width=config["flow_width"],
        blocks=config["flow_blocks"],
        cap=config["flow_cap"],
        scale=config["scale"],
        kernel=config["kernel"],
        estimate_occlusion=config["estimate_occlusion"],
        deformed_source=config["deformed_source"],
        covariance_heatmaps=config["covariance_heatmaps"],
        region_variance=config["region_variance"],
        correct_sign=config["correct_sign"],
        least_determinant=config["least_determinant"],
        prior=config["prior"],
        prior_background=config["prior_background"],
        align_corners=config["align_corners"],
        stem=config["stem"],
        norm=config["norm"],
    )


def build_generator(config: Mapping[str, Any]) -> Generator:
    """What encodes the reference, and decodes it where the flow has moved it."""
    return Generator(
        channels=config["channels"],
        width=config["generator_width"],
        cap=config["generator_cap"],
        downsamplings=config["downsamplings"],
        residual_blocks=config["residual_blocks"],
        skips=config["skips"],
        align_corners=config["align_corners"],
        kernel=config["kernel"],
        stem=config["stem"],
        norm=config["norm"],
        fill_hidden=config["fill_hidden"],
    )
