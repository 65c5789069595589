"""The raters' page from build to analysis, in a real browser, by keyboard alone."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.errors import SettingsError
from experiments.studies.raters import study as raters
from experiments.studies.raters.answers import load_key
from experiments.studies.raters.build import StudyPlan, build_study

CLIPS = ["gBR_one", "gBR_two"]
PLAN = StudyPlan(
    questions={"fit": "Which dance fits the music better?"},
    trials_per_rater=0,
    checks=1,
    repeats=1,
    ties=True,
)


@pytest.fixture(scope="module")
def methods(
    tmp_path_factory: pytest.TempPathFactory, clip_writer: Callable[..., Path]
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("methods")
    for hue, method in enumerate(("ours", "theirs")):
        for clip in CLIPS:
            clip_writer(root / method / f"{clip}.mp4", hue=hue, frames=6)
    return {method: root / method for method in ("ours", "theirs")}


@pytest.fixture(scope="module")
def study(methods: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "study"
    build_study(out, methods, PLAN)
    return out


def shown(page: Any, side: str) -> str:
    source = page.eval_on_selector(f"[data-side={side}] video", "v => v.getAttribute('src')")
    return Path(source).stem


def start(page: Any) -> None:
    page.click("#beep")
    page.click(f"#beeps button:has-text('{page.evaluate('document.body.dataset.beeps')}')")
    page.click("#start")


def watch_both(page: Any) -> None:
    for key, side in (("1", "left"), ("2", "right")):
        page.keyboard.press(key)
        page.wait_for_selector(f"[data-side={side}] .seen:has-text('watched')", timeout=60000)


def answer_all(page: Any, key: dict[str, Any], prefers: str) -> int:
    """Choose the video of ``prefers`` in every pair, and the right one of every check."""
    by_videos = {frozenset(entry["videos"].values()): entry for entry in key["trials"].values()}
    answered = 0
    while page.is_visible("#trial"):
        title = page.inner_text("#trial-title")
        entry = by_videos[frozenset((shown(page, "left"), shown(page, "right")))]
        letter = (
            entry["right"]
            if entry["kind"] == "check"
            else next(name for name, method in entry["methods"].items() if method == prefers)
        )
        watch_both(page)
        side = "Left" if shown(page, "left") == entry["videos"][letter] else "Right"
        page.keyboard.press(f"Arrow{side}")
        page.keyboard.press("Enter")
        page.wait_for_function(
            "old => document.getElementById('trial').hidden ||"
            " document.getElementById('trial-title').textContent !== old",
            arg=title,
        )
        answered += 1
    return answered


def test_page_does_not_reveal_methods_or_checks(study: Path) -> None:
    html = (study / "page" / "index.html").read_text()
    for word in ("ours", "theirs", *CLIPS, "check"):
        assert word not in html.split('id="study"')[1].split("</script>")[0]
    files = sorted((study / "page").rglob("*.mp4"))
    assert len(files) == 2 * len(CLIPS) + PLAN.checks
    for file in files:
        assert b"ours" not in file.read_bytes()
    # The order of the fields must not tell which videos were swapped either.
    page = json.loads(html.split('id="study" type="application/json">')[1].split("</script>")[0])
    assert [list(trial) for trial in page["trials"]] == [["id", "group", "a", "b"]] * 3
    assert page["trials"] == sorted(page["trials"], key=lambda trial: trial["id"])
    assert "http://" not in html
    assert "https://" not in html


def test_checks_are_frozen_with_sound(study: Path) -> None:
    from datamodules.media.video import probe, read_frames

    key = load_key(study)
    for entry in key["trials"].values():
        if entry["kind"] == "check":
            wrong = {"a": "b", "b": "a"}[entry["right"]]
            video = study / "page" / "videos" / f"{entry['videos'][wrong]}.mp4"
            frames = read_frames(video, None).float()
            assert (frames - frames[:1]).abs().max() < 12
            assert probe(video).has_audio


def test_rater_end_to_end(study: Path, open_page: Callable[..., Any], tmp_path: Path) -> None:
    key = load_key(study)
    address = (study / "page" / "index.html").as_uri()
    answers = tmp_path / "answers"
    for number, prefers in enumerate(("ours",)):
        page = open_page(address)
        start(page)
        assert answer_all(page, key, prefers) == len(CLIPS) + PLAN.checks + PLAN.repeats
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(answers / f"{number}.json")
        data = json.loads((answers / f"{number}.json").read_text())
        assert data["finished"]
        assert data["soundCheck"]["passed"]
        assert "plan" not in data
    parser = argparse.ArgumentParser()
    raters.add_arguments(parser)
    assert raters.run(parser.parse_args(["analyze", str(study), "--answers", str(answers)])) == 0
    analysis = json.loads((study / "report" / "analysis.json").read_text())
    assert [rater["checks_failed"] for rater in analysis["raters"]] == [0]
    assert [rater["repeats_same"] for rater in analysis["raters"]] == [1.0]
    preference = analysis["questions"][0]["preferences"][0]
    assert (preference["preferred"], preference["answers"]) == ("ours", len(CLIPS))
    assert preference["rate"]["mean"] == 1.0
    assert "| ours | theirs | 2 | 1.00" in (study / "report" / "report.md").read_text()


def test_sound_plays_and_one_at_a_time(study: Path, open_page: Callable[..., Any]) -> None:
    page = open_page((study / "page" / "index.html").as_uri())
    start(page)
    page.keyboard.press("1")
    page.wait_for_function("document.querySelector('[data-side=left] video').currentTime > 0.1")
    page.keyboard.press("2")
    page.wait_for_function("document.querySelector('[data-side=right] video').currentTime > 0.05")
    left, right = page.evaluate(
        "[...document.querySelectorAll('video')].map(v => ({muted: v.muted, volume: v.volume,"
        " bytes: v.webkitAudioDecodedByteCount, paused: v.paused}))"
    )
    assert left["bytes"] > 0
    assert right["bytes"] > 0
    assert (right["muted"], right["volume"]) == (False, 1)
    assert left["paused"]


def test_answers_wait_for_both_videos_and_survive_a_reload(
    study: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page((study / "page" / "index.html").as_uri())
    start(page)
    page.keyboard.press("1")
    page.wait_for_selector("[data-side=left] .seen:has-text('watched')")
    page.keyboard.press("ArrowLeft")
    assert page.is_disabled("#next")
    assert page.inner_text("#todo") == "Play right to the end."
    watch_both(page)
    page.keyboard.press("ArrowDown")
    assert page.is_checked("input[value=tie]")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.getElementById('trial-title').textContent.startsWith('Pair 2')"
    )
    videos = shown(page, "left"), shown(page, "right")
    page.reload()
    assert page.inner_text("#trial-title").startswith("Pair 2 of")
    assert (shown(page, "left"), shown(page, "right")) == videos


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overlaps_or_overflows(
    study: Path, open_page: Callable[..., Any], width: int
) -> None:
    page = open_page((study / "page" / "index.html").as_uri(), width=width)
    start(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    overlaps = page.evaluate(
        """() => {
          const boxes = [...document.querySelectorAll(
            '#trial h1, #trial progress, #trial video, #trial button, #trial label, #trial legend')]
            .map(e => e.getBoundingClientRect());
          const hit = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
            && a.top < b.bottom - 1 && b.top < a.bottom - 1;
          return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => hit(a, b))).length;
        }"""
    )
    assert overlaps == 0
    small = page.evaluate(
        "[...document.querySelectorAll('#trial button, #trial label')]"
        ".filter(e => e.getBoundingClientRect().height < 44).length"
    )
    assert small == 0


def test_pairs_are_balanced_and_sides_random(study: Path, open_page: Callable[..., Any]) -> None:
    lefts = []
    for _ in range(4):
        page = open_page((study / "page" / "index.html").as_uri())
        page.evaluate("document.getElementById('start').disabled = false")
        page.click("#start")
        saved = page.evaluate("JSON.parse(Object.values(localStorage)[0])")
        lefts.append([(entry["id"], entry["left"]) for entry in saved["plan"]])
    # Two of the few participants may draw the same plan, all four of them cannot.
    assert len({tuple(entries) for entries in lefts}) > 1
    for entries in lefts:
        assert sorted({trial for trial, _ in entries}) == sorted(load_key(study)["trials"])


def test_mistakes_are_one_sentence(
    methods: dict[str, Path], study: Path, tmp_path: Path, clip_writer: Callable[..., Path]
) -> None:
    with pytest.raises(SettingsError, match="two or more"):
        build_study(tmp_path / "a", {"ours": methods["ours"]}, PLAN)
    with pytest.raises(SettingsError, match="is not empty"):
        build_study(study, methods, PLAN)
    clip_writer(tmp_path / "lonely" / "other.mp4")
    with pytest.raises(SettingsError, match="same file name"):
        build_study(tmp_path / "b", {"ours": methods["ours"], "lonely": tmp_path / "lonely"}, PLAN)
    for folder in ("x", "y"):
        clip_writer(tmp_path / "twice" / folder / "gBR_one.mp4")
    with pytest.raises(SettingsError, match="share a name"):
        build_study(tmp_path / "b", {"ours": methods["ours"], "twice": tmp_path / "twice"}, PLAN)


def test_the_command_builds_a_study(
    methods: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--method={name}={folder}" for name, folder in methods.items()]
    build = ["study", "raters", "build", str(tmp_path / "study"), *given, "--checks", "1"]
    assert cli.main(build) == 0
    assert "Hand out" in capsys.readouterr().out
    assert len(load_key(tmp_path / "study")["trials"]) == len(CLIPS) + 1
    (tmp_path / "answers").mkdir()
    answers = ["--answers", str(tmp_path / "answers")]
    for verb in ("analyze", "analyse"):
        assert cli.main(["study", "raters", verb, str(tmp_path / "study"), *answers]) == 2
        assert "contains no JSON" in capsys.readouterr().err
