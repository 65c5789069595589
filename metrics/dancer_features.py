"""A small feature network trained on rendered dancers.

It is trained to predict pose, motion, genre and playback rate of a rendered dancer from sixteen
frames. `dabfusion study features` trains it in a few minutes of one processor
core and measures which changes its distances detect; the included weights come from it. Distances
have their own scale: compare them with each other, not with published FVD.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

#: The included weights, in half precision.
WEIGHTS = Path(__file__).parent / "weights" / "dancer_features.safetensors"
#: Features of a video.
DIMENSION = 64
#: Consecutive frames that the network sees at a time, scaled to a square of so many pixels.
WINDOW = 16
SIZE = 64
#: Windows are this many frames apart; their features are averaged.
STRIDE = 8


class DancerNetwork(nn.Module):
    """2-D convolutions on every frame and its change, followed by 3-D convolutions.

    Normalized within each window. Without the changes between frames as input it does not learn
    motion.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Sequential(*_halving(6, 16), *_halving(16, 24), *_halving(24, 32))
        self.motion = nn.Sequential(
            nn.Conv3d(32, 64, 3, stride=2, padding=1),
            nn.GroupNorm(4, 64),
            nn.LeakyReLU(0.1),
            nn.Conv3d(64, 64, 3, stride=(2, 1, 1), padding=1),
            nn.LeakyReLU(0.1),
        )
        self.out = nn.Linear(64 * (SIZE // 16) ** 2, DIMENSION)

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (B, 16, 3, 64, 64) in [-1, 1] to features (B, 64)."""
        change = windows.diff(dim=1, prepend=windows[:, :1])
        seen = self.frame(torch.cat([windows, change], 2).flatten(0, 1))
        moving = self.motion(seen.unflatten(0, windows.shape[:2]).transpose(1, 2))
        features: Tensor = self.out(moving.mean(2).flatten(1))
        return features


def _halving(channels: int, out: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out, 3, stride=2, padding=1),
        nn.GroupNorm(4, out),
        nn.LeakyReLU(0.1),
    ]


class DancerVideoFeatures(nn.Module):
    """A `FeatureExtractor` of 64 features: the mean of `DancerNetwork` over a video's windows.

    Args:
        weights: File of weights, as `dabfusion study features` writes it; by default the
            included ones.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It holds no weights of this network.
    """

    dimension = DIMENSION

    def __init__(self, weights: str | Path = WEIGHTS) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        super().__init__()
        content = Path(weights).read_bytes()
        self.digest = f"rendered-dancers:{hashlib.sha256(content).hexdigest()[:16]}"
        self.network = DancerNetwork()
        try:
            self.network.load_state_dict(load(content))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(
                f"{weights} holds no weights of the network of rendered dancers; train some with "
                "`dabfusion study features`."
            ) from error
        self.network.requires_grad_(False).eval()

    def forward(self, video: Tensor) -> Tensor:
        """uint8 (B, T, 3, H, W) to features (B, 64), a video at a time."""
        return torch.stack([self.network(windows_of(clip)).mean(0) for clip in video])


def windows_of(clip: Tensor) -> Tensor:
    """uint8 (T, 3, H, W) to windows (N, 16, 3, 64, 64) in [-1, 1].

    A video shorter than a window holds its last frame.
    """
    starts = torch.arange(0, max(1, len(clip) - WINDOW + 1), STRIDE)
    places = (starts[:, None] + torch.arange(WINDOW)).clamp(max=len(clip) - 1)
    return to_network(clip)[places.to(clip.device)]


def to_network(frames: Tensor) -> Tensor:
    """uint8 (T, 3, H, W) to (T, 3, 64, 64) in [-1, 1], averaged over areas."""
    scaled = frames.to(torch.float32) / 127.5 - 1
    if scaled.shape[-2:] == (SIZE, SIZE):
        return scaled
    return nn.functional.interpolate(scaled, (SIZE, SIZE), mode="area")
