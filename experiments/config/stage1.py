"""Stage 1: the latent-flow auto-encoder, its losses and its training. Defaults as published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

#: Parts of the body that key points teach, one a region.
BODY_PARTS = 10


@dataclass
class Stage1NetworkSettings:
    """Sizes and parts of the auto-encoder (LFDM's for 128 x 128: 66.0 M parameters)."""

    regions: int = 10
    """Parts of the figure that move by themselves."""
    scale: int = 4
    """Latent flow has this fraction of the image's resolution."""
    region_width: int = 32
    """Channels of the region predictor's hourglass at its finest level."""
    region_blocks: int = 5
    """Halvings of the region predictor's hourglass."""
    region_cap: int = 1024
    """Most channels of the region predictor."""
    region_padding: int = 0
    """Zero padding of the convolution that yields the heatmaps; 0 crops their border."""
    temperature: float = 0.1
    """Temperature of the heatmaps' softmax."""
    affine: Literal["pca", "regressed", "none"] = "pca"
    """A region's shape: axes of its heatmap, regressed matrices, or none (centres only)."""
    shared_affine_map: bool = True
    """With regressed matrices: one map for all regions, or one for each."""
    background: Literal["zero", "shift", "affine", "perspective"] = "affine"
    """How the background may move; zero for a camera at rest."""
    background_width: int = 32
    """Channels of the background predictor before its first doubling."""
    background_blocks: int = 5
    """Halvings of the background predictor."""
    background_cap: int = 1024
    """Most channels of the background predictor."""
    flow_width: int = 64
    """Channels of the flow predictor's hourglass at its finest level."""
    flow_blocks: int = 5
    """Halvings of the flow predictor's hourglass."""
    flow_cap: int = 1024
    """Most channels of the flow predictor."""
    estimate_occlusion: bool = True
    """Predict where the warped reference must not show through."""
    deformed_source: bool = True
    """Show the flow predictor the reference warped by each candidate motion."""
    covariance_heatmaps: bool = True
    """Shape the flow predictor's heatmaps by the regions' spread, or make them round."""
    region_variance: float = 0.01
    """Variance of round heatmaps, in squared normalised coordinates."""
    correct_sign: bool = True
    """Undo flips of both axes of a region between reference and driving frame."""
    least_determinant: float = 0.0
    """Least determinant of a driving region's matrix in its inverse, for regressed matrices whose
    sign is right: one that nearly vanishes then shrinks the region instead of blowing it up."""
    prior: float = 0.0
    """Head start of each region where it lies in the driving frame, added to its logit."""
    prior_background: float = 0.0
    """Head start of the background everywhere, added to its logit."""
    generator_width: int = 64
    """Channels of the image encoder's first map."""
    generator_cap: int = 512
    """Most channels of the image encoder."""
    downsamplings: int = 2
    """Halvings between the image and the latent map."""
    residual_blocks: int = 6
    """Residual blocks on the warped latent map."""
    fill_hidden: bool = False
    """Give the decoder, where the occlusion map hides a cell, the mean of the seen cells around it
    (the published one gets zeros, and a shallow decoder paints them grey)."""
    skips: bool = True
    """Warp and blend in the encoder's finer maps and the reference itself."""
    align_corners: bool = False
    """Whether -1 and 1 are the centres of the outer pixels in sampling too, so that the identity
    grid moves nothing; the published model, and its weights, sample as if they were the edges."""
    kernel: int = 7
    """Side of the first and last convolutions' kernels."""
    stem: Literal["gaussian", "unshuffle"] = "gaussian"
    """How resolution is first reduced: anti-aliased, or pixels rearranged into channels (fast)."""
    norm: Literal["batch", "group"] = "batch"
    """Batch norm, which published weights need, or group norm, which does not depend on the batch
    size or the number of processes."""

    def __post_init__(self) -> None:
        for name in ("regions", "region_width", "background_width", "flow_width"):
            _at_least("network", self, name, 1)
        for name in ("region_blocks", "background_blocks", "flow_blocks", "downsamplings", "scale"):
            _at_least("network", self, name, 1)
        for name in ("residual_blocks", "region_padding"):
            _at_least("network", self, name, 0)
        if self.kernel % 2 == 0:
            raise ValueError(f"stage1.network.kernel is {self.kernel}; give an odd number.")
        if self.temperature <= 0 or self.region_variance <= 0:
            raise ValueError(
                "stage1.network.temperature and region_variance divide by their values: give "
                "numbers above 0."
            )


@dataclass
class Stage1LossSettings:
    """Weights of the loss's terms; 0 leaves a term out and does not compute it."""

    vgg_weights: str = ""
    """torchvision's vgg19-dcbb9e9d.pth (`dabfusion download vgg19 FILE`), for the published
    perceptual loss; empty for the terms on pixels, which need no downloaded weights."""
    perceptual: float = 10.0
    """Each VGG-19 map's mean absolute difference, where weights are given."""
    pixels: float = 1.0
    """L1 on four scales of the prediction; this and the next five stand in for VGG weights."""
    warped: float = 0.5
    """L1 on four scales of the warped reference: teaches flow before the decoder can paint."""
    gradient: float = 1.0
    """L1 of the prediction's horizontal and vertical differences."""
    ssim: float = 0.1
    """1 - SSIM in box windows."""
    raw: float = 2.0
    """L1 of the decoder's output before the reference is blended in; without it the occlusion
    map saturates at 1 and the decoder never learns to paint."""
    variation: float = 0.02
    """Total variation of the flow."""
    foreground: float = 4.0
    """Pixels weigh 1 + this times |driving - reference|, relative to its mean over the picture."""
    equivariance_shift: float = 10.0
    """Regions' centres must follow a random thin-plate warp of the frame."""
    equivariance_affine: float = 10.0
    """Regions' shapes must follow it too."""
    joints: float = 0.0
    """Joint supervision: distance of the ten regions from ten parts of the body, found from the
    clips' key points. Uses labels; 0 trains without, as published."""
    teacher_flow: float = 0.0
    """Joint supervision: distance of the flow from rigidly moved parts of the body."""
    teacher_occlusion: float = 0.0
    """Joint supervision: the occlusion map against what the figure uncovers."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "vgg_weights" and value < 0:
                raise ValueError(f"stage1.loss.{name} is {value:g}; weights are 0 or more.")


@dataclass
class Stage1TrainSettings:
    """How stage 1 is trained; published: Adam 2e-4, betas (0.5, 0.999), / 10 at 60% and 90%."""

    steps: int = 100_000
    """Optimizer steps."""
    batch_size: int = 32
    """Pairs of frames a step, over all processes."""
    learning_rate: float = 2e-4
    """Highest learning rate."""
    beta1: float = 0.5
    """Adam's decay of the gradient's mean."""
    beta2: float = 0.999
    """Adam's decay of the gradient's square."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    schedule: Literal["steps", "cosine"] = "steps"
    """Divide by ten at 60% and 90% of training, or fall along a cosine."""
    warmup_steps: int = 0
    """Steps of linear rise at the start."""
    gradient_clip: float = 0.0
    """Largest norm of the gradient; 0 does not clip."""
    ema_decay: float = 0.0
    """Decay of the moving average of the weights that is exported; 0 exports the weights."""
    initial: str = ""
    """A run or export folder (import LFDM's with `dabfusion import-lfdm`) to start from; its
    architecture replaces `stage1.network`."""
    freeze: list[str] = field(default_factory=list)
    """Networks that keep their weights: region_predictor, background_predictor, flow_predictor,
    generator."""
    sizes: list[int] = field(default_factory=list)
    """Progressive resolution: image sizes in pixels, each for an equal share of the steps, the
    clips' own size last; empty trains at that size alone."""
    region_steps: int = 0
    """First steps, of `steps`, in which the regions alone learn, from key points (needs
    `stage1.loss.joints`); such a step costs a fifth."""
    checkpoint_gradients: bool = False
    """Compute activations twice instead of keeping them; saves memory at 256 x 256."""
    channels_last: bool = False
    """Memory layout that is faster for small channel counts on the CPU and for bf16 on GPUs."""
    sync_batch_norm: bool = True
    """Batch norm over all processes' items, where there are several."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            _at_least("train", self, name, 1)
        if self.learning_rate <= 0:
            raise ValueError(
                f"stage1.train.learning_rate is {self.learning_rate:g}; give a number above 0."
            )
        parts = ("region_predictor", "background_predictor", "flow_predictor", "generator")
        for name in self.freeze:
            if name not in parts:
                raise ValueError(
                    f"stage1.train.freeze names {name!r}; the networks are {', '.join(parts)}."
                )


@dataclass
class Stage1Settings:
    """The latent-flow auto-encoder."""

    network: Stage1NetworkSettings = field(default_factory=Stage1NetworkSettings)
    """Its sizes and parts."""
    loss: Stage1LossSettings = field(default_factory=Stage1LossSettings)
    """What it is taught by."""
    train: Stage1TrainSettings = field(default_factory=Stage1TrainSettings)
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.train.region_steps and not self.loss.joints:
            raise ValueError(
                f"stage1.train.region_steps is {self.train.region_steps}, but the regions' only "
                "teacher in those steps has weight 0: set stage1.loss.joints above 0 too."
            )
        if self.loss.joints and self.network.regions != BODY_PARTS:
            raise ValueError(
                f"stage1.network.regions is {self.network.regions}, but joint supervision teaches "
                f"{BODY_PARTS} parts of the body: give {BODY_PARTS}, or stage1.loss.joints=0."
            )


def _at_least(section: str, settings: object, name: str, least: int) -> None:
    value = getattr(settings, name)
    if value < least:
        raise ValueError(f"stage1.{section}.{name} is {value}; give at least {least}.")
