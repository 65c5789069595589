"""Data sets of clips and of frame pairs; both give whole batches (`ClipBatch`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.augment import clip_beats
from datamodules.batch import ClipBatch
from datamodules.cache import FeatureStore
from datamodules.loading import Sound, VideoLoader
from datamodules.media.beats import beat_features
from datamodules.media.spectrum import ENVELOPE_RATE_HZ
from datamodules.sampler import Draw
from datamodules.windows import Window, WindowRule, clip_id, music_clip_id

FrameChoice = Literal["all", "reference", "none"]


@dataclass(frozen=True)
class ClipContent:
    """What a batch contains in addition to ids and beats."""

    frames: FrameChoice = "all"
    """All frames, the first one only (with cached latent flow nothing else is needed), or none."""
    spectral: bool = True
    keypoints: bool = False
    sample_rate: int = 0
    """Hertz of the waveform; 0 leaves it out."""
    latent_flow: FeatureStore | None = None
    """Joined by clip id."""
    music: tuple[FeatureStore, ...] = ()
    """Cached music embeddings, joined by clip id without mirroring."""


class ClipDataset(Dataset[ClipBatch]):
    """Windows of T frames; see `windows` for what they are.

    Indexing takes a place, or (epoch, place); `__getitems__` makes a batch of several.
    """

    def __init__(
        self,
        loader: VideoLoader,
        windows: Sequence[Window],
        rule: WindowRule,
        content: ClipContent,
    ) -> None:
        self.loader, self.windows = loader, list(windows)
        self.rule, self.content = rule, content
        self._offsets = {
            speed: rule.offsets(loader.fps, speed) for speed in {w.speed for w in windows}
        }
        self._flows: dict[str, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        # As of the loader: a worker starts with nothing in memory and with the whole budget.
        return {**self.__dict__, "_flows": {}}

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def clip_ids(self) -> list[str]:
        """The id of every clip, in order of place."""
        return [clip_id(self.loader.index.names[w.video], w) for w in self.windows]

    def __getitem__(self, place: int | Draw) -> ClipBatch:
        return self.__getitems__([place])

    def __getitems__(self, places: Sequence[int | Draw]) -> ClipBatch:
        """A batch of the clips at these places."""
        draws = [(0, place) if isinstance(place, int) else place for place in places]
        windows = [self.windows[place] for _, place in draws]
        chosen = [self._choose(draw, window) for draw, window in zip(draws, windows, strict=True)]
        return self._batch([place for _, place in draws], windows, chosen)

    def _choose(self, draw: Draw, window: Window) -> NDArray[np.int64]:
        """Which frames of the window the item shows, counted within the clip: all."""
        return np.arange(self.rule.frames)

    def _batch(
        self, places: list[int], windows: list[Window], chosen: list[NDArray[np.int64]]
    ) -> ClipBatch:
        loader, index = self.loader, self.loader.index
        frames = [self._places(w, c) for w, c in zip(windows, chosen, strict=True)]
        valid = torch.stack([torch.from_numpy(ok) for _, ok in frames])
        sounds = [loader.sound(w.video) for w in windows]
        ids = [clip_id(index.names[w.video], w) for w in windows]
        batch = ClipBatch(
            clip_ids=ids,
            music_ids=[index.music[w.video] for w in windows],
            fps=self.rule.fps,
            index=torch.tensor(places, dtype=torch.int64),
            beats=self._beats(windows),
            beat_features=torch.stack(
                [
                    self._beat_features(s, w, c, f)
                    for s, w, c, (f, _) in zip(sounds, windows, chosen, frames, strict=True)
                ]
            ),
            valid=None if bool(valid.all()) else valid,
        )
        self._add_frames(batch, windows, [f for f, _ in frames])
        self._add_music(batch, windows, sounds, [f for f, _ in frames])
        if self.content.latent_flow is not None:
            flows = [self._flow(key)[c] for key, c in zip(ids, chosen, strict=True)]
            batch.latent_flow = torch.stack(flows)
        return batch

    def _places(
        self, window: Window, chosen: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Prepared frames of an item, and which of them exist; behind the end the last repeats."""
        places = window.start + self._offsets[window.speed][chosen]
        last = int(self.loader.index.frames[window.video]) - 1
        return np.minimum(places, last), places <= last

    def _beats(self, windows: list[Window]) -> Tensor:
        seconds = self.rule.frames / self.rule.fps
        found = [
            clip_beats(self.loader.beats(w.video), w.start / self.loader.fps, seconds, w.speed)
            for w in windows
        ]
        padded = np.full((len(found), max(map(len, found))), np.nan, dtype=np.float32)
        for row, beats in enumerate(found):
            padded[row, : len(beats)] = beats
        return torch.from_numpy(padded)

    def _beat_features(
        self,
        sound: Sound,
        window: Window,
        chosen: NDArray[np.int64],
        frames: NDArray[np.int64],
    ) -> Tensor:
        if window.speed == 1.0 and self.rule.fps == self.loader.fps:
            return sound.beat_features[torch.from_numpy(frames)]
        # Played faster, everything of the sound happens sooner by this factor.
        whole = beat_features(
            sound.beats_s / window.speed,
            sound.envelope,
            ENVELOPE_RATE_HZ * window.speed,
            self.rule.frames,
            self.rule.fps,
            window.start / self.loader.fps / window.speed,
        )
        return torch.from_numpy(whole[chosen])

    def _add_frames(
        self, batch: ClipBatch, windows: list[Window], frames: list[NDArray[np.int64]]
    ) -> None:
        loader = self.loader
        if self.content.frames != "none":
            shown = slice(0, 1 if self.content.frames == "reference" else None)
            batch.frames = torch.stack(
                [
                    loader.frames(w.video, f[shown], w.mirror)
                    for w, f in zip(windows, frames, strict=True)
                ]
            )
        if self.content.keypoints:
            batch.keypoints = torch.stack(
                [
                    loader.keypoints(w.video, f, w.mirror)
                    for w, f in zip(windows, frames, strict=True)
                ]
            )

    def _add_music(
        self,
        batch: ClipBatch,
        windows: list[Window],
        sounds: list[Sound],
        frames: list[NDArray[np.int64]],
    ) -> None:
        if self.content.spectral:
            batch.music["spectral"] = torch.stack(
                [s.spectral[torch.from_numpy(f)] for s, f in zip(sounds, frames, strict=True)]
            )
        names = [music_clip_id(self.loader.index.names[w.video], w) for w in windows]
        for store in self.content.music:
            items = [store.get(name) for name in names]
            for key in items[0]:
                batch.music[key] = torch.stack([item[key].float() for item in items])
        if self.content.sample_rate:
            rate, seconds = self.content.sample_rate, self.rule.frames / self.rule.fps
            batch.sample_rate = rate
            batch.waveform = torch.stack(
                [self.loader.waveform(w.video, w, seconds, rate) for w in windows]
            )

    def _flow(self, key: str) -> Tensor:
        """The cached latent flow of a clip, (T, 3, h, w) float32; kept as half precision."""
        store = self.content.latent_flow
        assert store is not None
        known = self._flows.get(key)
        if known is None:
            known = store.get(key)["latent_flow"]
            if known.nbytes <= self.loader.budget:
                self.loader.budget -= known.nbytes
                self._flows[key] = known
        return known.float()


class FramePairDataset(ClipDataset):
    """Two frames of a clip, reference and driving: the training data of stage 1.

    Which two depends on seed, epoch and place alone. They are drawn from the same windows that
    stage 2 sees, in either order, so that flow is learned over the distances it will be used for.
    """

    def __init__(
        self,
        loader: VideoLoader,
        windows: Sequence[Window],
        rule: WindowRule,
        content: ClipContent,
        seed: int,
        pairs_per_clip: int = 1,
    ) -> None:
        super().__init__(loader, windows, rule, content)
        self.seed, self.pairs_per_clip = seed, pairs_per_clip

    def __len__(self) -> int:
        return len(self.windows) * self.pairs_per_clip

    def __getitems__(self, places: Sequence[int | Draw]) -> ClipBatch:
        """A batch of pairs, T = 2."""
        draws = [(0, place) if isinstance(place, int) else place for place in places]
        windows = [self.windows[place // self.pairs_per_clip] for _, place in draws]
        chosen = [self._choose(draw, window) for draw, window in zip(draws, windows, strict=True)]
        return self._batch([place for _, place in draws], windows, chosen)

    def _choose(self, draw: Draw, window: Window) -> NDArray[np.int64]:
        left = int(self.loader.index.frames[window.video]) - window.start
        usable = int((self._offsets[window.speed] < left).sum())
        random = np.random.default_rng([self.seed, *draw, 0x70616972])
        return random.choice(usable, 2, replace=False)
