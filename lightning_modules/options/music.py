"""Options of the music conditioning and of its adapters, with their defaults; without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from datamodules.options.checks import check_positive, check_range
from lightning_modules.options.optimizer import OptimizerOptions


@dataclass
class MusicOptions:
    """Parts of MusicConditioner; the defaults are the paper's e = [CLAP, Wav2CLIP, beats]."""

    dim: int = 256
    """Width of the music embedding."""
    beats: Literal["none", "global", "frame"] = "global"
    """Beat conditioning: none, global (one vector per clip) or frame (one vector per frame)."""
    clap: bool = True
    """Condition on CLAP's embedding of the clip."""
    clap_tokens: bool = False
    """Condition on CLAP's sequence of tokens, with local attention from each frame."""
    wav2clip: bool = True
    """Condition on Wav2CLIP's embedding of the clip."""
    spectral: bool = False
    """Condition on a small built-in encoder of log-mel and chroma, which needs no downloads."""
    clap_weights: str = ""
    """File of a LAION CLAP checkpoint (.pt), or folder of a Hugging Face CLAP model."""
    wav2clip_weights: str = ""
    """File of the Wav2CLIP checkpoint (Wav2CLIP.pt)."""
    adapter: str = ""
    """Run folder of `dabfusion train music-adapter`, whose frozen adapters are applied to the
    features before the conditioner; empty for none."""

    def __post_init__(self) -> None:
        if self.dim < 4 or self.dim % 4:
            raise ValueError(f"dim is {self.dim}, but must be a positive multiple of 4.")


@dataclass
class AdapterOptions(OptimizerOptions):
    """MLP adapters over frozen music embeddings, trained on genres before stage 2."""

    steps: int = 1000
    learning_rate: float = 1e-3
    beta2: float = 0.999
    weight_decay: float = 0.05
    final_rate_factor: float = 0.0
    gradient_clip: float = 1.0
    batch_size: int = 64
    """Clips per step over all processes."""
    width: int = 256
    """Hidden width of an adapter; its output is as wide as its input."""
    projection: int = 64
    """Width of the projection that the contrastive loss compares."""
    contrastive: float = 0.5
    """Weight of the contrastive loss, added to the cross-entropy of the genre (0: not used)."""
    temperature: float = 0.1
    """Temperature of the contrastive loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, math.inf, "width", "projection")
        check_positive(self, "temperature")
        check_range(self, 0, math.inf, "contrastive")
        check_range(self, 2, math.inf, "batch_size")
