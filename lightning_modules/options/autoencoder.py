"""Options of stage 1's network and loss, with the published defaults; without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from datamodules.options.checks import check_positive, check_range


@dataclass
class AutoencoderOptions:
    """Architecture of LatentFlowAutoencoder; defaults: LFDM's for 128 x 128, 66.0 M parameters."""

    regions: int = 10
    """Regions of the body that move independently (K)."""
    scale: int = 4
    """Downsampling factor from the image to the latent flow."""
    region_width: int = 32
    """Channels of the region predictor's hourglass at its finest level."""
    region_blocks: int = 5
    """Downsampling blocks of the region predictor's hourglass."""
    region_cap: int = 1024
    """Maximum channels of the region predictor."""
    region_padding: int = 0
    """Zero padding of the convolution that outputs the heatmaps; 0 crops their border."""
    temperature: float = 0.1
    """Temperature of the softmax over each heatmap."""
    affine: Literal["pca", "regressed", "none"] = "pca"
    """Shape of a region: pca (principal axes of its heatmap), regressed (predicted matrices) or
    none (centers only)."""
    shared_affine_map: bool = True
    """With regressed matrices: predict one map for all regions instead of one per region."""
    background: Literal["zero", "shift", "affine", "perspective"] = "affine"
    """Model of the background motion; zero for a static camera."""
    background_width: int = 32
    """Channels of the background predictor before the first doubling."""
    background_blocks: int = 5
    """Downsampling blocks of the background predictor."""
    background_cap: int = 1024
    """Maximum channels of the background predictor."""
    flow_width: int = 64
    """Channels of the flow predictor's hourglass at its finest level."""
    flow_blocks: int = 5
    """Downsampling blocks of the flow predictor's hourglass."""
    flow_cap: int = 1024
    """Maximum channels of the flow predictor."""
    estimate_occlusion: bool = True
    """Predict an occlusion map, which masks the warped features."""
    deformed_source: bool = True
    """Give the flow predictor the reference image warped by each candidate motion."""
    covariance_heatmaps: bool = True
    """Draw the flow predictor's heatmaps with each region's covariance instead of round."""
    region_variance: float = 0.01
    """Variance of round heatmaps in squared normalized coordinates."""
    correct_sign: bool = True
    """Remove flips of both axes of a region between reference image and driving frame."""
    least_determinant: float = 0.0
    """Lower bound of the determinant of a driving region's matrix before it is inverted, for
    regressed matrices (0: no bound). It keeps nearly singular matrices from enlarging a region."""
    prior: float = 0.0
    """Value added to the logit of each region at its position in the driving frame."""
    prior_background: float = 0.0
    """Value added to the logit of the background everywhere."""
    generator_width: int = 64
    """Channels of the image encoder's first feature map."""
    generator_cap: int = 512
    """Maximum channels of the image encoder."""
    downsamplings: int = 2
    """Halvings of the resolution between the image and the latent map."""
    residual_blocks: int = 6
    """Residual blocks on the warped latent map."""
    fill_hidden: bool = False
    """Fill occluded cells with the mean of the visible cells around them before decoding; the
    published decoder gets zeros, which a shallow decoder renders gray."""
    skips: bool = True
    """Also warp and blend the encoder's finer feature maps and the reference image itself."""
    align_corners: bool = False
    """Sample with `align_corners=True`, so that the identity grid changes nothing; the published
    model and its weights sample with False."""
    kernel: int = 7
    """Kernel size of the first and last convolutions."""
    stem: Literal["gaussian", "unshuffle"] = "gaussian"
    """First reduction of the resolution: gaussian (anti-aliased) or unshuffle (pixels rearranged
    into channels, faster)."""
    norm: Literal["batch", "group"] = "batch"
    """Normalization layers: batch (required by published weights) or group (independent of the
    batch size and of the number of processes)."""

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "regions", "scale", "region_width", "region_blocks")
        check_range(self, 1, math.inf, "background_width", "background_blocks")
        check_range(self, 1, math.inf, "flow_width", "flow_blocks", "downsamplings")
        check_range(self, 0, math.inf, "residual_blocks", "region_padding")
        check_positive(self, "temperature", "region_variance")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}, but must be odd.")


@dataclass
class LossWeights:
    """Weights of the terms of stage 1's loss; a term of weight 0 is not computed."""

    perceptual: float = 10.0
    """Weight of the mean absolute difference of VGG-19 features in the loss (0: not used). Used
    only with `vgg_weights`."""
    pixels: float = 1.0
    """Weight of the L1 error of the prediction on four scales. This, the next four weights and
    `foreground` are used only without `vgg_weights`, in place of `perceptual`."""
    warped: float = 0.5
    """Weight of the L1 error of the warped reference image on four scales, which trains the flow
    before the decoder has learned to inpaint."""
    gradient: float = 1.0
    """Weight of the L1 error of the prediction's horizontal and vertical differences."""
    ssim: float = 0.1
    """Weight of 1 - SSIM, computed in box windows."""
    raw: float = 2.0
    """Weight of the L1 error of the decoder's output before the reference image is blended in.
    Without it the occlusion map saturates at 1 and the decoder does not learn to inpaint."""
    variation: float = 0.02
    """Weight of the total variation of the flow."""
    foreground: float = 4.0
    """Extra weight of moving pixels: 1 + this value times |driving - reference|, relative to its
    mean over the image."""
    equivariance_shift: float = 10.0
    """Weight of the equivariance loss of the regions' centers under random thin-plate warps."""
    equivariance_affine: float = 10.0
    """Weight of the equivariance loss of the regions' shapes under random thin-plate warps."""
    joints: float = 0.0
    """Weight of the distance of the ten regions from ten body parts, found from the clips'
    keypoints (joint supervision; 0: not used, as published)."""
    teacher_flow: float = 0.0
    """Weight of the distance of the flow from rigidly moving body parts (joint supervision)."""
    teacher_occlusion: float = 0.0
    """Weight of the error of the occlusion map against the area that the body uncovers (joint
    supervision)."""

    def __post_init__(self) -> None:
        names = [name for name, value in vars(self).items() if not isinstance(value, str)]
        check_range(self, 0, math.inf, *names)

    @property
    def uses_labels(self) -> bool:
        """Whether the loss needs keypoints."""
        return max(self.joints, self.teacher_flow, self.teacher_occlusion) > 0
