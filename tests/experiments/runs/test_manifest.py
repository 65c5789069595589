"""The state of the code in a manifest, from a real repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from experiments.runs.manifest import DIFF_LIMIT, code_state


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of one committed module, which ignores `runs/`."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "model.py").write_text("WIDTH = 1\n")
    (tmp_path / ".gitignore").write_text("runs/\n")
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "First"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    state = code_state(checkout)
    assert len(state["commit"]) == 40
    assert (state["dirty"], state["diff"], state["untracked"]) == (False, "", {})
    assert state["diff_sha256"] is None


def test_changed_and_new_sources_are_kept(checkout: Path) -> None:
    (checkout / "metrics" / "model.py").write_text("WIDTH = 2\n")
    changed = code_state(checkout)
    assert changed["dirty"]
    assert "+WIDTH = 2" in changed["diff"]
    (checkout / "metrics" / "own").mkdir()
    (checkout / "metrics" / "own" / "mine.py").write_text("WEIGHT = 3\n")
    both = code_state(checkout)
    assert both["untracked"] == {"metrics/own/mine.py": "WEIGHT = 3\n"}
    assert both["diff_sha256"] != changed["diff_sha256"]


def test_a_new_source_alone_makes_it_dirty(checkout: Path) -> None:
    (checkout / "metrics" / "mine.py").write_text("")
    assert code_state(checkout)["dirty"]


def test_ignored_files_and_other_files_than_sources_are_left_out(checkout: Path) -> None:
    (checkout / "runs").mkdir()
    (checkout / "runs" / "kept.py").write_text("x = 1\n")
    (checkout / "metrics" / "song.mp3").write_bytes(b"\xff\xfb")
    (checkout / "env").mkdir()
    (checkout / "env" / "torch.py").write_text("x = 1\n")
    assert not code_state(checkout)["dirty"]


def test_long_changes_are_cut_off_but_hashed_in_full(checkout: Path) -> None:
    (checkout / "metrics" / "a.py").write_text("#" * DIFF_LIMIT)
    (checkout / "metrics" / "b.py").write_text("one")
    before = code_state(checkout)
    (checkout / "metrics" / "b.py").write_text("two")
    after = code_state(checkout)
    assert (
        before["untracked"]
        == after["untracked"]
        == {
            "metrics/a.py": "#" * DIFF_LIMIT,
            "metrics/b.py": "",
        }
    )
    assert before["diff_sha256"] != after["diff_sha256"]


def test_a_folder_that_is_not_a_checkout_has_no_state(tmp_path: Path) -> None:
    assert code_state(tmp_path) == {}
