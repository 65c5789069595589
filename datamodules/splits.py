"""Division of videos into training, validation and test.

AIST++'s cross-modal splits share neither music nor choreography between training and test. Its
validation split shares its ten pieces with the test split: choosing a model by it leaks music, so
`val_by_music` takes whole pieces from the training split instead. Other folders are split by
dancer or by piece of music, never by clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from datamodules.aist_names import ALL_CAMERAS, AistName, AistNameError, parse, try_parse
from datamodules.errors import DataError
from datamodules.options.clips import ClipOptions

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
HELD_OUT_PIECES = frozenset(
    ("mBR0", "mHO5", "mJB5", "mJS3", "mKR2", "mLH4", "mLO2", "mMH3", "mPO1", "mWA0")
)
"""The ten pieces of the cross-modal validation and test splits."""
_HELD_OUT_DANCES = {("BM", "ch01"): "val", ("BM", "ch02"): "test"}
RULES = ("auto", "crossmodal", "files", "dancer", "music")


class Named(Protocol):
    """What a split needs to know of a video."""

    @property
    def name(self) -> str: ...
    @property
    def music(self) -> str: ...
    @property
    def dancer(self) -> str: ...


@dataclass(frozen=True)
class SplitRule:
    """How videos are divided."""

    rule: str = ClipOptions.split
    """`crossmodal` (by AIST name), `files` (official lists in `folder`), `dancer` or `music`
    (seeded, other folders); `auto` takes the lists where `folder` is given, else the cross-modal
    rule where it finds training and test videos, else `music`."""
    folder: Path | None = None
    """Folder of crossmodal_train.txt, crossmodal_val.txt, crossmodal_test.txt."""
    seed: int = ClipOptions.split_seed
    val_by_music: bool = ClipOptions.val_by_music
    """Validate on pieces taken from the training split rather than on those of the test split."""
    val_fraction: float = ClipOptions.val_fraction
    """Share of the groups in each of validation and test (`dancer`, `music`, `val_by_music`)."""
    ignore_list: Path | None = None
    """Names to leave out, one a line (AIST++'s ignore_list.txt)."""


def crossmodal(name: AistName) -> Split | None:
    """The split of a name by the rule behind AIST++'s cross-modal lists; None: in none of them."""
    held_out = _HELD_OUT_DANCES.get((name.situation, name.choreography or ""))
    if name.music in HELD_OUT_PIECES:
        return "val" if held_out == "val" else "test" if held_out == "test" else None
    if name.situation not in ("BM", "FM") or held_out is not None:
        return None
    return "train"


def assign(videos: Iterable[Named], rule: SplitRule) -> tuple[dict[str, Split], str]:
    """The split of each video by its name, and the rule that was used.

    Videos that belong to no split (left out by the cross-modal rule, by the lists or by the
    ignore list) are absent from the result.

    Raises:
        DataError: The rule is unknown, a list cannot be read, or two lists share a name.
    """
    rows = sorted(videos, key=lambda row: row.name)
    if rule.ignore_list is not None:
        ignored = set(read_list(rule.ignore_list))
        rows = [row for row in rows if _whole(row.name) not in ignored]
    used, splits = _divide(rows, rule)
    if rule.val_by_music:
        splits = _validate_by_music(rows, splits, rule)
    return splits, used


def _divide(rows: list[Named], rule: SplitRule) -> tuple[str, dict[str, Split]]:
    if rule.rule not in RULES:
        raise DataError(f"The split rule {rule.rule!r} is unknown; take one of {', '.join(RULES)}.")
    if rule.rule == "files" or (rule.rule == "auto" and rule.folder is not None):
        if rule.folder is None:
            raise DataError("The split rule 'files' needs the folder with crossmodal_train.txt.")
        return "files", _by_files(rows, rule.folder)
    if rule.rule in ("auto", "crossmodal"):
        splits = _by_names(rows)
        found = set(splits.values())
        if rule.rule == "crossmodal" or {"train", "test"} <= found:
            return "crossmodal", splits
    by = "dancer" if rule.rule == "dancer" else "music"
    return by, _by_group({row.name: getattr(row, by) for row in rows}, rule)


def _by_names(rows: list[Named]) -> dict[str, Split]:
    parsed = {row.name: try_parse(row.name) for row in rows}
    found = {key: crossmodal(name) for key, name in parsed.items() if name is not None}
    return {key: split for key, split in found.items() if split is not None}


def _by_files(rows: list[Named], folder: Path) -> dict[str, Split]:
    of: dict[AistName, Split] = {}
    by_rule = not (folder / "crossmodal_val.txt").exists()  # EDGE publishes no validation list
    for split in SPLITS:
        if split == "val" and by_rule:
            continue
        for name in read_list(folder / f"crossmodal_{split}.txt"):
            if name in of:
                raise DataError(
                    f"{name} is in both crossmodal_{of[name]}.txt and crossmodal_{split}.txt "
                    f"of {folder}; a name belongs to one list only."
                )
            of[name] = split
    splits: dict[str, Split] = {}
    for row in rows:
        whole = _whole(row.name)
        if whole in of:
            splits[row.name] = of[whole]
        elif by_rule and whole is not None and crossmodal(whole) == "val":
            splits[row.name] = "val"
    return splits


def _by_group(groups: Mapping[str, str], rule: SplitRule) -> dict[str, Split]:
    """Whole groups to a split. With one group everything is trained on; with two, one validates;
    a group's split depends on the seed and the groups at hand, not on the order of files."""
    order = _shuffled(set(groups.values()), rule.seed)
    count = max(1, round(rule.val_fraction * len(order)))
    test = set(order[:count]) if len(order) > 2 else set()
    val = set(order[len(test) : len(test) + count]) if len(order) > 1 else set()
    return {
        name: "test" if group in test else "val" if group in val else "train"
        for name, group in groups.items()
    }


def _validate_by_music(
    rows: list[Named], splits: dict[str, Split], rule: SplitRule
) -> dict[str, Split]:
    music = {row.name: row.music for row in rows}
    pieces = {music[name] for name, split in splits.items() if split == "train"}
    if len(pieces) < 2:
        raise DataError(
            "val_by_music needs at least two pieces of music in the training split, but there "
            f"{'is one' if pieces else 'is none'}."
        )
    chosen = set(_shuffled(pieces, rule.seed)[: max(1, round(rule.val_fraction * len(pieces)))])
    kept = {name: split for name, split in splits.items() if split != "val"}
    return {
        name: "val" if split == "train" and music[name] in chosen else split
        for name, split in kept.items()
    }


def _shuffled(groups: set[str], seed: int) -> list[str]:
    return sorted(groups, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())


def _whole(name: str) -> AistName | None:
    parsed = try_parse(name)
    return parsed.with_camera(ALL_CAMERAS) if parsed is not None else None


def read_list(path: Path) -> list[AistName]:
    """The `cAll` names of an official split or ignore list, one a line; blank lines are passed.

    Raises:
        DataError: The file is missing, is not text, holds no name, or a line is not an AIST name.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"The list {path} does not exist; AIST++ publishes it.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The list {path} is not text; it needs one AIST name a line.") from error
    names = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            names.append(parse(line.strip()).with_camera(ALL_CAMERAS))
        except AistNameError as error:
            raise DataError(f"Line {number} of the list {path}: {error}") from error
    if not names:
        raise DataError(f"The list {path} is empty; it needs one AIST name a line.")
    return list(dict.fromkeys(names))


def leaks(videos: Iterable[Named], splits: Mapping[str, Split]) -> dict[str, dict[str, list[str]]]:
    """What two splits share: {"train/test": {"music": [...], "dancer": [...], "dance": [...]}}."""
    held: dict[str, dict[str, set[str]]] = {
        split: {"music": set(), "dancer": set(), "dance": set()} for split in SPLITS
    }
    for row in videos:
        split = splits.get(row.name)
        if split is None:
            continue
        held[split]["music"].add(row.music)
        if row.dancer:
            held[split]["dancer"].add(row.dancer)
        name = try_parse(row.name)
        if name is not None and name.choreography is not None:
            held[split]["dance"].add("_".join(str(part) for part in name.dance))
    pairs = (("train", "test"), ("train", "val"), ("val", "test"))
    return {
        f"{one}/{other}": {kind: sorted(held[one][kind] & held[other][kind]) for kind in held[one]}
        for one, other in pairs
    }
