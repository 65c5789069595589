"""Settings of the music conditioning: which parts the denoiser hears, each an ablation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class MusicSettings:
    """MusicConditioner; the defaults are the paper's e = [CLAP, Wav2CLIP, beats]."""

    dim: int = 256
    """Width of the music embedding."""
    beats: Literal["none", "global", "frame"] = "global"
    """How beats enter: none, global (a vector beside the time step) or frame (to each frame)."""
    clap: bool = True
    """CLAP's embedding of the clip."""
    clap_tokens: bool = False
    """CLAP's tokens in time, attended to locally by each frame."""
    wav2clip: bool = True
    """Wav2CLIP's embedding of the clip."""
    spectral: bool = False
    """A small encoder over log-mel and chroma that needs no downloaded weights."""
    clap_weights: str = ""
    """A CLAP checkpoint of LAION (.pt) or a folder of a Hugging Face CLAP model."""
    wav2clip_weights: str = ""
    """Wav2CLIP.pt."""
    adapter: str = ""
    """Run folder of `dabfusion train music-adapter`: its frozen adapters stand between the features
    that are on and the conditioner."""

    def __post_init__(self) -> None:
        if self.dim % 4:
            raise ValueError(f"music.dim is {self.dim}: it must be divisible by 4.")
