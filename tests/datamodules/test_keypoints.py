"""Key points: AIST++'s pickles read safely, and put where the clip shows them."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from dance_folder import write_dance

from datamodules.errors import DataError
from datamodules.index import DatasetSettings
from datamodules.keypoints import (
    AIST_VIEW,
    cleaned,
    read_aist,
    read_arrays,
    read_true_beats,
    resample,
)
from datamodules.preparation.prepare import PrepareOptions, prepare


class Boom:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("exit 3",)


def annotation(frames: int = 240) -> dict[str, np.ndarray]:
    points = np.zeros((9, frames, 17, 3))
    camera, time = np.arange(9)[:, None, None], np.arange(frames)[None, :, None] / 60
    points[..., 0] = 100.0 * camera + 200.0 * time + np.arange(17)
    points[..., 1] = 500.0 + 10.0 * np.arange(17)
    points[..., 2] = 0.9
    return {
        "keypoints2d": points,
        "det_scores": np.ones((9, frames)),
        "timestamps": np.arange(frames) / 60,
    }


def write(path: Path, content: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_any_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    content = {**annotation(12), "scale": np.float64(2.5), "names": ["a", ("b", 1)]}
    found = read_arrays(write(tmp_path / "a.pkl", content, protocol))
    assert np.array_equal(found["keypoints2d"], content["keypoints2d"])
    assert found["scale"] == 2.5
    assert found["names"] == ["a", ("b", 1)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Boom(), "posix.system"),
        ({"keypoints2d": Boom()}, "posix.system"),
        (np.asarray([Boom()], dtype=object), "posix.system"),
        (Path("x"), "pathlib"),
        (eval, "eval"),
        (io.BytesIO(b"x"), "BytesIO"),
    ],
)
def test_whatever_is_more_than_arrays_is_refused_unmade(
    tmp_path: Path, content: object, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_arrays(write(tmp_path / "a.pkl", content))


def test_other_codecs_than_the_one_of_old_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"c_codecs\nencode\n(Vx\nVrot13\ntR.")
    with pytest.raises(DataError, match="rot13"):
        read_arrays(path)


def test_mutated_pickles_never_do_more_than_raise(tmp_path: Path) -> None:
    content = pickle.dumps(annotation(6))
    path = tmp_path / "a.pkl"
    for number in range(150):
        rng = np.random.default_rng([9, number])
        damaged = bytearray(content)
        for place in rng.integers(0, 400, rng.integers(1, 6)):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(1, len(damaged) + 1)])
        try:
            points = read_aist(path, 0)
        except DataError:
            continue
        assert points.shape == (6, 17, 3)


@pytest.mark.parametrize(
    "stored", [np.zeros((9, 5, 17)), np.zeros((9, 5, 16, 3)), np.zeros((9, 0, 17, 3)), [1], None]
)
def test_other_shapes_are_refused(tmp_path: Path, stored: object) -> None:
    path = write(tmp_path / "a.pkl", {"keypoints2d": stored})
    with pytest.raises(DataError, match="was expected"):
        read_aist(path, 0)
    with pytest.raises(DataError, match="was expected"):
        read_aist(write(tmp_path / "b.pkl", [1, 2]), 0)


def test_misses_have_no_confidence() -> None:
    points = np.ones((2, 17, 3))
    points[1, 3, 0] = np.nan
    points[0, 2, 2] = 7.0
    found = cleaned(points)
    assert found[1, 3].tolist() == [0.0, 0.0, 0.0]
    assert found[0, 2, 2] == 1.0
    assert np.isfinite(found).all()


def test_annotations_are_resampled_by_time() -> None:
    points = np.zeros((120, 17, 3), dtype=np.float32)
    points[..., 0] = np.arange(120)[:, None]
    points[..., 2] = 1.0
    found = resample(points, 60.0, 25, 10.0)
    assert found[:20, 0, 0].tolist() == [6.0 * k for k in range(20)]
    assert found[20, 0, 2] == 1.0  # a frame or two is rounding
    assert not found[21:, :, 2].any()


def test_key_points_land_on_the_clips_pixels(tmp_path: Path) -> None:
    """A video of 112 x 48 with AIST++ points of the 1920 x 1080 view, letterboxed to 56."""
    name = "gBR_sBM_c03_d04_mBR4_ch03"
    write_dance(tmp_path / "in" / f"{name}.mp4", "mBR4", seconds=4.0)
    points = annotation()
    write(tmp_path / "points" / "gBR_sBM_cAll_d04_mBR4_ch03.pkl", points)
    options = PrepareOptions(DatasetSettings(size=56), keypoints=tmp_path / "points")
    prepare(tmp_path / "in", tmp_path / "out", options)
    with np.load(tmp_path / "out" / "keypoints" / f"{name}.npz") as stored:
        found = stored["keypoints"]
    assert found.shape == (40, 17, 3)
    raw = points["keypoints2d"][2, ::6]
    # Scale 1/2 about the corner of the picture, which lies 16 rows below the clip's corner.
    x = (raw[..., 0] * 112 / AIST_VIEW[0] + 0.5) / 2 - 0.5
    y = (raw[..., 1] * 48 / AIST_VIEW[1] + 0.5) / 2 - 0.5 + 16
    np.testing.assert_allclose(found[..., 0], x, atol=1e-3)
    np.testing.assert_allclose(found[..., 1], y, atol=1e-3)
    np.testing.assert_allclose(found[..., 2], 0.9, atol=1e-6)


def test_truth_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "truth.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="no readable array"):
        read_true_beats(path)
    np.savez(path, beats=np.asarray(["a"]))
    with pytest.raises(DataError, match="seconds"):
        read_true_beats(path)
    np.savez(path, beats=np.asarray([Boom()], dtype=object))
    with pytest.raises(DataError, match="no readable array"):
        read_true_beats(path)
