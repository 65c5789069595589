"""The small feature network that ships: trained on rendered dancers, needs nothing.

It makes Frechet and kernel distances possible where no I3D is at hand. Its numbers have their own
scale: compare them with each other, never with published FVD.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from metrics.extractors import file_sha256

WEIGHTS = Path(__file__).parent / "weights" / "rendered_dancers.safetensors"
#: What the network sees of any video: frames evenly taken, scaled to a small square.
FRAMES = 16
SIZE = 32
DIMENSION = 64


class RenderedDancerFeatures(nn.Module):
    """Four strided 3-D convolutions to 64 features of how a figure looks and moves.

    Trained (`dabfusion study features`) to tell where the joints of rendered dancers are on
    average, how far they move about and how fast: `head` holds these outputs and is not used for
    features.

    Args:
        outputs: number of outputs of the training head.
    """

    dimension = DIMENSION

    def __init__(self, outputs: int = 102) -> None:
        super().__init__()
        widths = (3, 16, 32, 48, DIMENSION)
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise(widths)):
            stride = (1, 2, 2) if place == 0 else (2, 2, 2)
            layers += [
                nn.Conv3d(before, after, 3, stride=stride, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(DIMENSION, outputs)
        self.digest = "rendered-dancers:untrained"

    @classmethod
    def pretrained(cls, path: Path = WEIGHTS) -> RenderedDancerFeatures:
        """The network with the weights that ship.

        Raises:
            FileNotFoundError: the weights are not there.
        """
        from safetensors.torch import load_file

        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
        network = cls(outputs=len(weights["head.bias"]))
        network.load_state_dict(weights)
        network.digest = f"rendered-dancers:{file_sha256(path)[:16]}"
        return network.eval()

    def forward(self, video: Tensor) -> Tensor:
        """uint8 (B, T, 3, H, W) to features (B, 64), in batches of eight."""
        return torch.cat([self.features(self.prepare(part)) for part in video.split(8)])

    def features(self, clips: Tensor) -> Tensor:
        """Prepared clips (B, 3, 16, 32, 32) to (B, 64)."""
        return self.body(clips).mean((2, 3, 4))

    @staticmethod
    def prepare(video: Tensor) -> Tensor:
        """uint8 (B, T, 3, H, W) to (B, 3, 16, 32, 32) in [-1, 1]: even frames, area-scaled."""
        steps = torch.linspace(0, video.shape[1] - 1, FRAMES, device=video.device).round().long()
        frames = video[:, steps].to(torch.float32) / 127.5 - 1
        small = nn.functional.interpolate(frames.flatten(0, 1), (SIZE, SIZE), mode="area")
        return small.unflatten(0, (len(video), FRAMES)).transpose(1, 2).contiguous()
