"""Clips: the right frames at the right time, with the right beats, whatever the augmentation."""

import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from dance_folder import RATE, SIZE, TEST, TRAIN, VAL, beats_of, shown_time, write_dance

from datamodules.aist import AISTDataModule, ClipContent, LoaderOptions, SplitRule, WindowRule
from datamodules.augment import MIRRORED_JOINTS, clip_beats, mirror_keypoints
from datamodules.batch import KEYPOINTS, ClipBatch
from datamodules.cache import FeatureStore
from datamodules.clips import ClipDataset
from datamodules.errors import DataError
from datamodules.index import DatasetSettings, read_index
from datamodules.loading import VideoLoader
from datamodules.media.beats import beat_features
from datamodules.preparation.prepare import PrepareOptions, prepare
from datamodules.windows import Window, clip_id, cut, parse_clip_id, spread

RULE = WindowRule(frames=16, stride=8, fps=10.0)


def module(prepared: Path, rule: WindowRule = RULE, **changes: object) -> AISTDataModule:
    return AISTDataModule(prepared, rule, **changes)  # type: ignore[arg-type]


def whole(dataset: ClipDataset) -> ClipBatch:
    return dataset.__getitems__(range(len(dataset)))


def test_splits_are_those_of_the_names(prepared: Path) -> None:
    data = module(prepared)
    assert data.split_rule == "crossmodal"
    for split, names in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        found = {clip.split("@")[0] for clip in data.dataset(split).clip_ids}  # type: ignore[arg-type]
        assert found == set(names)


def test_a_batch_is_what_the_contract_says(prepared: Path) -> None:
    data = module(prepared, content=ClipContent(sample_rate=16_000))
    batch = whole(data.dataset("train"))
    count = len(batch)
    assert count == len(set(batch.clip_ids)) == len(batch.music_ids)
    assert batch.frames is not None
    assert batch.frames.shape == (count, 16, 3, SIZE, SIZE)
    assert batch.frames.dtype == torch.uint8
    assert batch.reference.data_ptr() == batch.frames.data_ptr()
    assert batch.beat_features.shape == (count, 16, 7)
    assert batch.beat_features.dtype == batch.beats.dtype == torch.float32
    assert batch.music["spectral"].shape == (count, 16, 44)
    assert batch.waveform is not None
    assert batch.waveform.shape == (count, 25_600)
    assert batch.index.tolist() == list(range(count))
    assert batch.valid is None
    assert (batch.fps, batch.sample_rate) == (10.0, 16_000)


@pytest.mark.parametrize("memory_mb", [0.0, 100.0])
def test_frames_beats_and_sound_share_one_clock(prepared: Path, memory_mb: float) -> None:
    """One second of video is one second of music."""
    content = ClipContent(sample_rate=RATE)
    data = module(prepared, content=content, loading=LoaderOptions(memory_mb=memory_mb))
    batch = whole(data.dataset("train"))
    assert batch.frames is not None
    assert batch.waveform is not None
    for place, clip in enumerate(batch.clip_ids):
        _, window = parse_clip_id(clip)
        shown = [shown_time(frame) for frame in batch.frames[place]]
        np.testing.assert_allclose(shown, (window.start + np.arange(16)) / 10, atol=2e-3)
        truth = beats_of(batch.music_ids[place], 5.0) - window.start / 10
        truth = truth[(truth >= 0.02) & (truth < 1.58)]
        beats = batch.beats[place]
        beats = beats[~beats.isnan()]
        for beat in truth:
            assert (beats - beat).abs().min() < 0.025
            first = round(beat * RATE)
            click = batch.waveform[place, first : first + 900].abs().max()
            assert click > 0.3
        assert len(beats) <= len(truth) + 2


def test_decoded_in_memory_or_from_disk_is_the_same(prepared: Path) -> None:
    batches = [
        whole(module(prepared, loading=LoaderOptions(memory_mb=mb)).dataset("val"))
        for mb in (0.0, 1.0, 100.0)
    ]
    for batch in batches[1:]:
        assert batch.frames is not None
        assert batches[0].frames is not None
        assert torch.equal(batch.frames, batches[0].frames)
        assert torch.equal(batch.beat_features, batches[0].beat_features)


@pytest.mark.parametrize("places", [[0, 1, 3, 4, 4], [1, 3, 5, 5, 5], [2, 3, 4], [4], [7, 7, 7]])
def test_any_frames_are_the_same_from_memory_and_from_disk(
    prepared: Path, places: list[int]
) -> None:
    """Among them those of a clip that is faster and padded: its ends are as far apart as if it
    were neither."""
    kept, read = (
        module(prepared, loading=LoaderOptions(memory_mb=mb)).dataset("val").loader
        for mb in (100.0, 0.0)
    )
    wanted = np.array(places)
    assert torch.equal(kept.frames(0, wanted), read.frames(0, wanted))


def test_the_budget_bounds_what_is_kept(prepared: Path) -> None:
    data = module(prepared, loading=LoaderOptions(memory_mb=4.0))
    whole(data.dataset("train"))
    kept = sum(frames.nbytes for frames in data.loader._frames.values())
    assert 0 < kept <= 4 * 2**20


def test_speed_changes_frames_beats_and_features_alike(prepared: Path) -> None:
    rule = WindowRule(frames=16, stride=8, fps=10.0, speeds=(1.0, 1.5))
    data = module(prepared, rule)
    dataset = data.dataset("train")
    batch = whole(dataset)
    assert batch.frames is not None
    fast = [i for i, clip in enumerate(batch.clip_ids) if "x1.5" in clip]
    assert len(fast) > 4
    for place in fast:
        name, window = parse_clip_id(batch.clip_ids[place])
        shown = np.asarray([shown_time(frame) for frame in batch.frames[place]])
        wanted = window.start / 10 + 1.5 * np.arange(16) / 10
        assert np.abs(shown - wanted).max() <= 0.05 + 2e-3  # the nearest prepared frame
        truth = (beats_of(batch.music_ids[place], 5.0) - window.start / 10) / 1.5
        beats = batch.beats[place]
        beats = beats[~beats.isnan()]
        inside = truth[(truth >= 0.02) & (truth < 1.58)]
        assert all((beats - beat).abs().min() < 0.02 for beat in inside)
        row = data.index.names.index(name)
        again = beat_features(
            np.asarray(data.loader.beats(row)) / 1.5 - window.start / 15, np.zeros(9), 1.0, 16, 10.0
        )
        np.testing.assert_allclose(batch.beat_features[place, :, :5], again[:, :5], atol=1e-4)
        interval = 60 / (1.5 * data.index.row(row)["tempo_name_bpm"])
        np.testing.assert_allclose(batch.beat_features[place, :, 6], interval, atol=0.02)


def test_mirrored_clips_are_mirrored_and_sound_alike(prepared: Path) -> None:
    data = module(prepared, WindowRule(frames=16, stride=8, fps=10.0, mirror=True))
    batch = whole(data.dataset("train"))
    assert batch.frames is not None
    assert [clip.endswith("m") for clip in batch.clip_ids] == [False, True] * (len(batch) // 2)
    assert torch.equal(batch.frames[1::2].flip(-1), batch.frames[::2])
    assert torch.equal(batch.beat_features[1::2], batch.beat_features[::2])
    assert not torch.equal(batch.frames[1::2], batch.frames[::2])
    assert len(data.dataset("val")) == len(module(prepared).dataset("val"))


def test_mirroring_turns_left_joints_into_right_ones() -> None:
    points = torch.zeros(17, 3)
    left, right = KEYPOINTS.index("left_wrist"), KEYPOINTS.index("right_wrist")
    points[left] = torch.tensor([0.4, 0.1, 1.0])
    points[right] = torch.tensor([-0.7, 0.2, 0.5])
    mirrored = mirror_keypoints(points)
    assert mirrored[right].tolist() == pytest.approx([-0.4, 0.1, 1.0])
    assert mirrored[left].tolist() == pytest.approx([0.7, 0.2, 0.5])
    assert torch.equal(mirror_keypoints(mirrored), points)
    assert MIRRORED_JOINTS[KEYPOINTS.index("nose")] == KEYPOINTS.index("nose")


def test_clips_at_a_lower_rate_than_prepared(prepared: Path) -> None:
    data = module(prepared, WindowRule(frames=8, stride=10, fps=5.0))
    batch = whole(data.dataset("train"))
    assert batch.frames is not None
    for place, clip in enumerate(batch.clip_ids):
        start = parse_clip_id(clip)[1].start / 10
        shown = [shown_time(frame) for frame in batch.frames[place]]
        np.testing.assert_allclose(shown, start + np.arange(8) / 5, atol=2e-3)
    places = 5.0 * batch.beats[:, None, :] - torch.arange(8)[None, :, None]
    impulses = (1.0 - places.abs()).clamp(min=0.0).nansum(-1)
    assert impulses.sum() > len(batch)
    torch.testing.assert_close(batch.beat_features[:, 1:-1, 0], impulses[:, 1:-1])
    with pytest.raises(DataError, match="prepared at 10 fps"):
        module(prepared, WindowRule(frames=8, stride=10, fps=25.0))


def test_clips_cut_on_beats_start_there(prepared: Path) -> None:
    rule = WindowRule(frames=16, stride=5, fps=10.0, on_beat=True)
    data = module(prepared, rule)
    starts = [parse_clip_id(clip) for clip in data.dataset("train").clip_ids]
    assert len(starts) > len(TRAIN)
    for name, window in starts:
        beats = data.loader.beats(data.index.names.index(name))
        assert np.abs(beats - window.start / 10).min() <= 0.05 + 1e-9
    for (one, first), (other, second) in pairwise(starts):
        assert one != other or second.start - first.start >= 5


def test_windows_lie_on_a_grid_and_short_videos_are_padded() -> None:
    none = np.zeros(0)
    starts = [w.start for w in cut(0, 40, none, 10.0, RULE)]
    assert starts == [0, 8, 16, 24]
    assert [w.start for w in cut(0, 16, none, 10.0, RULE)] == [0]
    assert [w.start for w in cut(0, 9, none, 10.0, RULE)] == [0]
    assert cut(0, 7, none, 10.0, RULE) == []
    with pytest.raises(DataError, match="cannot be cut"):
        WindowRule(frames=1, stride=1, fps=10.0)
    with pytest.raises(DataError, match="Speeds"):
        WindowRule(frames=2, stride=1, fps=10.0, speeds=(9.0,))


def test_padding_is_marked(tmp_path: Path) -> None:
    write_dance(tmp_path / "in" / "gBR_sBM_c01_d04_mBR1_ch03.mp4", "mBR1", seconds=2.0)
    write_dance(tmp_path / "in" / "gBR_sBM_c01_d04_mBR2_ch03.mp4", "mBR2", seconds=3.0)
    prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(DatasetSettings(size=SIZE)))
    rule = WindowRule(frames=30, stride=8, fps=10.0)
    data = module(tmp_path / "out", rule, split=SplitRule(rule="crossmodal"))
    batch = whole(data.dataset("train"))
    assert batch.frames is not None
    assert batch.valid is not None
    assert batch.valid.sum(1).tolist() == [20, 30]
    assert torch.equal(batch.frames[0, 19], batch.frames[0, 29])
    pairs = module(tmp_path / "out", rule, view="pairs", split=SplitRule(rule="crossmodal"))
    assert whole(pairs.dataset("train")).valid is None


def test_ids_survive_the_round_trip() -> None:
    for window in (Window(-1, 40), Window(-1, 0, True), Window(-1, 7, True, 1.25)):
        assert parse_clip_id(clip_id("a-b@c", window)) == ("a-b@c", window)
    with pytest.raises(DataError, match="not a clip id"):
        parse_clip_id("name")


def test_validation_sees_every_video_first() -> None:
    order = spread([Window(v, s) for v in range(3) for s in (0, 8)])
    assert [(w.video, w.start) for w in order] == [(0, 0), (1, 0), (2, 0), (0, 8), (1, 8), (2, 8)]


def test_pairs_are_two_frames_of_a_clip_and_depend_on_epoch_and_seed(prepared: Path) -> None:
    def pairs(seed: int, epoch: int) -> ClipBatch:
        data = module(prepared, view="pairs", seed=seed, pairs_per_clip=3)
        dataset = data.dataset("train")
        return dataset.__getitems__([(epoch, place) for place in range(len(dataset))])

    batch = pairs(0, 0)
    assert batch.frames is not None
    assert batch.frames.shape[1] == batch.beat_features.shape[1] == 2
    assert len(batch) == 3 * len(set(batch.clip_ids))
    forward = 0
    for place, clip in enumerate(batch.clip_ids):
        start = parse_clip_id(clip)[1].start
        shown = [round(10 * shown_time(frame)) for frame in batch.frames[place]]
        assert shown[0] != shown[1]
        assert all(start <= frame < start + 16 for frame in shown)
        forward += shown[0] < shown[1]
    assert 0 < forward < len(batch)
    frames = [pairs(s, e).frames for s, e in ((0, 0), (0, 1), (1, 0))]
    assert torch.equal(batch.frames, frames[0])  # type: ignore[arg-type]
    assert not torch.equal(batch.frames, frames[1])  # type: ignore[arg-type]
    assert not torch.equal(batch.frames, frames[2])  # type: ignore[arg-type]


def test_cached_features_are_joined_by_clip(prepared: Path, tmp_path: Path) -> None:
    flow = FeatureStore(tmp_path, "latent_flow", {"autoencoder": "a"})
    clap = FeatureStore(tmp_path, "clap", {"network": "b"})
    rule = WindowRule(frames=16, stride=8, fps=10.0, mirror=True)
    ids = module(prepared, rule).dataset("train").clip_ids
    for number, clip in enumerate(ids):
        flow.put(clip, {"latent_flow": torch.full((16, 3, 4, 4), number, dtype=torch.float16)})
        if not clip.endswith("m"):
            clap.put(clip, {"clap": torch.full((6,), number, dtype=torch.float16)})
    content = ClipContent(frames="reference", latent_flow=flow, music=(clap,))
    batch = whole(module(prepared, rule, content=content).dataset("train"))
    assert batch.frames is not None
    assert batch.latent_flow is not None
    assert batch.frames.shape[1] == 1
    assert batch.latent_flow.dtype == batch.music["clap"].dtype == torch.float32
    assert batch.latent_flow[:, 3, 1, 2, 2].tolist() == list(range(len(ids)))
    assert batch.music["clap"][:, 0].tolist() == [n - n % 2 for n in range(len(ids))]
    with pytest.raises(DataError, match="dabfusion cache"):
        whole(module(prepared, rule, content=content).dataset("val"))


def test_beats_of_a_clip_are_seconds_from_its_first_frame() -> None:
    beats = np.asarray([0.5, 1.0, 1.5, 2.0])
    assert clip_beats(beats, 1.0, 1.0, 1.0).tolist() == [0.0, 0.5]
    assert clip_beats(beats, 0.9, 1.0, 2.0).tolist() == pytest.approx([0.05, 0.3, 0.55])
    assert clip_beats(np.zeros(0), 0.0, 1.0, 1.0).shape == (0,)


def test_true_beats_are_refused_where_there_are_none(prepared: Path) -> None:
    with pytest.raises(DataError, match="has no true beats"):
        module(prepared, beats="truth").windows("train")
    with pytest.raises(DataError, match="tracked"):
        module(prepared, beats="guessed").windows("train")


LOAD = """
import sys
from pathlib import Path
import torch
from datamodules.aist import AISTDataModule, LoaderOptions, WindowRule
from torch.utils.data import get_worker_info

class Spy(torch.utils.data.Dataset):
    def __init__(self, inner): self.inner = inner
    def __len__(self): return len(self.inner)
    def __getitems__(self, places):
        batch = self.inner.__getitems__(places)
        assert get_worker_info() is not None
        # torchmetrics imports the name alone; parts load, and compile, when they are used.
        batch.clip_ids = sorted({"librosa.beat", "librosa.core.audio", "numba"} & set(sys.modules))
        return batch

from datamodules.sampler import ClipLoader
data = AISTDataModule(Path(sys.argv[1]), WindowRule(16, 8, 10.0), loading=LoaderOptions(4))
inner = data.train_dataloader()
loader = ClipLoader(Spy(inner.dataset), inner.batches, workers=2)
print(sum((batch.clip_ids for batch in loader), ["none"]))
"""


def test_no_worker_ever_uses_librosa(prepared: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(prepared)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "['none']", done.stderr


def test_a_pickled_loader_starts_with_its_whole_budget(prepared: Path) -> None:
    loader = VideoLoader(read_index(prepared), "tracked", 64.0)
    loader.frames(0, np.arange(3))
    assert loader.budget < 64.0 * 2**20
    assert pickle.loads(pickle.dumps(loader)).budget == 64.0 * 2**20
