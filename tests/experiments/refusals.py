"""What tests of refusals share: the one sentence, and damage done to a folder on purpose."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import cli

#: Damage done to a folder, or another change to it.
Change = Callable[[Path], None]


def refused(capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    """The command ends with status 2 and one sentence that says what is expected."""
    capsys.readouterr()
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    sentences = [line for line in printed.err.splitlines() if line.strip()]
    assert len(sentences) == 1, printed.err
    assert expected in sentences[0]
    assert printed.out == ""
    assert not Path("executed").exists()


class Code:
    """Pickled, it would run a command when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def edit(name: str, **values: object) -> Change:
    """Change fields of a JSON file."""

    def change(run: Path) -> None:
        path = run / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values), encoding="utf-8")

    return change


def write(name: str, content: bytes) -> Change:
    """Overwrite a file."""
    return lambda run: (run / name).write_bytes(content) and None


def cut(name: str, share: float) -> Change:
    """Cut a file off."""

    def change(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(len(content) * share)])

    return change


def remove(name: str) -> Change:
    """Remove a file."""
    return lambda run: (run / name).unlink()
