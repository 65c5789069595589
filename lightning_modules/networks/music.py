"""MusicConditioner: from music features and beats to the music embedding of the denoiser.

Each part can be switched on or off (for ablations). For the clip: CLAP and Wav2CLIP embeddings
through trainable adapters over frozen encoders (DabFusion: e = [e_c, e_w, e_b]), a small encoder of
spectral features (log-mel and chroma) that needs no weights, and beats. Beats are used as `none`,
`global` (as in the paper: a vector of T zeros and ones through an MLP, added to the time step) or
`frame` (impulse, phase, onset strength and interval of each frame, added to that frame).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.options.clips import ClipOptions
from lightning_modules.networks.attention import LocalMusicAttention
from lightning_modules.networks.music_adapter import FeatureAdapter, MusicAdapters
from lightning_modules.options.music import MusicOptions

BEAT_MODES = ("none", "global", "frame")
CLAP_DIM = 512
CLAP_TOKEN_DIM = 768
WAV2CLIP_DIM = 512
SPECTRAL_DIM = 44
#: Width of each music feature.
FEATURE_DIMS = {
    "clap": CLAP_DIM,
    "clap_tokens": CLAP_TOKEN_DIM,
    "wav2clip": WAV2CLIP_DIM,
    "spectral": SPECTRAL_DIM,
}


@dataclass
class MusicEmbedding:
    """Music embedding of B windows, the music condition of the denoiser."""

    clip: Tensor
    """(B, D): of the window as a whole."""
    frames: Tensor | None = None
    """(B, T, D): of each frame; None without parts that are local in time."""

    def repeat(self, times: int) -> MusicEmbedding:
        """Repeat the embeddings along the batch."""
        frames = None if self.frames is None else self.frames.repeat(times, 1, 1)
        return MusicEmbedding(self.clip.repeat(times, 1), frames)


def mlp(channels_in: int, channels: int) -> nn.Sequential:
    """Build two linear layers with SiLU between them."""
    return nn.Sequential(nn.Linear(channels_in, channels), nn.SiLU(), nn.Linear(channels, channels))


def nearest_frames(impulse: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Find the frame nearest to each beat, the earlier one for a beat half-way between two.

    Args:
        impulse: (B, T) beat impulses, each shared linearly by the two frames around the beat.
        tolerance: Rounding error of the shares.

    Returns:
        (B, T) bool.
    """
    # A beat between frames k and k + 1 gives them 1 - s and s: the nearest frame has 0.5 or more.
    near = impulse >= 0.5 - tolerance
    halves = near & (impulse <= 0.5 + tolerance)
    # In a run of halves (one run for each such beat, longer for beats two frames apart) every
    # other frame is the earlier one of its beat.
    place = torch.arange(impulse.shape[-1], device=impulse.device)
    place_in_run = place - torch.where(halves, -1, place).cummax(-1).values - 1
    # A half without a second half after it belongs to a beat before the window.
    followed = F.pad(near[..., 1:], (0, 1), value=True)
    return near & (~halves | ((place_in_run % 2 == 0) & followed))


class FrameConvolution(nn.Module):
    """Two convolutions over time of per-frame features: (B, T, F) -> (B, T, D)."""

    def __init__(self, features: int, dim: int, kernel: int = 5) -> None:
        super().__init__()
        # Outer frames are replicated: outside a window the music continues, it is not silent.
        self.conv1 = nn.Conv1d(features, dim, kernel, padding=kernel // 2, padding_mode="replicate")
        self.conv2 = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, padding_mode="replicate")
        self.act = nn.SiLU()

    def forward(self, features: Tensor) -> Tensor:
        # Convolutions over time expect (B, channels, T).
        return self.conv2(self.act(self.conv1(features.transpose(1, 2)))).transpose(1, 2)


class SpectralEncoder(nn.Module):
    """Encode the spectral features of a window (log-mel and chroma): (B, T, M) -> (B, D)."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.frames = FrameConvolution(features, dim)

    def forward(self, spectral: Tensor) -> Tensor:
        return self.frames(self.norm(spectral)).mean(1)  # averaged over time


class MusicConditioner(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Embed music features for the clip as a whole and for its frames.

    Args:
        dim: Width D of the embeddings.
        beats: "none", "global" or "frame".
        spectral: Whether spectral features are used.
        clap: Whether CLAP's embedding of the clip is used.
        clap_tokens: Whether CLAP's tokens over time are used, through local attention.
        wav2clip: Whether Wav2CLIP's embeddings are used.
        frames: T of a window, the length of the global beat vector.
        beat_channels: Beat features per frame.
        spectral_channels: Spectral features per frame.
        reach: Frames before and after that local attention over CLAP's tokens covers.
        clap_token_dim: Width of CLAP's tokens: 768 for HTSAT-tiny, 1024 for HTSAT-base.
        adapted: Inner width of the trained adapter of a feature, by the feature's name; see
            `take_adapters`.

    Raises:
        ValueError: Unknown beat mode.
    """

    @register_to_config
    def __init__(
        self,
        dim: int = MusicOptions.dim,
        beats: str = MusicOptions.beats,
        spectral: bool = MusicOptions.spectral,
        clap: bool = MusicOptions.clap,
        clap_tokens: bool = MusicOptions.clap_tokens,
        wav2clip: bool = MusicOptions.wav2clip,
        frames: int = ClipOptions.frames,
        beat_channels: int = 7,
        spectral_channels: int = SPECTRAL_DIM,
        reach: int = 10,
        clap_token_dim: int = CLAP_TOKEN_DIM,
        adapted: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        if beats not in BEAT_MODES:
            raise ValueError(f"beats is {beats!r}; expected one of {', '.join(BEAT_MODES)}.")
        self.beats, self.dim, self.frames_of_window = beats, dim, frames
        self.beat_frames = FrameConvolution(beat_channels, dim) if beats == "frame" else None
        self.beat_clip = mlp(frames, dim) if beats == "global" else None
        self.spectral_encoder = SpectralEncoder(spectral_channels, dim) if spectral else None
        self.clap_adapter = mlp(CLAP_DIM, dim) if clap else None
        self.wav2clip_adapter = mlp(WAV2CLIP_DIM, dim) if wav2clip else None
        self.token_in = nn.Linear(clap_token_dim, dim) if clap_tokens else None
        self.token_attention = LocalMusicAttention(dim, 4, reach) if clap_tokens else None
        self.null_clip = nn.Parameter(torch.zeros(dim))
        self.null_frame = nn.Parameter(torch.zeros(dim))
        dims = FEATURE_DIMS | {"clap_tokens": clap_token_dim}
        self.adapters = nn.ModuleDict(
            {name: FeatureAdapter(dims[name], w) for name, w in (adapted or {}).items()}
        ).requires_grad_(False)

    def take_adapters(self, trained: MusicAdapters) -> None:
        """Copy trained adapters; they stay frozen here and are saved with this conditioner."""
        for name, adapter in self.adapters.items():
            adapter.load_state_dict(trained.adapters[name].state_dict())

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the music features that `forward` needs."""
        parts = {
            "spectral": self.spectral_encoder,
            "clap": self.clap_adapter,
            "clap_tokens": self.token_in,
            "wav2clip": self.wav2clip_adapter,
        }
        return tuple(name for name, part in parts.items() if part is not None)

    def forward(
        self, beat_features: Tensor, music: dict[str, Tensor], drop: Tensor | None = None
    ) -> MusicEmbedding:
        """Embed the music of B windows.

        Args:
            beat_features: (B, T, 7) in the order of `datamodules.batch.BEAT_FEATURES`.
            music: The music features that `needs` lists: spectral (B, T, 44), clap (B, 512),
                clap_tokens (B, T, `clap_token_dim`), wav2clip (B, 512) or (B, T, 512).
            drop: (B,) bool: windows whose embedding is replaced by a learned "no music" embedding
                (classifier-free guidance, Ho and Salimans, arXiv 2207.12598, algorithm 1).

        Raises:
            ValueError: A required feature is missing from `music`.
        """
        missing = [name for name in self.needs if name not in music]
        if missing:
            raise ValueError(
                f"The model was trained with the music features {', '.join(missing)}, which are "
                "missing from the input: compute them first."
            )
        music = music | {name: adapt(music[name]) for name, adapt in self.adapters.items()}
        clip = self._clip(beat_features, music)
        frames = self._frames(beat_features, music)
        if drop is not None:
            clip = torch.where(drop[:, None], self.null_clip, clip)
            if frames is not None:
                frames = torch.where(drop[:, None, None], self.null_frame, frames)
        return MusicEmbedding(clip, frames)

    def null(self, batch: int, frames: int) -> MusicEmbedding:
        """Return the learned embedding of "no music" for B windows of T frames."""
        local = self.beat_frames is not None or self.token_in is not None
        per_frame = self.null_frame.expand(batch, frames, -1) if local else None
        return MusicEmbedding(self.null_clip.expand(batch, -1), per_frame)

    def _clip(self, beat_features: Tensor, music: dict[str, Tensor]) -> Tensor:
        # The parts are added after an adapter each (the paper concatenates them), so that switching
        # one off changes no sizes.
        clip = self.null_clip.new_zeros(len(beat_features), self.dim)
        if self.clap_adapter is not None:
            clip = clip + self.clap_adapter(music["clap"])
        if self.wav2clip_adapter is not None:
            embedding = music["wav2clip"]  # (B, 512), or (B, T, 512) averaged over time
            clip = clip + self.wav2clip_adapter(
                embedding.mean(1) if embedding.ndim == 3 else embedding
            )
        if self.spectral_encoder is not None:
            clip = clip + self.spectral_encoder(music["spectral"])
        if self.beat_clip is not None:
            clip = clip + self.beat_clip(self._beat_vector(beat_features))
        return clip

    def _beat_vector(self, beat_features: Tensor) -> Tensor:
        """Return (B, frames_of_window): 1 on the frame nearest to each beat, else 0 (the paper)."""
        short = self.frames_of_window - beat_features.shape[1]
        if short < 0:
            raise ValueError(
                f"The global beat vector was built for {self.frames_of_window} frames, not "
                f"{beat_features.shape[1]}."
            )
        return F.pad(nearest_frames(beat_features[..., 0]).to(beat_features.dtype), (0, short))

    def _frames(self, beat_features: Tensor, music: dict[str, Tensor]) -> Tensor | None:
        # (B, T, D): the sum of the parts that are local in time, None if there are none.
        frames = None
        if self.beat_frames is not None:
            frames = self.beat_frames(beat_features)
        if self.token_in is not None and self.token_attention is not None:
            if frames is None:
                frames = self.null_clip.new_zeros(*beat_features.shape[:2], self.dim)
            frames = self.token_attention(frames, self.token_in(music["clap_tokens"]))
        return frames
