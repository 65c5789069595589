"""The comparison in a real browser: sorting, filtering, videos in sync, phone and desktop."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs_on_disk import add_evaluation, add_sample, make_run

from experiments.config.load import load_settings, to_dict
from experiments.reports.compare import compare_runs

OVERLAPS = """(selector) => {
  const boxes = [...document.querySelectorAll(selector)]
    .filter(e => e.checkVisibility({contentVisibilityAuto: true}))
    .map(e => [e, e.getBoundingClientRect()]);
  const hit = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
    && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return boxes.flatMap(([e, a], i) => boxes.slice(i + 1)
    .filter(([f, b]) => !e.contains(f) && !f.contains(e) && hit(a, b))
    .map(([f]) => e.outerHTML.slice(0, 80) + ' / ' + f.outerHTML.slice(0, 80)));
}"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, clip_writer: Callable[..., Path]) -> Path:
    return clip_writer(tmp_path_factory.mktemp("video") / "v.mp4", frames=20)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, video: Path) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for number, beats in enumerate(("none", "global", "frame", "other")):
        settings = {"music": {"beats": beats}, "stage2": {"network": {"width": 8 * 2**number}}}
        run = make_run(root / f"run-{beats}", settings, final=0.1 * (4 - number), seed=number)
        protocol = "p2" if beats == "other" else "p1"
        scores = {"align_corrected": [0.1 * number + 0.01 * i for i in range(8)]}
        add_evaluation(run, protocol, scores)
        for clip in ("clip00", "clip01"):
            add_sample(run, video, clip)
    return root


@pytest.fixture(scope="module")
def report(runs: Path) -> Path:
    return compare_runs([runs], runs / "report.html", draws=200).path


def wait_for_lines(page: Any, count: int) -> None:
    """Scroll to the first chart and wait until it has that many lines."""
    page.locator(".chart >> nth=0").scroll_into_view_if_needed()
    page.wait_for_function(
        "count => document.querySelector('.chart').querySelectorAll('.trace').length === count",
        arg=count,
    )


def column(page: Any, section: str, index: int) -> list[str]:
    rows = page.query_selector_all(f"{section} tbody tr:not([hidden])")
    return [row.query_selector_all("th, td")[index].inner_text().strip() for row in rows]


def test_sorts_by_number_and_back(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report.as_uri())
    button = page.locator("#settings .sort", has_text="stage2.network.width")
    button.click()
    assert column(page, "#settings", 2) == ["8", "16", "32", "64"]
    button.press("Enter")
    assert column(page, "#settings", 2) == ["64", "32", "16", "8"]
    head = button.locator("xpath=..")
    assert head.get_attribute("aria-sort") == "descending"


def test_filter_hides_rows_curves_and_videos(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report.as_uri())
    page.fill("#filter", "music.beats=frame")
    assert column(page, "#settings", 0) == ["run-frame"]
    wait_for_lines(page, 1)
    assert page.locator(".video:visible").count() == 2
    assert page.inner_text("#count") == "1 of 4 runs shown"
    page.fill("#filter", "")
    page.uncheck(".shown >> nth=0")
    assert page.inner_text("#count") == "3 of 4 runs shown"
    assert page.locator("#runs tbody tr:visible").count() == 4
    page.click("#all")
    assert page.inner_text("#count") == "4 of 4 runs shown"


def test_other_protocols_stand_apart(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report.as_uri())
    assert page.locator(".protocol").count() == 2
    assert page.locator(".protocol >> nth=0").locator("tbody tr").count() == 3
    other = page.locator(".protocol >> nth=1").inner_text()
    assert "Not comparable with the first table; differs in data_digest." in other
    assert "Not comparable" not in page.locator(".protocol >> nth=0").inner_text()
    assert "2 protocols" in page.inner_text("header")


def test_bold_only_where_the_interval_leaves_out_zero(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    sure, unsure = [0.1, 0.2, 0.1, 0.2] * 2, [0.5, -0.5, 0.4, -0.5] * 2
    for name, gain in (("a", 0.0), ("b", 1.0)):
        run = make_run(tmp_path / name, {"seed": gain})
        scores = {"sure": [v * gain for v in sure], "unsure": [v * gain for v in unsure]}
        add_evaluation(run, "p", {**scores, "same": [0.2] * 8})
    out = compare_runs([tmp_path], tmp_path / "r.html").path
    page = open_page(out.as_uri())
    assert page.locator(".difference").count() == 3
    assert page.locator(".difference.clear").all_inner_texts() == ["+0.150 [0.150, 0.150]"]


def test_curves_are_smoothed_grouped_and_read_by_pointing(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    for seed in range(3):
        for beats in ("none", "frame"):
            settings = {"seed": seed, "music": {"beats": beats}}
            make_run(tmp_path / f"{beats}{seed}", settings, seed=seed)
    page = open_page(compare_runs([tmp_path], tmp_path / "r.html").path.as_uri())
    wait_for_lines(page, 6)  # of each group the mean and both edges of its band
    assert [text.strip() for text in page.locator("#legend span").all_inner_texts()] == [
        "beats=frame (3 seeds)",
        "beats=none (3 seeds)",
    ]
    box = page.locator(".chart >> nth=0").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.move(box["x"] + 210, box["y"] + 100)
    page.wait_for_selector(".chart .hoverlayer .legend")
    assert "beats=none (3 seeds) : 0." in page.inner_html(".chart .hoverlayer >> nth=0")
    page.uncheck("#seeds")
    wait_for_lines(page, 6)
    page.fill("#smoothing", "0.9")
    wait_for_lines(page, 12)  # each also as it was logged
    page.select_option("#axis", "log")
    kinds = "[...document.querySelectorAll('.chart')].map(e => e.layout.yaxis.type)"
    assert page.evaluate(kinds) == ["log", "log"]


@pytest.mark.parametrize("embed_mb", [40.0, 0.0])
def test_videos_play_in_sync_with_one_sound(
    runs: Path, open_page: Callable[..., Any], embed_mb: float
) -> None:
    out = runs / f"embed-{embed_mb}.html"
    done = compare_runs([runs], out, embed_mb=embed_mb, draws=50)
    assert (done.videos, done.embedded) == (8, embed_mb > 0)
    page = open_page(out.as_uri())
    clip = page.locator(".clip >> nth=0")
    clip.scroll_into_view_if_needed()
    clip.locator(".sound input >> nth=1").check()
    clip.locator(".together").click()
    page.wait_for_function(
        "[...document.querySelectorAll('.clip')[0].querySelectorAll('video')]"
        ".every(v => v.currentTime > 0.3)"
    )
    states = page.evaluate(
        "[...document.querySelectorAll('.clip')[0].querySelectorAll('video')]"
        ".map(v => [v.currentTime, v.muted, v.webkitAudioDecodedByteCount > 0])"
    )
    times = [time for time, *_ in states]
    assert max(times) - min(times) < 0.12
    assert [muted for _, muted, _ in states] == [True, False, True, True]
    assert states[1][2]
    marks = clip.locator(".beats >> nth=0")
    assert marks.locator(".music").count() == 2
    assert marks.locator(".motion").count() == 1
    clip.locator(".together").click()
    assert clip.locator(".together").get_attribute("aria-pressed") == "false"
    assert page.evaluate("[...document.querySelectorAll('video')].every(v => v.paused)")


def test_names_stay_visible_and_controls_come_first(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    scores = {f"long_name_of_a_score_{i}": [0.1, 0.2] for i in range(12)}
    for name in "ab":
        scores |= {"half_beat_off": [-0.1, 0.0], "corrected": [0.5, 0.4]}
        add_evaluation(make_run(tmp_path / name, {"seed": name}), "p", scores)
    page = open_page(compare_runs([tmp_path], tmp_path / "r.html").path.as_uri())
    keys = page.locator("#scores .scores .key").all_inner_texts()
    assert keys == ["corrected", "half_beat_off"]
    heads = page.locator("#scores .scores .sort").all_inner_texts()
    assert heads[3].startswith("Beats shifted by half a beat (control)")
    wide = page.locator("#scores .wide >> nth=0")
    wide.evaluate("e => { e.scrollLeft = 900; }")
    assert wide.evaluate("e => e.scrollLeft") > 300
    name, box = page.locator("#scores tbody th >> nth=0").bounding_box(), wide.bounding_box()
    assert abs(name["x"] - box["x"]) < 3


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_overlap_and_no_sideways_scrolling(
    report: Path, open_page: Callable[..., Any], width: int, scheme: str
) -> None:
    page = open_page(report.as_uri(), width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERLAPS, "h1, h2, h3, figure, .bar > *, nav a, main p, .head > *") == []
    assert page.evaluate(OVERLAPS, "#scores th, #scores td") == []


def test_works_by_keyboard_and_names_everything(
    report: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(report.as_uri())
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, input, video, [role=img]')].filter(e =>
          !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).length"""
    )
    assert unnamed == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"


def test_prints_without_controls(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report.as_uri())
    page.emulate_media(media="print")
    assert not page.is_visible(".bar")
    assert not page.is_visible(".clip")
    assert page.is_visible("#scores table")


def test_names_from_disk_cannot_break_the_page(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = make_run(tmp_path / "a<b>&'\"", {"data": "</script><script>alert(1)</script>"})
    make_run(tmp_path / "plain", {"data": "x"})
    add_evaluation(run, "</script>", {"<i>": [1.0, 2.0]})
    page = open_page(compare_runs([tmp_path], tmp_path / "r.html", draws=20).path.as_uri())
    assert "a<b>&'\"" in page.inner_text("#runs")
    assert "</script><script>alert(1)</script>" in page.inner_text("#settings")


def test_moved_page_with_its_runs_still_plays(
    runs: Path, tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    compare_runs([runs], runs / "linked.html", embed_mb=0, draws=20)
    assert str(runs) not in (runs / "linked.html").read_text()
    moved = tmp_path / "moved"
    shutil.move(runs, moved)
    try:
        page = open_page((moved / "linked.html").as_uri())
        page.locator(".video >> nth=0").scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('video').readyState >= 1")
        page.close()
    finally:
        shutil.move(moved, runs)


@pytest.mark.long
def test_fifty_runs_in_twenty_seconds(
    tmp_path: Path, video: Path, open_page: Callable[..., Any]
) -> None:
    for number in range(50):
        settings = to_dict(load_settings("quickstart", [f"seed={number}"]))
        run = make_run(tmp_path / f"run{number:02}", settings, steps=1000, seed=number)
        add_evaluation(run, f"p{number % 2}", {f"m{i}": [0.1 * i] * 64 for i in range(8)})
        for clip in range(8):
            add_sample(run, video, f"clip{clip}")
    started = time.perf_counter()
    done = compare_runs([tmp_path], tmp_path / "report.html")
    built = time.perf_counter() - started
    started = time.perf_counter()
    page = open_page(done.path.as_uri())
    opened = time.perf_counter() - started
    print(
        f"built in {built:.1f} s, opened in {opened:.2f} s, {done.path.stat().st_size / 1e6:.1f} MB"
    )
    assert done.videos == 400
    assert built < 20
    assert opened < 2
    loaded = page.evaluate("[...document.querySelectorAll('video')].filter(v => v.src).length")
    assert loaded < 100
