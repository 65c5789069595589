"""Rendered sets: names that keep the held-out apart, whole files, resumption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.aist_names import parse
from datamodules.errors import DataError
from datamodules.media.video import probe, read_audio, read_frames
from datamodules.splits import HELD_OUT_PIECES, crossmodal
from datamodules.synthetic.dataset import (
    dance_names,
    load_truth,
    render_clip,
    render_dataset,
    true_flow,
)

SMALL = {"train_videos": 2, "size": 32, "seconds": 1.0, "workers": 1}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set")
    render_dataset(out, **SMALL)  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize("count", [1, 100, 900])
def test_held_out_persons_pieces_and_dances_occur_nowhere_else(count: int) -> None:
    names = [parse(name) for name in dance_names(0, count)]
    assert len({str(name) for name in names}) == count + 40
    by_split: dict[str, list] = {"train": [], "val": [], "test": []}
    for name in names:
        by_split[str(crossmodal(name))].append(name)
    assert [len(by_split[s]) for s in ("train", "val", "test")] == [count, 20, 20]
    for split in ("val", "test"):
        assert {name.music for name in by_split[split]} == HELD_OUT_PIECES
        assert all(name.dancers[0] >= "d90" for name in by_split[split])
        counts = [sum(n.music == piece for n in by_split[split]) for piece in HELD_OUT_PIECES]
        assert counts == [2] * 10
    # Whatever the steps are, no validation video can be a copy of a test video.
    assert not {(n.music, n.dancers) for n in by_split["val"]} & {
        (n.music, n.dancers) for n in by_split["test"]
    }
    train = by_split["train"]
    assert not {name.music for name in train} & HELD_OUT_PIECES
    assert not {n.dance for n in train} & {n.dance for n in by_split["val"] + by_split["test"]}
    assert all(name.dancers[0] < "d90" for name in train)


def test_cameras_show_the_same_performances() -> None:
    names = [parse(name) for name in dance_names(0, 3, cameras=4)]
    assert len(names) == 4 * 43
    assert len({str(name.with_camera("cAll")) for name in names}) == 43


def test_files_hold_the_clip_and_its_truth(rendered: Path) -> None:
    names = dance_names(0, 2)
    assert sorted(p.stem for p in (rendered / "videos").iterdir()) == sorted(names)
    truth = load_truth(rendered / "truth" / f"{names[0]}.npz")
    clip = render_clip(truth.spec)
    path = rendered / "videos" / f"{names[0]}.mp4"
    assert probe(path).frames == len(clip.frames) == 10
    assert (read_frames(path).float() - clip.frames.float()).abs().mean() < 6
    assert np.array_equal(truth.keypoints, clip.keypoints)
    assert np.array_equal(truth.beats_s, clip.beats_s)
    assert truth.tempo_bpm == parse(names[0]).tempo_bpm
    heard = read_audio(path, clip.sample_rate)[: len(clip.audio)]
    assert np.corrcoef(heard, clip.audio[: len(heard)])[0, 1] > 0.9
    grid, visible = true_flow(truth.scene(), 0, [5], 16)
    expected = clip.true_flow(0, [5], 16)
    assert torch.equal(grid, expected[0])
    assert torch.equal(visible, expected[1])


def test_a_second_run_renders_only_what_is_missing(rendered: Path) -> None:
    names = dance_names(0, 2)
    videos = sorted((rendered / "videos").iterdir())
    kept, lost, stale = videos[3], videos[5], videos[7]
    content = lost.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in videos}
    lost.unlink()
    half = rendered / "videos" / f".{lost.name}.123.partial"
    half.write_bytes(content[:100])  # of a run that was killed
    (rendered / "truth" / f"{stale.stem}.npz").write_bytes(b"cut off")
    seen: list[tuple[int, int]] = []
    assert render_dataset(rendered, **SMALL, progress=lambda *now: seen.append(now)) == names  # type: ignore[arg-type]
    assert seen == [(40, 42), (41, 42), (42, 42)]
    assert lost.read_bytes() == content
    assert not half.exists()
    assert kept.stat().st_mtime_ns == before[kept]
    assert load_truth(rendered / "truth" / f"{stale.stem}.npz").spec.name == stale.stem


def test_other_settings_do_not_mix(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="other settings"):
        render_dataset(rendered, **{**SMALL, "size": 48})  # type: ignore[arg-type]
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "mine.mp4").touch()
    with pytest.raises(DataError, match="another origin"):
        render_dataset(tmp_path, **SMALL)  # type: ignore[arg-type]


@pytest.mark.long
def test_several_processes_write_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    render_dataset(tmp_path, **{**SMALL, "workers": 2})  # type: ignore[arg-type]
    for path in (rendered / "videos").iterdir():
        assert (tmp_path / "videos" / path.name).read_bytes() == path.read_bytes()


def test_truth_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"a\.npz is not the truth"):
        load_truth(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", beats=np.zeros(3))
    with pytest.raises(DataError, match=r"b\.npz"):
        load_truth(tmp_path / "b.npz")
    with pytest.raises(FileNotFoundError):
        load_truth(tmp_path / "c.npz")
