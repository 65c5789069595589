"""The training loss of stage 1 as a pure function: its terms and their weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules import losses
from lightning_modules.joints import (
    body_parts,
    flow_loss,
    occlusion_loss,
    region_loss,
    teach,
)
from lightning_modules.networks.autoencoder import AutoencoderOutput, LatentFlowAutoencoder
from lightning_modules.options.autoencoder import LossWeights

_NO_KEYPOINTS = (
    "Joint supervision needs keypoints, and these clips have none: prepare clips with keypoints, "
    "or set stage1.loss.joints, teacher_flow and teacher_occlusion to 0."
)


def objective(
    network: LatentFlowAutoencoder,
    frames: Tensor,
    keypoints: Tensor | None,
    weights: LossWeights,
    features: losses.FeaturePyramid | None,
    generators: Sequence[torch.Generator],
) -> tuple[dict[str, Tensor], AutoencoderOutput]:
    """Compute the weighted terms of the loss.

    Args:
        network: The autoencoder.
        frames: (B, 1 + T, 3, H, W) in [0, 1]; the first of each clip is its reference.
        keypoints: (B, 1 + T, 17, 3), for the terms that use labels.
        weights: Weights of the terms.
        features: VGG-19; None for the terms on pixels instead of the perceptual one.
        generators: One per driving frame (B T), for its thin-plate warp.

    Returns:
        The weighted terms by name, and the results of the forward pass.
    """
    reference, driving = frames[:, 0], frames[:, 1:]
    output = network(reference, driving)
    target = driving.flatten(0, 1)
    terms = {}
    if features is not None:
        prediction = output.prediction.flatten(0, 1)
        terms["perceptual"] = losses.perceptual(features, prediction, target)
    else:
        repeated = reference.repeat_interleave(driving.shape[1], dim=0)
        terms |= _pixel_terms(output, repeated, target, weights)
    if weights.variation:
        terms["variation"] = losses.flow_variation(output.flow)
    if weights.equivariance_shift or weights.equivariance_affine:
        warp = losses.ThinPlate(generators, frames.device)
        warped = network.region_predictor(warp.frames(target))
        shift, affine = losses.equivariance(output.driving, warped, warp)
        terms |= {"equivariance_shift": shift, "equivariance_affine": affine}
    if weights.uses_labels:
        if keypoints is None:
            raise ValueError(_NO_KEYPOINTS)
        regressed = network.config["affine"] == "regressed"
        terms |= _label_terms(output, keypoints, regressed)
    weighted = {
        name: getattr(weights, name) * term
        for name, term in terms.items()
        if getattr(weights, name) > 0
    }
    return weighted, output


def region_objective(
    network: LatentFlowAutoencoder, frames: Tensor, keypoints: Tensor | None, weight: float
) -> dict[str, Tensor]:
    """Compute only the `joints` term, of every frame (arguments as for `objective`).

    It costs a fifth of a full step. Flow and images learn little before the regions are near the
    limbs that they represent.
    """
    if keypoints is None:
        raise ValueError(_NO_KEYPOINTS)
    regions = network.region_predictor(frames.flatten(0, 1))
    parts = body_parts(keypoints.flatten(0, 1))
    # Parameters that the loss does not use get zero gradients, because DDP needs one for each.
    idle = torch.stack([p.sum() for p in network.parameters() if p.requires_grad]).sum() * 0
    regressed = network.config["affine"] == "regressed"
    return {"joints": weight * region_loss(regions, parts, regressed) + idle}


def _pixel_terms(
    output: AutoencoderOutput, reference: Tensor, target: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    weight = losses.foreground_weight(reference, target, weights.foreground)
    prediction = output.prediction.flatten(0, 1).float()
    terms = {"pixels": losses.multiscale_l1(prediction, target, weight)}
    if weights.warped:
        deformed = output.deformed.flatten(0, 1)
        terms["warped"] = losses.multiscale_l1(deformed, target, weight)
    if weights.gradient:
        terms["gradient"] = losses.gradient_l1(prediction, target, weight)
    if weights.ssim:
        terms["ssim"] = 1 - losses.ssim(prediction, target).mean()
    if weights.raw:
        terms["raw"] = ((output.raw.flatten(0, 1).float() - target).abs() * weight).mean()
    return terms


def _label_terms(
    output: AutoencoderOutput, keypoints: Tensor, regressed: bool
) -> dict[str, Tensor]:
    parts = body_parts(keypoints[:, 0])
    moved = body_parts(keypoints[:, 1:].flatten(0, 1))
    regions = (
        region_loss(output.reference, parts, regressed)
        + region_loss(output.driving, moved, regressed)
    ) / 2
    height, width = output.flow.shape[2:4]
    teacher = teach(parts.repeat(keypoints.shape[1] - 1), moved, height, width)
    return {
        "joints": regions,
        "teacher_flow": flow_loss(output.flow.flatten(0, 1), teacher),
        "teacher_occlusion": occlusion_loss(output.occlusion.flatten(0, 1)[:, 0], teacher),
    }
