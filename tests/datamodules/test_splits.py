"""Splits by their properties: what is kept apart, how many, and that seeds decide."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from datamodules.aist_names import GENRES, AistName, parse
from datamodules.errors import DataError
from datamodules.splits import (
    HELD_OUT_PIECES,
    SplitRule,
    assign,
    crossmodal,
    leaks,
    read_list,
)


@dataclass(frozen=True)
class Video:
    name: str
    music: str
    dancer: str


def video(name: str) -> Video:
    parsed = parse(name)
    return Video(name, parsed.music or name, "+".join(parsed.dancers))


def aist_like() -> list[AistName]:
    """Every genre as AIST++ has it: two of three dancers perform each piece's choreographies."""
    names = []
    for place, genre in enumerate(GENRES):
        dancers = [f"d{4 + 3 * place + k:02d}" for k in range(3)]
        for digit, choreography in product(range(6), range(1, 11)):
            for k in range(2):
                dancer = dancers[(digit + choreography + k) % 3]
                music, ch = f"m{genre}{digit}", f"ch{choreography:02d}"
                names.append(AistName("BM", "cAll", genre, (dancer,), music, ch))
        names += [
            AistName("FM", "cAll", genre, (dancers[n % 3],), f"m{genre}{n % 6}", f"ch{n + 1:02d}")
            for n in range(21)
        ]
    return names


NAMES = aist_like()


def of(split: str | None) -> list[AistName]:
    return [name for name in NAMES if crossmodal(name) == split]


def test_val_and_test_are_twenty_sequences_of_ten_pieces_by_two_dancers_each() -> None:
    for split, choreography in (("val", "ch01"), ("test", "ch02")):
        names = of(split)
        assert len(names) == 20
        assert {name.music for name in names} == HELD_OUT_PIECES
        assert {(name.situation, name.choreography) for name in names} == {("BM", choreography)}
        for piece in HELD_OUT_PIECES:
            assert len({name.dancers for name in names if name.music == piece}) == 2
    assert len(HELD_OUT_PIECES) == 10
    assert {piece[1:3] for piece in HELD_OUT_PIECES} == set(GENRES)


def test_training_shares_neither_music_nor_choreography_with_val_and_test() -> None:
    train, held = of("train"), of("val") + of("test")
    assert len({name.music for name in train}) == 50
    assert not {name.music for name in train} & HELD_OUT_PIECES
    assert not {name.dance for name in train} & {name.dance for name in held}
    # The same number in the other situation is another choreography.
    assert any(name.choreography == "ch01" and name.situation == "FM" for name in train)


def test_held_out_pieces_in_other_dances_belong_to_no_split() -> None:
    assert crossmodal(parse("gBR_sBM_c01_d04_mBR0_ch07")) is None
    assert crossmodal(parse("gBR_sFM_c01_d04_mBR0_ch02")) is None
    assert crossmodal(parse("gKR_sBM_c01_d30_mKR5_ch01")) is None
    assert crossmodal(parse("sSH_c01_v0")) is None


def test_leaks_are_found_where_they_are() -> None:
    videos = [video(str(name)) for name in NAMES]
    splits, used = assign(videos, SplitRule())
    assert used == "crossmodal"
    shared = leaks(videos, splits)
    assert shared["train/test"]["music"] == shared["train/test"]["dance"] == []
    assert len(shared["val/test"]["music"]) == 10
    splits[str(of("test")[0])] = "train"
    assert leaks(videos, splits)["train/test"]["music"] == [of("test")[0].music]


def test_val_by_music_takes_whole_pieces_from_training_and_nothing_of_the_test() -> None:
    videos = [video(str(name)) for name in NAMES]
    splits, _ = assign(videos, SplitRule(val_by_music=True, seed=3))
    shared = leaks(videos, splits)
    assert all(not kinds["music"] for kinds in shared.values())
    assert len({v.music for v in videos if splits.get(v.name) == "val"}) == 5
    assert sum(s == "test" for s in splits.values()) == 20
    other, _ = assign(videos, SplitRule(val_by_music=True, seed=4))
    assert other != splits
    assert assign(list(reversed(videos)), SplitRule(val_by_music=True, seed=3))[0] == splits


@pytest.mark.parametrize("by", ["dancer", "music"])
def test_seeded_splits_keep_groups_whole(by: str) -> None:
    videos = [Video(f"v{n}", f"song{n % 7}", f"dancer{n % 5}") for n in range(70)]
    splits, used = assign(videos, SplitRule(rule=by, seed=1))
    assert used == by
    assert set(splits.values()) == {"train", "val", "test"}
    for group in {getattr(v, by) for v in videos}:
        assert len({splits[v.name] for v in videos if getattr(v, by) == group}) == 1
    seeds = [assign(videos, SplitRule(rule=by, seed=s))[0] for s in range(6)]
    assert any(other != splits for other in seeds)


def test_few_groups_are_never_torn_apart() -> None:
    one = [Video(f"v{n}", "song", "d") for n in range(9)]
    assert set(assign(one, SplitRule())[0].values()) == {"train"}
    two = [Video(f"v{n}", f"song{n % 2}", "d") for n in range(9)]
    assert set(assign(two, SplitRule())[0].values()) == {"train", "val"}


def write_lists(folder: Path, val: bool = True) -> None:
    for split in ("train", "val", "test"):
        if split != "val" or val:
            # As published: blank lines occur, and the last line lacks its end.
            text = "\n\n".join(str(name) for name in of(split))
            (folder / f"crossmodal_{split}.txt").write_text(text)


@pytest.mark.parametrize("val", [True, False])
def test_lists_and_rule_agree(tmp_path: Path, val: bool) -> None:
    write_lists(tmp_path, val)
    videos = [video(str(camera)) for name in NAMES[::3] for camera in name.expand()[:2]]
    listed, used = assign(videos, SplitRule(folder=tmp_path))
    assert used == "files"
    assert listed == assign(videos, SplitRule(rule="crossmodal"))[0]


def test_lists_win_over_the_rule(tmp_path: Path) -> None:
    write_lists(tmp_path)
    moved = of("train")[0]
    for split, names in (("train", of("train")[1:]), ("test", [*of("test"), moved])):
        (tmp_path / f"crossmodal_{split}.txt").write_text("\n".join(map(str, names)))
    splits, _ = assign([video(str(moved))], SplitRule(folder=tmp_path))
    assert splits == {str(moved): "test"}


def test_the_ignore_list_takes_videos_out(tmp_path: Path) -> None:
    ignored = of("train")[5]
    path = tmp_path / "ignore_list.txt"
    path.write_text(f"{ignored}\n\n")
    videos = [video(str(camera)) for name in of("train")[:8] for camera in name.expand()]
    splits, _ = assign(videos, SplitRule(rule="crossmodal", ignore_list=path))
    assert len(splits) == 7 * 9
    assert not any(parse(name).with_camera("cAll") == ignored for name in splits)


def test_what_is_wrong_with_a_list_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    with pytest.raises(DataError, match="does not exist"):
        read_list(path)
    for content, said in (
        (b"", "is empty"),
        (b"gBR_sBM_cAll_d04_mBR0_ch01\nholiday", "Line 2"),
        (b"\xff\xfe\x00g", "not text"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_list(path)
    write_lists(tmp_path)
    (tmp_path / "crossmodal_test.txt").write_text(str(of("train")[0]))
    with pytest.raises(DataError, match="belongs to one list only"):
        assign([], SplitRule(folder=tmp_path))
    with pytest.raises(DataError, match="'files' needs the folder"):
        assign([], SplitRule(rule="files"))
    with pytest.raises(DataError, match="unknown"):
        assign([], SplitRule(rule="clip"))
    with pytest.raises(DataError, match="at least two pieces"):
        assign([Video("v", "song", "d")], SplitRule(val_by_music=True))
