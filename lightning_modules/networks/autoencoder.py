"""The latent-flow autoencoder of stage 1: encode, predict flow, warp, decode; T frames at once.

Source: LFDM (Ni et al., CVPR 2023) over the motion model of MRAA (Siarohin et al., CVPR 2021).
Shape letters: B clips, T frames, C channels, K regions, H W pixels, h w latent cells.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_modules.networks.flow_predictor import FlowPredictor
from lightning_modules.networks.generator import Generator
from lightning_modules.networks.regions import BackgroundPredictor, RegionPredictor, Regions
from lightning_modules.networks.warp import resize_grid, warp
from lightning_modules.options.autoencoder import AutoencoderOptions

_Part = TypeVar("_Part", bound=nn.Module)


@dataclass(frozen=True)
class AutoencoderOutput:
    """All intermediate results of a forward pass over B clips of T driving frames."""

    reference: Regions
    """Regions of the B reference images."""
    driving: Regions
    """Regions of the B T driving frames, in clip order."""
    background: Tensor
    """(B T, 3, 3): maps driving positions of the background to reference positions."""
    flow: Tensor
    """(B, T, h, w, 2): absolute sampling grid, (x, y)."""
    occlusion: Tensor
    """(B, T, 1, h, w) in [0, 1]: 1 where the warped reference is visible, 0 where occluded."""
    z: Tensor
    """(B, C, h, w): the reference's latent map."""
    deformed: Tensor
    """(B, T, 3, H, W): the reference image itself, warped."""
    prediction: Tensor
    """(B, T, 3, H, W) in [0, 1]."""
    raw: Tensor
    """(B, T, 3, H, W) in [0, 1]: the decoder's output before the reference was blended in."""

    @property
    def latent_flow(self) -> Tensor:
        """(B, T, 3, h, w): grid x, grid y, occlusion."""
        return torch.cat([self.flow.movedim(-1, 2), self.occlusion], dim=2)


class LatentFlowAutoencoder(nn.Module):
    """Region, background and flow predictors with an image encoder and decoder.

    The defaults are the published sizes for 128 x 128 (66.0 M parameters). Images are float in
    [0, 1]; their sides must be multiples of `size_multiple`.
    """

    def __init__(
        self,
        channels: int = 3,
        regions: int = AutoencoderOptions.regions,
        scale: int = AutoencoderOptions.scale,
        region_width: int = AutoencoderOptions.region_width,
        region_blocks: int = AutoencoderOptions.region_blocks,
        region_cap: int = AutoencoderOptions.region_cap,
        region_padding: int = AutoencoderOptions.region_padding,
        temperature: float = AutoencoderOptions.temperature,
        affine: str = AutoencoderOptions.affine,
        shared_affine_map: bool = AutoencoderOptions.shared_affine_map,
        background: str = AutoencoderOptions.background,
        background_width: int = AutoencoderOptions.background_width,
        background_blocks: int = AutoencoderOptions.background_blocks,
        background_cap: int = AutoencoderOptions.background_cap,
        flow_width: int = AutoencoderOptions.flow_width,
        flow_blocks: int = AutoencoderOptions.flow_blocks,
        flow_cap: int = AutoencoderOptions.flow_cap,
        estimate_occlusion: bool = AutoencoderOptions.estimate_occlusion,
        deformed_source: bool = AutoencoderOptions.deformed_source,
        covariance_heatmaps: bool = AutoencoderOptions.covariance_heatmaps,
        region_variance: float = AutoencoderOptions.region_variance,
        correct_sign: bool = AutoencoderOptions.correct_sign,
        least_determinant: float = AutoencoderOptions.least_determinant,
        prior: float = AutoencoderOptions.prior,
        prior_background: float = AutoencoderOptions.prior_background,
        generator_width: int = AutoencoderOptions.generator_width,
        generator_cap: int = AutoencoderOptions.generator_cap,
        downsamplings: int = AutoencoderOptions.downsamplings,
        residual_blocks: int = AutoencoderOptions.residual_blocks,
        skips: bool = AutoencoderOptions.skips,
        align_corners: bool = AutoencoderOptions.align_corners,
        kernel: int = AutoencoderOptions.kernel,
        stem: str = AutoencoderOptions.stem,
        norm: str = AutoencoderOptions.norm,
        fill_hidden: bool = AutoencoderOptions.fill_hidden,
    ) -> None:
        super().__init__()
        values = locals()
        self.checkpoint_gradients = False
        """Recompute activations of the hourglasses and the decoder in the backward pass."""
        names = inspect.signature(LatentFlowAutoencoder).parameters
        self.config: dict[str, Any] = {name: values[name] for name in names}
        # The order counts: a seed gives the same weights as long as parts are made in it.
        # The order matters: a seed gives the same weights as long as parts are built in it.
        self.region_predictor = _build(RegionPredictor, "region", self.config)
        kind = self.config["background"]
        self.background_predictor = _build(
            BackgroundPredictor, "background", {**self.config, "kind": kind}
        )
        self.flow_predictor = _build(FlowPredictor, "flow", self.config)
        self.generator = _build(Generator, "generator", self.config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LatentFlowAutoencoder:
        """Build the architecture that `config` describes; unknown names raise ValueError."""
        unknown = sorted(set(config) - set(inspect.signature(cls).parameters))
        if unknown:
            raise ValueError(f"The autoencoder has no setting {', '.join(unknown)}.")
        return cls(**config)

    @property
    def size_multiple(self) -> int:
        """Heights and widths of images must be multiples of this many pixels."""
        config = self.config
        # Hourglasses halve their input (images at 1 / scale) once for each block.
        blocks = max(config["region_blocks"], config["flow_blocks"])
        return math.lcm(2 ** config["downsamplings"], config["scale"] * 2**blocks)

    @property
    def channels_latent(self) -> int:
        """Channels of z."""
        return self.generator.channels_latent

    def encode(self, image: Tensor) -> Tensor:
        """Encode images (B, 3, H, W) to z (B, C, h, w)."""
        return self.generator.encode(image)[-1]

    def flow(self, reference: Tensor, driving: Tensor) -> Tensor:
        """Predict the latent flow between a reference and its driving frames.

        The decoder does not run.

        Args:
            reference: (B, 3, H, W).
            driving: (B, T, 3, H, W).

        Returns:
            (B, T, 3, h, w): for each driving position the reference position to sample, x and y
            in [-1, 1], and the occlusion map in [0, 1].
        """
        flow, occlusion = self._motion(reference, driving)[3:]
        return torch.cat([flow.movedim(-1, 2), occlusion], dim=2)

    def decode(self, reference: Tensor, latent_flow: Tensor) -> Tensor:
        """Decode frames (B, T, 3, H, W) in [0, 1] from a reference image and any latent flow."""
        maps = self.generator.encode(reference)
        flow = latent_flow[:, :, :2].movedim(2, -1)
        return self.generator.decode(reference, maps, flow, latent_flow[:, :, 2:])[0]

    def deform(self, reference: Tensor, flow: Tensor) -> Tensor:
        """Warp images (B, 3, H, W) by flows (B, T, h, w, 2) to (B, T, 3, H, W), without decoder."""
        aligned: bool = self.config["align_corners"]
        height, width = reference.shape[-2:]
        return warp(reference, resize_grid(flow, height, width, aligned), aligned)

    def forward(self, reference: Tensor, driving: Tensor) -> AutoencoderOutput:
        """Return all intermediates for `reference` (B, 3, H, W), `driving` (B, T, 3, H, W)."""
        source, target, background, flow, occlusion = self._motion(reference, driving)
        maps = self.generator.encode(reference)
        prediction, raw = self._run(self.generator.decode, reference, maps, flow, occlusion)
        deformed = self.deform(reference, flow)
        return AutoencoderOutput(
            reference=source,
            driving=target,
            background=background,
            flow=flow,
            occlusion=occlusion,
            z=maps[-1],
            deformed=deformed,
            prediction=prediction,
            raw=raw,
        )

    def _motion(
        self, reference: Tensor, driving: Tensor
    ) -> tuple[Regions, Regions, Tensor, Tensor, Tensor]:
        self._check(reference, driving)
        # Regions are independent of the clip, so all B T frames go through the network at once.
        frames = driving.flatten(0, 1)  # (B T, 3, H, W)
        source = self._run(self.region_predictor, reference)
        target = self._run(self.region_predictor, frames)
        if self.background_predictor.kind == "zero":
            pairs = frames  # only their number is used
        else:
            # (B T, 6, H, W): each driving frame after its clip's reference.
            pairs = torch.cat([reference.repeat_interleave(driving.shape[1], 0), frames], dim=1)
        background = self.background_predictor(pairs)
        flow, occlusion = self._run(self.flow_predictor, reference, source, target, background)
        return source, target, background, flow, occlusion

    def _run(self, part: Callable[..., Any], *inputs: Any) -> Any:
        if self.checkpoint_gradients and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)

    def _fits(self, side: int) -> bool:
        """Tell whether every map of the networks can be halved as often as they do."""
        config = self.config
        cells = -(-side // config["scale"])
        whole = cells % 2 ** max(config["region_blocks"], config["flow_blocks"]) == 0
        whole = whole and side % 2 ** config["downsamplings"] == 0
        if config["stem"] == "unshuffle":
            whole = whole and side % config["scale"] == 0
        return whole and (
            config["background"] == "zero" or side >= 2 ** config["background_blocks"]
        )

    def _check(self, reference: Tensor, driving: Tensor) -> None:
        height, width = reference.shape[-2:]
        if not (self._fits(height) and self._fits(width)):
            raise ValueError(
                f"Images are {height} x {width} pixels; this autoencoder needs sides that are "
                f"multiples of {self.size_multiple}: fit the images, or use fewer hourglass blocks."
            )
        if driving.dim() != 5 or driving.shape[0] != reference.shape[0]:
            raise ValueError(
                f"Driving frames have shape {tuple(driving.shape)}; expected (B, T, 3, H, W) with "
                f"B = {reference.shape[0]} as in the reference."
            )


def _build(part: type[_Part], prefix: str, config: Mapping[str, Any]) -> _Part:
    """Build a network from settings; its argument `width` is the setting `{prefix}_width`."""
    arguments = {}
    for name in inspect.signature(part).parameters:
        own = f"{prefix}_{name}"
        arguments[name] = config[own if own in config else name]
    return part(**arguments)
