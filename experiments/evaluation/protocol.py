"""The protocol of an evaluation, its hash, its files, and tables that refuse to mix protocols.

protocol.json   how the numbers were made, with a hash of it
clips.csv       one row a clip (also clips.parquet)
scores.json     means with intervals, the videos that failed
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodules.files import replacing, write_text
from experiments.errors import SettingsError
from experiments.evaluation.clips import Row
from experiments.evaluation.folder import FolderOptions, FolderScores
from metrics import VERSION
from metrics.functional.bootstrap import Interval

#: Version of the three files' format.
FORMAT = 1
#: Scores that a table shows, in this order.
HEADLINES = (
    "corrected",
    "raw",
    "chance",
    "control_difference",
    "other_difference",
    "f1_corrected",
    "phase_cosine",
    "av_align",
    "warp_error",
    "psnr",
    "ssim",
    "frechet",
    "kernel",
)


def build_protocol(
    scores: FolderScores,
    options: FolderOptions,
    reference: Mapping[str, Any] | None = None,
    paired: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that two tables must share to be put side by side, and its hash.

    The generated pixels are left out, the names of the clips are in: two methods that made the
    same clips, read and scored alike, have one hash.

    Args:
        scores: a folder's scores.
        options: how it was scored.
        reference: protocol of the comparison with a reference folder, if there was one.
        paired: how videos were compared with their true ones; None leaves no trace, so that
            evaluations without such scores keep their hash.
    """
    clips = sorted(clip.name for clip in scores.clips)
    protocol: dict[str, Any] = {
        "format": FORMAT,
        "metric": "MotionMusicAlignment2D",
        "metric_version": VERSION,
        "clips": len(clips),
        "clips_digest": digest_of(clips),
        "fps": scores.kinds["fps"],
        "size": scores.kinds["size"],
        "frames": scores.kinds["frames"],
        "flow": options.flow,
        "beats": {key: count for key, count in scores.beat_sources.items() if count},
        "beats_digest": digest_of(
            [
                [clip.name, *(round(t, 3) for t in clip.music_beats.tolist())]
                for clip in sorted(scores.clips, key=lambda clip: clip.name)
            ]
        ),
        "bootstrap_seed": 0,
        "reference": None if reference is None else dict(reference),
    }
    if paired is not None:
        protocol["paired"] = dict(paired)
    return {**protocol, "hash": digest_of(protocol)}


def digest_of(content: object) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_evaluation(
    out: Path,
    protocol: Mapping[str, Any],
    rows: Sequence[Row],
    means: Mapping[str, Interval],
    failures: Sequence[Mapping[str, str]] = (),
    distances: Mapping[str, Any] | None = None,
) -> None:
    """Write the files of one evaluation, each of them whole or not at all.

    Args:
        out: folder, made if missing.
        protocol: from `build_protocol`.
        rows: one a clip.
        means: from `summarise`.
        failures: name and reason of every video that could not be scored.
        distances: what came of the comparison with a reference.
    """
    import pandas as pd

    columns = list(rows[0]) if rows else ["clip", "music_id"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{value:.6f}" if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    )
    write_text(out / "clips.csv", text.getvalue())
    with replacing(out / "clips.parquet") as temporary:
        pd.DataFrame(list(rows), columns=columns).to_parquet(temporary)
    summary = {
        "format": FORMAT,
        "protocol_hash": protocol["hash"],
        "means": {name: _plain(interval) for name, interval in means.items()},
        "distances": dict(distances or {}),
        "failures": [dict(failure) for failure in failures],
    }
    write_text(out / "scores.json", json.dumps(summary, indent=2) + "\n")
    write_text(out / "protocol.json", json.dumps(dict(protocol), indent=2) + "\n")


def read_evaluation(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Protocol and scores of an evaluation.

    Raises:
        SettingsError: the folder holds none, or one of another format, or one whose protocol was
            changed by hand.
    """
    try:
        protocol = json.loads((folder / "protocol.json").read_text("utf-8"))
        scores = json.loads((folder / "scores.json").read_text("utf-8"))
        stated, found = protocol["hash"], scores["protocol_hash"]
        version = protocol["format"]
    except FileNotFoundError as error:
        raise SettingsError(
            f'"{folder}" holds no evaluation ({Path(error.filename).name} is missing); make one '
            "with `dabfusion evaluate`."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f'"{folder}" holds no evaluation ({error}); make one with `dabfusion evaluate`.'
        ) from error
    if version != FORMAT:
        raise SettingsError(
            f'"{folder}" is an evaluation of format {version}, and this version reads {FORMAT}; '
            "evaluate again."
        )
    bare = {key: value for key, value in protocol.items() if key != "hash"}
    if digest_of(bare) != stated or stated != found:
        raise SettingsError(
            f'"{folder}" has a protocol that does not belong to its scores; evaluate again.'
        )
    return protocol, scores


def score_table(folders: Sequence[Path], mix: bool = False) -> str:
    """Evaluations side by side, as Markdown.

    Args:
        folders: evaluations, or run folders that hold one.
        mix: show them although their protocols differ.

    Raises:
        SettingsError: protocols differ and `mix` is not set; all differences are named.
    """
    read = [(folder, *read_evaluation(evaluation_folder(folder))) for folder in folders]
    first_name, first, _ = read[0]
    for folder, protocol, _ in read[1:]:
        if protocol["hash"] != first["hash"] and not mix:
            apart = [
                f"{key} {_brief(first.get(key))} against {_brief(protocol.get(key))}"
                for key in sorted({*first, *protocol} - {"hash"})
                if first.get(key) != protocol.get(key)
            ]
            raise SettingsError(
                f'"{first_name}" and "{folder}" were scored by different protocols '
                f"({'; '.join(apart)}); evaluate them alike, or ask for the mixed table."
            )
    shown = [{**scores["means"], **scores["distances"]} for _, _, scores in read]
    names = [name for name in HEADLINES if any(name in values for values in shown)]
    lines = [
        "| evaluation | clips | " + " | ".join(names) + " | protocol |",
        "| --- | --- | " + " | ".join("---" for _ in names) + " | --- |",
    ]
    for (folder, protocol, _), values in zip(read, shown, strict=True):
        cells = [interval_text(values.get(name)) for name in names]
        lines.append(
            f"| {folder} | {protocol['clips']} | " + " | ".join(cells) + f" | {protocol['hash']} |"
        )
    return "\n".join(lines)


def evaluation_folder(folder: Path) -> Path:
    """The folder itself, or its `evaluation` where the protocol lies there."""
    inner = folder / "evaluation"
    return inner if (inner / "protocol.json").is_file() else folder


def interval_text(value: Mapping[str, Any] | Interval | None) -> str:
    """`mean [low, high]` with three decimals; a dash where there is none."""
    if value is None:
        return "-"
    found = _plain(value) if isinstance(value, Interval) else value
    if found["mean"] is None:
        return "-"
    if found["low"] is None:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _plain(interval: Interval) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in vars(interval).items()
    }


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
