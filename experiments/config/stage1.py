"""Settings of stage 1: the latent-flow autoencoder, its loss and its training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from datamodules.options.checks import check_range
from lightning_modules.options.autoencoder import AutoencoderOptions, LossWeights
from lightning_modules.options.optimizer import AutoencoderOptimizer

#: Body parts that supervise one region each.
BODY_PARTS = 10
#: Losses that replace the perceptual one if its weights file is not given.
PIXEL_LOSSES = ("pixels", "warped", "gradient", "ssim", "raw")
NETWORKS = ("region_predictor", "background_predictor", "flow_predictor", "generator")


@dataclass
class Stage1LossSettings(LossWeights):
    """Loss weights and the weights file of the perceptual loss."""

    vgg_weights: str = ""
    """File of torchvision's vgg19-dcbb9e9d.pth (`dabfusion download vgg19 FILE`) for the published
    perceptual loss; empty to train with the terms that need no downloaded weights."""

    def notices(self) -> list[str]:
        """Return a sentence for the weights that have no effect with or without `vgg_weights`."""
        unused = {name: getattr(self, name) for name in PIXEL_LOSSES if getattr(self, name)}
        if self.vgg_weights and unused:
            listed = ", ".join(f"{name}={value:g}" for name, value in unused.items())
            return [
                "Stage 1 trains with the perceptual loss of stage1.loss.vgg_weights, which "
                f"replaces the other image losses: {listed} of stage1.loss have no effect."
            ]
        if not self.vgg_weights and self.perceptual:
            return [
                "Stage 1 trains without the published perceptual loss, because "
                f"stage1.loss.vgg_weights is empty: stage1.loss.perceptual={self.perceptual:g} has "
                f"no effect, and {', '.join(PIXEL_LOSSES)} are used instead; `dabfusion download "
                "vgg19 FILE` gets the weights."
            ]
        return []


@dataclass
class Stage1TrainSettings(AutoencoderOptimizer):
    """Training of stage 1; the defaults are the published ones."""

    batch_size: int = 32
    """Frame pairs per step over all processes."""
    ema_decay: float = 0.0
    """Decay of the moving average of the weights that is exported (0: export the weights)."""
    initial: str = ""
    """Run or export folder whose network training starts from (import LFDM's weights with
    `dabfusion import-lfdm`); its architecture replaces `stage1.network`."""
    freeze: list[str] = field(default_factory=list)
    """Networks that are not trained: region_predictor, background_predictor, flow_predictor,
    generator."""
    sizes: list[int] = field(default_factory=list)
    """Image sizes in pixels for progressive resolution, each for an equal share of the steps, the
    clips' own size last; empty trains at that size only."""
    region_steps: int = 0
    """Number of first steps, out of `steps`, that train the region predictor only, from keypoints
    (needs `stage1.loss.joints`); such a step costs a fifth."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass instead of storing them; saves memory at
    256 x 256."""
    channels_last: bool = False
    """Channels-last memory layout; faster for few channels on the CPU and for bf16 on GPUs."""
    sync_batch_norm: bool = True
    """Synchronize batch normalization over all processes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, math.inf, "batch_size")
        check_range(self, 0, 1, "ema_decay")
        check_range(self, 0, math.inf, "region_steps")
        for name in self.freeze:
            if name not in NETWORKS:
                raise ValueError(
                    f"freeze contains {name!r}, but the networks are {', '.join(NETWORKS)}."
                )


@dataclass
class Stage1Settings:
    """The latent-flow autoencoder."""

    network: AutoencoderOptions = field(default_factory=AutoencoderOptions)
    """Architecture."""
    loss: Stage1LossSettings = field(default_factory=Stage1LossSettings)
    """Loss weights."""
    train: Stage1TrainSettings = field(default_factory=Stage1TrainSettings)
    """Training."""

    def __post_init__(self) -> None:
        if self.train.region_steps and not self.loss.joints:
            raise ValueError(
                f"train.region_steps is {self.train.region_steps}, but the only loss of these "
                "steps has weight 0: set stage1.loss.joints above 0, too."
            )
        if self.loss.joints and self.network.regions != BODY_PARTS:
            raise ValueError(
                f"network.regions is {self.network.regions}, but joint supervision needs one "
                f"region for each of {BODY_PARTS} body parts: set it to {BODY_PARTS}, or "
                "stage1.loss.joints=0."
            )
