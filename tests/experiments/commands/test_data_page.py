"""The data page: its commands can be typed, and its numbers are those that were measured."""

import json
import re
import shlex
from pathlib import Path

import pytest

from experiments.cli import build_parser
from experiments.config.load import settings_from_words

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "datamodules" / "README.md").read_text(encoding="utf-8")
MEASURED = ROOT / "experiments" / "benchmarks" / "results" / "data.json"
#: AIST++: frames at 60 a second, in so many videos; one camera's videos.
FRAMES, FPS, VIDEOS, ONE_CAMERA = 10.1e6, 60.0, 12_672, 1_408


def commands() -> list[list[str]]:
    """The words of every command on the page, in shell blocks and in the text."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)).replace("\\\n", " ")
    lines = [line.removeprefix("dabfusion ") for line in blocks.splitlines()]
    return [shlex.split(text) for text in [*lines, *re.findall(r"`dabfusion ([^`]+)`", PAGE)]]


def test_there_are_commands_for_every_step() -> None:
    verbs = [words[0] for words in commands()]
    assert verbs[:5] == ["prepare", "doctor", "train", "cache", "train"]
    assert "benchmark" in verbs


@pytest.mark.parametrize("words", [words for words in commands() if len(words) > 1], ids=" ".join)
def test_commands_parse_and_their_settings_exist(words: list[str]) -> None:
    args = build_parser(words[0]).parse(words[1:])
    settings_from_words(getattr(args, "settings", []))


def said(pattern: str) -> list[float]:
    """The numbers on the page in the one place that matches."""
    (found,) = re.findall(pattern, PAGE, flags=re.MULTILINE)
    words = [found] if isinstance(found, str) else found
    return [float(word.replace(",", "")) for word in words]


def near(*numbers: float) -> object:
    """Measured again, a number may differ a little, and it was rounded."""
    return pytest.approx(list(numbers), rel=0.1)


def test_numbers_are_those_of_the_benchmark() -> None:
    numbers = json.loads(MEASURED.read_text(encoding="utf-8"))["numbers"]
    prepare, load = numbers["prepare"], numbers["load"]
    seconds = FRAMES / FPS
    share = ONE_CAMERA / VIDEOS
    assert said(r"([\d.]+) s a video on\s+average") == near(seconds / VIDEOS)
    for name, per_second in (
        ("decoding alone", prepare["decoding_cpu_s_per_second_of_video"]),
        ("preparing", prepare["cpu_s_per_second_of_video"]),
    ):
        hours = per_second * seconds / 3600.0
        row = rf"^\| {name} \| ([\d.]+) s \| ([\d.]+) core hours \| ([\d.]+) core hours"
        assert said(row) == near(per_second, hours * share, hours)
    stored = prepare["prepared_mb_per_second"] * seconds
    found = said(r"([\d.]+) MB a video: ([\d.]+) GB, or ([\d.]+) GB")
    assert found == near(stored / VIDEOS, stored * share / 1e3, stored / 1e3)
    assert said(r"uses (\d+)% of") == near(100 * prepare["cpu_share"])
    assert said(r"takes ([\d.]+) times as long") == near(prepare["cost_against_decoding"])
    assert said(r"loads ([\d,]+) clips") == near(load["clips_per_minute_per_core"])
    assert said(r"\((\d+) ms each, (\d+)%\s+of it\s+decoding") == near(
        load["loading_ms_per_clip"], 100 * load["share_decoding"]
    )
    assert said(r"40,000 videos loads in\s+([\d.]+) s") == near(numbers["index"]["load_s"])


def test_bars_that_are_met_stay_met() -> None:
    numbers = json.loads(MEASURED.read_text(encoding="utf-8"))["numbers"]
    assert numbers["prepare"]["cpu_share"] > 0.85
    assert numbers["prepare"]["cpu_against_decoding"] <= 1.3
    assert numbers["prepare"]["cost_against_decoding"] <= 1.3
    assert numbers["load"]["clips_per_minute_per_core"] >= 3000
    assert min(numbers["load"]["ratio_to_decord"], numbers["load"]["ratio_to_av"]) >= 0.7
    assert numbers["index"]["load_s"] < 1.0
