"""Key points of dancers: AIST++'s `keypoints2d` pickles, the renderer's truth, resampling.

A pickle can run any code when it is read. `read_arrays` admits NumPy arrays, numbers, strings and
plain containers; anything else that a file requests is refused before it is created.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError
from datamodules.files import write_bytes

AIST_FPS = 60.0
"""Frames a second of AIST++'s annotations."""
AIST_VIEW = (1920, 1080)
"""Width and height in pixels of the view that AIST++'s key points refer to."""
JOINTS = 17

_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("collections", "OrderedDict"),
}
_LARGEST = 512 * 1024 * 1024


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it requests {module}.{name}")
        # NumPy 2 renamed the module; either name reads files of both.
        home = module.replace("numpy._core", "numpy.core") if np.__version__ < "2" else module
        return super().find_class(home, name)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """How protocol-2 pickles carry bytes; no other codec is admitted."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it requests the codec {encoding!r}")
    return text.encode("latin1")


def read_arrays(path: Path) -> Any:
    """The contents of a pickle that holds nothing but arrays, numbers and plain containers.

    Raises:
        DataError: The file requests anything else, is damaged, or is absurdly large.
    """
    if path.stat().st_size > _LARGEST:
        raise DataError(f"{path} is larger than 512 MB, so it is not an AIST++ annotation.")
    try:
        return _ArraysOnly(io.BytesIO(path.read_bytes())).load()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is not a pickle of plain arrays ({error}); AIST++ annotations are."
        ) from error
    except Exception as error:  # a damaged pickle raises whatever its opcodes lead to
        raise DataError(
            f"{path} is a damaged pickle ({type(error).__name__}); fetch it again."
        ) from error


def read_aist(path: Path, camera: int) -> NDArray[np.float32]:
    """One camera's key points from AIST++'s `keypoints2d/*.pkl`.

    Returns:
        (N, 17, 3) float32 at 60 frames a second: x, y in pixels of the 1920x1080 view and
        confidence in [0, 1]; misses have confidence 0.

    Raises:
        DataError: The file is not such an annotation.
    """
    content = read_arrays(path)
    stored = content.get("keypoints2d") if isinstance(content, dict) else None
    shape = getattr(stored, "shape", None)
    if (
        not isinstance(stored, np.ndarray)
        or stored.dtype.kind != "f"
        or stored.ndim != 4
        or stored.shape[2:] != (JOINTS, 3)
        or not camera < stored.shape[0]
        or not stored.shape[1]
    ):
        raise DataError(
            f"{path} holds key points of the shape {shape}, but (9, N, 17, 3) was expected."
        )
    return cleaned(stored[camera])


def read_truth(path: Path) -> NDArray[np.float32]:
    """The renderer's key points of a video, (N, 17, 3): x, y in pixels, visibility."""
    points = _truth(path, "keypoints")
    if points.ndim != 3 or points.shape[1:] != (JOINTS, 3) or points.dtype.kind != "f":
        raise DataError(f"{path} holds key points of the shape {points.shape}, not (N, 17, 3).")
    return cleaned(points)


def read_true_beats(path: Path) -> NDArray[np.float64]:
    """The renderer's beats of a video in seconds."""
    beats = _truth(path, "beats")
    if beats.ndim != 1 or beats.dtype.kind != "f" or not np.isfinite(beats).all():
        raise DataError(f"{path} holds beats of the shape {beats.shape}, not (N,) seconds.")
    return np.sort(beats[beats >= 0.0].astype(np.float64))


def _truth(path: Path, name: str) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} has no readable array {name!r}; render the set again.") from error


def cleaned(points: NDArray[Any]) -> NDArray[np.float32]:
    """Key points with misses (NaN, infinity) at the origin with confidence 0."""
    known = np.isfinite(points).all(axis=-1, keepdims=True)
    result = np.where(known, points, 0.0).astype(np.float32)
    result[..., 2] = np.clip(result[..., 2], 0.0, 1.0)
    return result


def resample(
    points: NDArray[np.float32], rate: float, frames: int, fps: float
) -> NDArray[np.float32]:
    """The key points nearest in time to each clip frame, (frames, 17, 3); behind the end of the
    annotation the last ones, with confidence 0."""
    nearest = np.round(np.arange(frames) / fps * rate).astype(np.int64)
    moved = points[np.minimum(nearest, len(points) - 1)].copy()
    # Lengths differ by a frame or two depending on rounding; only more is missing.
    moved[nearest > len(points) + 1, :, 2] = 0.0
    return moved


def write(path: Path, points: NDArray[np.float32]) -> None:
    """Store key points in clip pixels, (N, 17, 3) float32."""
    buffer = io.BytesIO()
    np.savez(buffer, keypoints=points)
    write_bytes(path, buffer.getvalue())


def read(path: Path) -> NDArray[np.float32]:
    """Key points in clip pixels that `write` stored."""
    return _truth(path, "keypoints").astype(np.float32)
