"""The search for videos: links, unknown endings, hidden files, loops."""

import os
from pathlib import Path

import pytest

from datamodules.files import VIDEO_SUFFIXES, describe_passed_over, find_videos


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize(
    "ending",
    [
        "mp4",
        "MTS",
        "m2ts",
        "mts",
        "3gp",
        "ogv",
        "vob",
        "mxf",
        "asf",
        "divx",
        "f4v",
        "m2v",
        "mpv",
        "Mp4",
        "3G2",
        "h264",
        "hevc",
        "m2t",
        "mod",
        "tod",
        "dv",
        "rmvb",
        "qt",
        "ogm",
        "wtv",
    ],
)
def test_endings_of_videos_are_known_in_any_case(tmp_path: Path, ending: str) -> None:
    path = _touch(tmp_path / f"dance.{ending}")
    assert find_videos(tmp_path) == ([path], [])


def test_what_is_passed_over_is_counted_and_named(tmp_path: Path) -> None:
    video = _touch(tmp_path / "a.mp4")
    for name in ("notes.txt", "more.txt", "README", ".hidden.mp4", ".DS_Store"):
        _touch(tmp_path / name)
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    videos, passed = find_videos(tmp_path)
    assert videos == [video]
    reasons = {item.path.name: item.reason for item in passed}
    assert reasons == {
        "notes.txt": "ending .txt",
        "more.txt": "ending .txt",
        "README": "no ending",
        ".hidden.mp4": "hidden file",
        "gone.mp4": "broken link",
        "pipe.mp4": "not a regular file",
    }
    text = describe_passed_over(passed)
    assert text.startswith("6 files or folders were passed over (2 x ending .txt; ")
    assert ".hidden.mp4" in text
    assert describe_passed_over([]) == ""


def test_linked_folders_are_entered_once_and_circles_end(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    _touch(elsewhere / "far.mp4")
    (elsewhere / "back").symlink_to(elsewhere)
    folder = tmp_path / "videos"
    _touch(folder / "z_own" / "near.mp4")
    (folder / "again").symlink_to(folder / "z_own")
    (folder / "circle").symlink_to(folder)
    (folder / "linked").symlink_to(elsewhere)
    (folder / "one.mp4").symlink_to(elsewhere / "far.mp4")
    videos, passed = find_videos(folder)
    found = [path.relative_to(folder).as_posix() for path in videos]
    assert found == ["linked/far.mp4", "one.mp4", "z_own/near.mp4"]
    assert {item.path.name for item in passed} == {"again", "circle", "back"}
    assert all(item.reason.startswith("same folder as ") for item in passed)


def test_the_output_folder_is_left_out_silently(tmp_path: Path) -> None:
    video = _touch(tmp_path / "a.mp4")
    _touch(tmp_path / "out" / "clips" / "a.mp4")
    assert find_videos(tmp_path, exclude=tmp_path / "out") == ([video], [])


def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    _, passed = find_videos(tmp_path)
    assert [item.reason for item in passed] == ["folder cannot be read (Permission denied)"]


def test_every_ending_is_lower_case() -> None:
    assert all(ending == ending.lower() and ending.startswith(".") for ending in VIDEO_SUFFIXES)
