"""The frozen music encoders together: from waveforms to the music features of a conditioner."""

from __future__ import annotations

from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor, nn

from lightning_modules.music import clap, wav2clip
from lightning_modules.music.clap import ClapAudioEncoder, tokens_of_frames
from lightning_modules.music.wav2clip import Wav2ClipEncoder

#: Features that come from these encoders.
ENCODED = ("clap", "clap_tokens", "wav2clip")
_CLAP_WINDOW_S = clap.WINDOW_SAMPLES / clap.SAMPLE_RATE


class MusicEncoders(nn.Module):
    """CLAP and Wav2CLIP, either or both.

    Args:
        clap_encoder: Gives `clap` and `clap_tokens`.
        wav2clip_encoder: Gives `wav2clip`.
    """

    def __init__(
        self,
        clap_encoder: ClapAudioEncoder | None = None,
        wav2clip_encoder: Wav2ClipEncoder | None = None,
    ) -> None:
        super().__init__()
        self.clap_encoder, self.wav2clip_encoder = clap_encoder, wav2clip_encoder

    @torch.no_grad()
    def features(
        self, sound: Tensor, sample_rate: int, frames: int, fps: float
    ) -> dict[str, Tensor]:
        """Features of N windows of T frames.

        Args:
            sound: (N, S) mono in [-1, 1], beginning with frame 0.
            sample_rate: Hertz.
            frames: T.
            fps: Frames per second.

        Returns:
            `clap` (N, 512): of the first 10 s, the window repeated where it is shorter;
            `clap_tokens` (N, T, 768) and `wav2clip` (N, T, 512): of each frame.
        """
        found: dict[str, Tensor] = {}
        if self.clap_encoder is not None:
            waveform = resampled(sound, sample_rate, clap.SAMPLE_RATE)
            found |= self._clap(self.clap_encoder, waveform, frames, fps)
        if self.wav2clip_encoder is not None:
            waveform = resampled(sound, sample_rate, wav2clip.SAMPLE_RATE)
            seconds = self.wav2clip_encoder.per_second(waveform)
            place = (torch.arange(frames) / fps).long().clamp_max(seconds.shape[1] - 1)
            found["wav2clip"] = seconds[:, place]
        return found

    def forward(
        self,
        audio: NDArray[np.float32],
        sample_rate: int,
        frames: int,
        fps: float,
        start_s: float,
    ) -> dict[str, Tensor]:
        """Return the features of a part of a song, as `DabFusionPipeline` needs them (N = 1)."""
        first = round(start_s * sample_rate)
        part = audio[first : first + round(frames / fps * sample_rate)]
        device = next(self.parameters()).device
        return self.features(torch.from_numpy(part)[None].to(device), sample_rate, frames, fps)

    def _clap(
        self, encoder: ClapAudioEncoder, waveform: Tensor, frames: int, fps: float
    ) -> dict[str, Tensor]:
        """Encode consecutive parts of 10 s; the embedding is that of the first."""
        each = max(1, int(_CLAP_WINDOW_S * fps))
        embedding: Tensor | None = None
        tokens = []
        for begin in range(0, frames, each):
            first = round(begin / fps * clap.SAMPLE_RATE)
            part = waveform[:, first : first + clap.WINDOW_SAMPLES]
            out = encoder(part if part.shape[1] else waveform.new_zeros(len(waveform), 1))
            embedding = out.embedding if embedding is None else embedding
            tokens.append(tokens_of_frames(out.tokens, min(each, frames - begin), fps))
        assert embedding is not None  # a window has at least one frame
        return {"clap": embedding, "clap_tokens": torch.cat(tokens, dim=1)}


def resampled(sound: Tensor, rate: int, wanted: int) -> Tensor:
    """Resample waveforms (N, S) to another rate in hertz by a polyphase filter."""
    if rate == wanted:
        return sound
    divisor = gcd(rate, wanted)
    values = resample_poly(sound.cpu().numpy(), wanted // divisor, rate // divisor, axis=-1)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(sound.device)
