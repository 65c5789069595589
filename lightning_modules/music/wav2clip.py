"""Wav2CLIP's audio encoder (Wu et al., arXiv 2110.11499), frozen; weights: `Wav2CLIP.pt`.

Written from the description of the released model: a log power spectrogram through a ResNet-18 with
one input channel, and two linear layers to CLIP's 512 dimensions.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_modules.errors import CheckpointError
from lightning_modules.pickled import read_pickled

SAMPLE_RATE = 16_000
_FFT, _HOP = 512, 353


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., arXiv 1512.03385); torchvision's names."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
            if stride != 1
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + shortcut).relu()


class _ResNet18(nn.Module):
    """(N, 1, F, T) -> (N, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class _Transform(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sequential = nn.Sequential(
            nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 512)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.sequential(x)


class Wav2ClipEncoder(nn.Module):
    """Encode waveforms into the embedding space of CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = _ResNet18()
        self.audio_transform = _Transform()
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Windows (N, S) at 16 kHz -> (N, 512).

        The spectrogram is standardized item by item; the original standardizes the whole batch at
        once, so that its embeddings depend on their neighbors.
        """
        window = self.get_buffer("window")
        spectrum = torch.stft(
            waveform, _FFT, _HOP, window=window, pad_mode="reflect", return_complex=True
        )
        level = (spectrum.abs().square() + 1e-7).log()
        mean = level.mean((1, 2), keepdim=True)
        std = level.std((1, 2), keepdim=True)
        return self.audio_transform(self.audio_encoder(((level - mean) / (std + 1e-9))[:, None]))

    def per_second(self, waveform: Tensor) -> Tensor:
        """One embedding per second of (N, S): (N, seconds, 512); the last second is padded."""
        seconds = max(1, -(-waveform.shape[1] // SAMPLE_RATE))
        missing = seconds * SAMPLE_RATE - waveform.shape[1]
        padded = nn.functional.pad(waveform, (0, missing))
        parts = padded.unflatten(1, (seconds, SAMPLE_RATE)).flatten(0, 1)
        return self(parts).unflatten(0, (len(waveform), seconds))


def load_wav2clip(path: str | Path) -> Wav2ClipEncoder:
    """Load the frozen encoder with the released weights.

    Raises:
        CheckpointError: No weights were given or found, or they are of another network.
    """
    if not str(path):
        raise CheckpointError(
            "This model needs Wav2CLIP's features, but no weights were given: get Wav2CLIP.pt "
            "from the releases of descriptinc/lyrebird-wav2clip, and pass its path as "
            "music.wav2clip_weights=PATH (generate: --wav2clip-weights PATH)."
        )
    state = read_pickled(Path(path), "Wav2CLIP's weights (Wav2CLIP.pt)")
    encoder = Wav2ClipEncoder()
    wanted = encoder.state_dict().keys()
    try:
        encoder.load_state_dict({name: value for name, value in state.items() if name in wanted})
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} is not a Wav2CLIP checkpoint ({str(error).splitlines()[-1].strip()}): give "
            "the released Wav2CLIP.pt."
        ) from error
    return encoder
