"""How videos become clips."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class ClipSettings:
    """How videos are prepared, cut, split and loaded; the defaults are DabFusion's."""

    fps: float = 10.0
    """Frames a second. Clips may be cut at a lower rate than the videos were prepared at."""
    size: int = 128
    """Side of the square picture, pixels."""
    fit: Literal["letterbox", "crop"] = "letterbox"
    """How a picture that is no square becomes one: black bars, or cut to its middle."""
    frames: int = 40
    """T: frames of a clip."""
    stride: int = 0
    """Frames between the starts of neighbouring training clips; 0 takes a quarter of a clip."""
    evaluation_stride: int = 0
    """Frames between validation (test) clips; 0 for clips that do not overlap."""
    start: Literal["grid", "beat"] = "grid"
    """Where clips start: every `stride` frames, or on the frames nearest to beats."""
    mirror: bool = False
    """Train on every clip mirrored, too."""
    speeds: list[float] = field(default_factory=lambda: [1.0])
    """Train on every clip at these speeds, sound included; prepare at a multiple of `fps` for
    smooth ones."""
    pairs_per_clip: int = 1
    """Frame pairs that stage 1 draws of a clip in an epoch."""
    beats: Literal["tracked", "truth"] = "tracked"
    """Beats as tracked in the music, or the renderer's own (rendered videos only)."""
    split: Literal["auto", "crossmodal", "files", "dancer", "music"] = "auto"
    """How videos are divided: AIST++'s cross-modal rule, official lists, or seeded by dancer or
    by music; auto takes what the names allow: lists, rule, music."""
    split_files: str = ""
    """Folder of crossmodal_train.txt, crossmodal_val.txt, crossmodal_test.txt."""
    split_seed: int = 0
    """Decides the splits by dancer and by music, and val_by_music."""
    val_by_music: bool = False
    """Validate on pieces taken from the training split: AIST++'s own validation split shares its
    music with the test split, so a model chosen by it has seen the test's music."""
    val_fraction: float = 0.1
    """Share of dancers or pieces in validation, and in test, where they are divided by seed."""
    ignore_list: str = ""
    """File of names to leave out (AIST++'s ignore_list.txt: bad 3D reconstruction; their videos
    are fine)."""
    cache: str = ""
    """Folder of cached latent flow and music embeddings; empty means `cache` in the data."""
    workers: int = 0
    """Processes that load clips for each training process; 0 loads in that process itself."""
    memory_mb: float = 1024.0
    """Budget for videos kept decoded in memory, for each training process."""

    def __post_init__(self) -> None:
        bounds: dict[str, tuple[float, float]] = {
            "fps": (1, 120),
            "size": (16, 2048),
            "frames": (2, 4096),
            "stride": (0, 4096),
            "evaluation_stride": (0, 4096),
            "pairs_per_clip": (1, 100_000),
            "val_fraction": (0.0, 0.5),
            "workers": (0, 256),
            "memory_mb": (0, 1e9),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(
                    f"clips.{name} is {value:g}, but must lie between {least:g} and {most:g}."
                )
        if self.size % 2:
            raise ValueError(f"clips.size is {self.size}, but video needs an even number.")
        if not self.speeds or not all(0.25 <= speed <= 4.0 for speed in self.speeds):
            raise ValueError(
                f"clips.speeds is {self.speeds}, but needs numbers between 0.25 and 4."
            )
        if self.split == "files" and not self.split_files:
            raise ValueError("clips.split=files needs clips.split_files, the folder of the lists.")
