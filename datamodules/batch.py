"""The data contract: a batch of clips, as used by every stage, metric and sampler.

Shape letters: B batch, T frames, N beats, H W pixels, h w latent cells, J key points, F beat
features, M music features, S audio samples.

Time: frame k of a clip is at k / fps seconds; beats are seconds from the clip's first frame.
Positions: -1 and 1 are the centers of the outer pixels, last axis (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

#: Beat features of a frame, in this order.
BEAT_FEATURES = (
    "impulse",  # splatted linearly onto the two nearest frames
    "sin_phase",
    "cos_phase",
    "sin_2phase",
    "cos_2phase",
    "onset_strength",  # [0, 1]
    "beat_interval",  # seconds
)

#: Key points everywhere, in COCO's order.
KEYPOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)


@dataclass
class ClipBatch:
    """A batch of clips of equal length; frame pairs for stage 1 are clips of two frames.

    Frames stay uint8 until they are on the device; the reference frame is a view of them.
    """

    clip_ids: list[str]
    """`NAME@START` per clip: the video's name and the clip's first frame (mirrored: m behind)."""
    music_ids: list[str]
    """The piece of music of each clip; intervals are clustered by it."""
    fps: float
    """Frames per second of every clip of the batch."""
    index: Tensor
    """(B,) int64: the clip's place in the data set, the same whatever the rank."""
    beats: Tensor
    """(B, N) float32: music beats in seconds, ascending, padded with NaN."""
    beat_features: Tensor
    """(B, T, F) float32, in the order of `BEAT_FEATURES`."""
    frames: Tensor | None = None
    """(B, T, 3, H, W) uint8."""
    music: dict[str, Tensor] = field(default_factory=dict)
    """Music features by name: `spectral` (B, T, M) log-mel and chroma of each frame; where cached,
    `clap` (B, D), `clap_tokens` (B, T, D) and `wav2clip` (B, T, D)."""
    waveform: Tensor | None = None
    """(B, S) float32 in [-1, 1], mono."""
    sample_rate: int = 0
    """Hertz of `waveform`; 0 without one."""
    latent_flow: Tensor | None = None
    """(B, T, 3, h, w): absolute sampling grid (x, y) in [-1, 1] and occlusion map in [0, 1]."""
    keypoints: Tensor | None = None
    """(B, T, J, 3) float32: x, y in [-1, 1] (pixel centers) and visibility in [0, 1]."""
    valid: Tensor | None = None
    """(B, T) bool: False on frames padded behind the end of a video; None means all valid."""

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def reference(self) -> Tensor:
        """The first frame of each clip, (B, 3, H, W) uint8, a view of `frames`."""
        if self.frames is None:
            raise ValueError("This batch carries no frames, so it has no reference frame.")
        return self.frames[:, 0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipBatch:
        """The same batch with every tensor on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ClipBatch:
        """The same batch in page-locked memory (called by torch's DataLoader)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def first(self, count: int) -> ClipBatch:
        """The first `count` clips of the batch, as views."""
        cut = self._map(lambda tensor: tensor[:count])
        return replace(cut, clip_ids=self.clip_ids[:count], music_ids=self.music_ids[:count])

    def _map(self, change: Any) -> ClipBatch:
        changed: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changed[f.name] = change(value)
            elif isinstance(value, dict):
                changed[f.name] = {name: change(tensor) for name, tensor in value.items()}
        return replace(self, **changed)


def to_unit(frames: Tensor) -> Tensor:
    """uint8 frames to float32 in [0, 1], on whatever device they are."""
    return frames.to(torch.float32).div_(255.0)


def to_uint8(images: Tensor) -> Tensor:
    """Convert images of any shape and floating type from [0, 1] to uint8, rounded and clamped."""
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8)
