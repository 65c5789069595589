"""Options of the data module, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from datamodules.options.checks import check_range

#: Random seed of data order and rendering.
SEED = 0
SPEEDS = (1.0,)


@dataclass
class ClipOptions:
    """How videos are prepared, cut into clips, split and loaded."""

    fps: float = 10.0
    """Frames per second of a clip; at most the rate that the videos were prepared at."""
    size: int = 128
    """Side of the square frames in pixels."""
    fit: Literal["letterbox", "crop"] = "letterbox"
    """How a frame is made square: letterbox adds black bars, crop keeps the middle."""
    frames: int = 40
    """Frames per clip (T)."""
    stride: int = 0
    """Frames between the starts of neighboring training clips; 0 uses a quarter of a clip."""
    evaluation_stride: int = 0
    """Frames between the starts of validation and test clips; 0 cuts clips without overlap."""
    start: Literal["grid", "beat"] = "grid"
    """Where training clips start: grid (every `stride` frames) or beat (the frames nearest to
    beats)."""
    mirror: bool = False
    """Also train on every clip mirrored left to right."""
    speeds: list[float] = field(default_factory=lambda: list(SPEEDS))
    """Playback speeds of the training clips, sound included; prepare the videos at a multiple of
    `fps` for smooth motion at other speeds than 1."""
    pairs_per_clip: int = 1
    """Frame pairs that stage 1 draws from each clip per epoch."""
    beats: Literal["tracked", "truth"] = "tracked"
    """Source of the beats: tracked in the music, or truth (rendered videos only)."""
    split: Literal["auto", "crossmodal", "files", "dancer", "music"] = "auto"
    """How videos are divided into training, validation and test: crossmodal (AIST++'s rule), files
    (official lists), dancer or music (random by seed); auto takes the lists if `split_files` is
    given, else AIST++'s rule if the names follow it, else music."""
    split_files: str = ""
    """Folder of crossmodal_train.txt, crossmodal_val.txt and crossmodal_test.txt."""
    split_seed: int = 0
    """Random seed of the splits by dancer and by music and of `val_by_music`."""
    val_by_music: bool = False
    """Validate on songs taken from the training split. AIST++'s own validation split shares its
    songs with the test split, so a model selected on it has seen the test music."""
    val_fraction: float = 0.1
    """Fraction of the dancers or songs in validation, and again in test, if split by seed."""
    ignore_list: str = ""
    """File of video names to leave out, such as AIST++'s ignore_list.txt (bad 3D reconstruction;
    the videos themselves are fine)."""
    cache: str = ""
    """Folder of cached latent flow and music embeddings; empty uses `cache` in the data folder."""
    workers: int = 0
    """Loader processes per training process; 0 loads in the training process itself."""
    memory_mb: float = 1024.0
    """Memory for decoded videos per training process, in megabytes."""

    def __post_init__(self) -> None:
        check_range(self, 1, 120, "fps")
        check_range(self, 16, 2048, "size")
        check_range(self, 2, 4096, "frames")
        check_range(self, 0, 4096, "stride", "evaluation_stride")
        check_range(self, 1, 100_000, "pairs_per_clip")
        check_range(self, 0.0, 0.5, "val_fraction")
        check_range(self, 0, 256, "workers")
        check_range(self, 0, 1e9, "memory_mb")
        if self.size % 2:
            raise ValueError(f"size is {self.size}, but video needs an even number.")
        if not self.speeds or not all(0.25 <= speed <= 4.0 for speed in self.speeds):
            raise ValueError(f"speeds is {self.speeds}, but needs numbers between 0.25 and 4.")
        if self.split == "files" and not self.split_files:
            raise ValueError("split=files needs split_files, the folder of the lists.")
