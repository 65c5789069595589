"""The index of a prepared folder: one Parquet row per clip video, and `dataset.json` next to it.

`dataset.json` carries the format's version, the settings of the preparation and the SHA-256 of
`index.parquet`, and is written last: an index that was cut short, changed or mixed with another
folder's is refused with a sentence, not misread.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from datamodules.errors import DataError
from datamodules.files import write_bytes
from datamodules.options.clips import ClipOptions

FORMAT = "dabfusion-prepared"
VERSION = 1
INDEX = "index.parquet"
DATASET = "dataset.json"

SCHEMA = pa.schema(
    [
        ("name", pa.string()),  # AIST name, or the path below the source folder with "-" for "/"
        ("music", pa.string()),  # the piece; a video whose name states none is a piece of its own
        ("dancer", pa.string()),  # d04, ...; elsewhere the folder, or the video's own name
        ("genre", pa.string()),
        ("situation", pa.string()),
        ("camera", pa.string()),
        ("choreography", pa.string()),
        ("frames", pa.int64()),  # of the clip video, at the data set's rate
        ("source", pa.string()),  # path below the source folder
        ("source_digest", pa.string()),  # SHA-256 of the source file
        ("source_fps", pa.float64()),
        ("source_frames", pa.int64()),
        ("source_width", pa.int64()),
        ("source_height", pa.int64()),
        ("source_duration_s", pa.float64()),
        ("source_largest_gap_s", pa.float64()),  # between neighboring frames
        ("audio_duration_s", pa.float64()),
        ("audio_rate", pa.int64()),
        ("tempo_bpm", pa.float64()),  # of the beats below; 0 without beats
        ("tempo_name_bpm", pa.float64()),  # as stated by the name; null where the name states none
        ("beats", pa.list_(pa.float64())),  # seconds from the first frame, ascending
        ("beat_source", pa.string()),  # piece | own | file
        ("music_offset_s", pa.float64()),  # second of the piece at the first frame
        ("music_match", pa.float64()),  # correlation with the piece's sound, -1 to 1
        ("beats_truth", pa.list_(pa.float64())),  # of rendered videos, else null
        ("keypoints", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class DatasetSettings:
    """What a folder was prepared with."""

    fps: float = ClipOptions.fps
    """Frames a second of the clip videos."""
    size: int = ClipOptions.size
    """Side of the square, pixels."""
    fit: str = ClipOptions.fit
    """`letterbox` or `crop`."""

    def __post_init__(self) -> None:
        if not 1.0 <= self.fps <= 120.0:
            raise DataError(f"fps is {self.fps:g}, but must be between 1 and 120.")
        if not 16 <= self.size <= 2048 or self.size % 2:
            raise DataError(f"size is {self.size}, but must be an even number from 16 to 2048.")
        if self.fit not in ("letterbox", "crop"):
            raise DataError(f"fit is {self.fit!r}, but must be 'letterbox' or 'crop'.")

    def digest(self) -> str:
        """A name of these settings that changes with any of them."""
        return digest_of(asdict(self))[:16]


class Index:
    """The rows of a prepared folder, column by column."""

    def __init__(self, root: Path, settings: DatasetSettings, table: pa.Table, digest: str) -> None:
        self.root = root
        self.digest = digest
        """SHA-256 of the index: changes with any video, beat or setting of the preparation."""
        self.settings = settings
        self.table = table
        self.names: list[str] = table["name"].to_pylist()
        self.music: list[str] = table["music"].to_pylist()
        self.dancers: list[str] = table["dancer"].to_pylist()
        self.frames: NDArray[np.int64] = table["frames"].to_numpy()

    def __len__(self) -> int:
        return len(self.names)

    def row(self, number: int) -> dict[str, Any]:
        """One row as plain Python values."""
        return self.table.slice(number, 1).to_pylist()[0]

    def beats(self, column: str = "beats") -> list[NDArray[np.float64] | None]:
        """The beats of every row in seconds, (N,) each; None where the row has none stored."""
        chunk = self.table[column].combine_chunks()
        flat = chunk.values.to_numpy(zero_copy_only=False)
        offsets = chunk.offsets.to_numpy()
        known = chunk.is_valid().to_numpy(zero_copy_only=False)
        return [
            flat[offsets[row] : offsets[row + 1]] if known[row] else None
            for row in range(len(self))
        ]

    def clip_path(self, name: str) -> Path:
        """The clip video of a row."""
        return self.root / "clips" / f"{name}.mp4"

    def features_path(self, name: str) -> Path:
        """The sound features of a row."""
        return self.root / "features" / f"{name}.safetensors"

    def keypoints_path(self, name: str) -> Path:
        """The key points of a row, where it has any."""
        return self.root / "keypoints" / f"{name}.npz"


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_index(
    root: Path, settings: DatasetSettings, rows: Sequence[dict[str, Any]], inputs: str
) -> None:
    """Write `index.parquet`, then `dataset.json` with its digest.

    Args:
        root: The prepared folder.
        settings: Of the preparation.
        rows: By the names of `SCHEMA`; stored in the order of `name`.
        inputs: Digest of what the rows were made from; see `read_dataset`.
    """
    ordered = sorted(rows, key=lambda row: row["name"])
    table = pa.Table.from_pylist(ordered, schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=4096)
    content = sink.getvalue().to_pybytes()
    write_bytes(root / INDEX, content)
    write_dataset(root, settings, hashlib.sha256(content).hexdigest(), inputs)


def write_dataset(
    root: Path, settings: DatasetSettings, index_sha256: str | None, inputs: str | None
) -> None:
    """Write `dataset.json`; without an index's digest it marks an unfinished preparation."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        **asdict(settings),
        "index_sha256": index_sha256,
        "inputs": inputs,
    }
    content["digest"] = digest_of(content)
    write_bytes(root / DATASET, (json.dumps(content, indent=2) + "\n").encode())


def read_dataset(root: Path) -> tuple[DatasetSettings, str | None, str | None]:
    """Settings, digest of the index (None: unfinished) and digest of the inputs.

    Raises:
        DataError: The folder is not prepared, or `dataset.json` is damaged or of a newer format.
    """
    path = root / DATASET
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{root} is not a prepared folder (it has no {DATASET}); "
            "make one with: dabfusion prepare VIDEOS OUT."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _damaged(path)
    version = content.get("version")
    if version != VERSION:
        raise DataError(
            f"{path} has the format version {version}, but this program reads {VERSION}; "
            "prepare the videos again."
        )
    stated = content.pop("digest", None)
    if digest_of(content) != stated:
        raise _damaged(path)
    settings = DatasetSettings(**{f.name: content[f.name] for f in fields(DatasetSettings)})
    return settings, content["index_sha256"], content["inputs"]


def read_index(root: Path) -> Index:
    """Load the index of a prepared folder.

    Raises:
        DataError: The folder is not prepared, not finished, or its index is damaged.
    """
    settings, stated, _ = read_dataset(root)
    path = root / INDEX
    if stated is None or not path.exists():
        raise DataError(
            f"The preparation of {root} is not finished; run dabfusion prepare again to resume it."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != stated:
        raise DataError(
            f"{path} does not match the digest in {DATASET} (it is damaged or truncated); "
            "run dabfusion prepare again."
        )
    try:
        # Not `read_table`: the threads that it starts may abort the process at its exit.
        table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path) from error
    if not table.schema.equals(SCHEMA):
        raise _damaged(path)
    return Index(root, settings, table, stated)


def _damaged(path: Path) -> DataError:
    return DataError(f"{path} is damaged; run dabfusion prepare again to write it again.")
