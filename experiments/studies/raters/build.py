"""Make the folder that raters open: pairs of videos with sound, blinded, with attention checks.

What the page does not know it cannot give away: videos carry opaque names, are all encoded by
the same encoder (which also drops titles and comments of the originals), and the table that
says which method made which video lies outside the folder handed out.
"""

import hashlib
import itertools
import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.files import VIDEO_SUFFIXES, write_text
from experiments.errors import SettingsError
from experiments.reports.page import render_page

if TYPE_CHECKING:
    from torch import Tensor

TEMPLATES = Path(__file__).parent / "templates"
FORMAT = "dabfusion-raters"
VERSION = 1
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Question:
    """One thing asked of every pair: a short name for the tables and the sentence shown."""

    name: str
    text: str


@dataclass(frozen=True)
class StudyPlan:
    """What to ask of whom.

    ``trials_per_rater`` pairs are drawn for each participant (0: all of them), the same number
    of each pair of methods as far as it goes; ``checks`` pairs with a known answer (a dance
    against its own first frame, frozen) and ``repeats`` pairs asked again with the sides swapped
    come on top.
    """

    questions: tuple[Question, ...] = (Question("fit", "Which dance fits the music better?"),)
    trials_per_rater: int = 40
    checks: int = 4
    repeats: int = 3
    ties: bool = False
    clips: int = 0
    seed: int = 0
    title: str = "Which dance fits the music?"

    def __post_init__(self) -> None:
        names = [question.name for question in self.questions]
        if not names or len(set(names)) != len(names):
            raise SettingsError(
                f"The questions are named {names}; give at least one, each with its own name."
            )
        for field in ("trials_per_rater", "checks", "repeats", "clips"):
            if getattr(self, field) < 0:
                raise SettingsError(
                    f"{field} is {getattr(self, field)}; it counts something and must be 0 or more."
                )


def build_study(
    out: Path,
    methods: Mapping[str, Path],
    plan: StudyPlan,
    progress: Progress | None = None,
) -> Path:
    """Write ``out/page`` (to hand out), ``out/key.json`` (to keep) and return the page's path.

    Args:
        out: new or empty folder.
        methods: name of each method and the folder of its videos; clips of the same file stem
            are compared, each against each.
        plan: questions, numbers and seed.
        progress: called with (videos done, videos in all).

    Raises:
        SettingsError: fewer than two methods, no clip in common, a video without sound, or
            ``out`` holding something already.
    """
    clips = _clips_by_method(methods, plan)
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"{out} is not empty; give a new folder, so that no study is mixed.")
    pairs = _pairs(clips)
    sources = sorted({(method, clip) for clip, *both in pairs for method in both})
    names = {source: _opaque(plan.seed, *source) for source in sources}
    videos = out / "page" / "videos"
    videos.mkdir(parents=True)
    motion: dict[tuple[str, str], float] = {}
    total = len(sources) + plan.checks
    for number, source in enumerate(sources, 1):
        motion[source] = _encode(clips[source[0]][source[1]], videos / f"{names[source]}.mp4")
        if progress:
            progress(number, total)
    key: dict[str, dict[str, Any]] = {}
    for group, clip, first, second in _with_groups(pairs):
        trial = _opaque(plan.seed, "pair", clip, first, second)
        key[trial] = {
            "kind": "pair",
            "group": group,
            "clip": clip,
            "methods": {"a": first, "b": second},
            "videos": {"a": names[first, clip], "b": names[second, clip]},
        }
    # The liveliest clips: a dance that hardly moves would make an unfair check.
    liveliest = sorted(sources, key=lambda source: -motion[source])
    for number, source in enumerate(itertools.islice(itertools.cycle(liveliest), plan.checks)):
        still = _opaque(plan.seed, "check", str(number), *source)
        _encode(clips[source[0]][source[1]], videos / f"{still}.mp4", frozen=True)
        key[_opaque(plan.seed, "trial", still)] = {
            "kind": "check",
            "clip": source[1],
            "right": "a",
            "videos": {"a": names[source], "b": still},
        }
        if progress:
            progress(len(sources) + number + 1, total)
    _write(out, plan, sorted(methods), _swap_half(key, plan.seed))
    return out / "page" / "index.html"


def load_key(path: Path) -> dict[str, Any]:
    """The table of what was shown (``key.json``), checked for its format.

    Raises:
        SettingsError: not a key of this format or version.
    """
    if path.is_dir():
        path = path / "key.json"
    try:
        key = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path} is not JSON ({error}); give the study's key.json.") from None
    if not isinstance(key, dict) or key.get("format") != FORMAT or key.get("version") != VERSION:
        raise SettingsError(
            f"{path} is not the key of a rater study of version {VERSION}; give the key.json that "
            "`dabfusion study raters build` wrote."
        )
    return key


def _clips_by_method(methods: Mapping[str, Path], plan: StudyPlan) -> dict[str, dict[str, Path]]:
    if len(methods) < 2:
        raise SettingsError(
            f"{len(methods)} method given; a comparison needs two or more --method NAME=FOLDER."
        )
    clips: dict[str, dict[str, Path]] = {}
    for method, folder in methods.items():
        if not folder.is_dir():
            raise SettingsError(f"--method {method}: {folder} is not a folder of videos.")
        clips[method] = _clips_in(folder)
    counts = {
        stem: sum(stem in of for of in clips.values()) for of in clips.values() for stem in of
    }
    shared = sorted(stem for stem, count in counts.items() if count > 1)
    if not shared:
        found = ", ".join(f"{name}: {len(of)}" for name, of in clips.items())
        raise SettingsError(
            f"No video name occurs in two of the folders (videos found: {found}); "
            "videos to be compared must have the same file name in each method's folder."
        )
    if plan.clips and plan.clips < len(shared):
        shared = sorted(random.Random(plan.seed).sample(shared, plan.clips))
    return {name: {s: of[s] for s in shared if s in of} for name, of in clips.items()}


def _clips_in(folder: Path) -> dict[str, Path]:
    """The videos of a method by their file's stem, which must tell them apart."""
    clips: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in clips:
            raise SettingsError(
                f'"{clips[path.stem]}" and "{path}" share a name, by which clips are compared; '
                "give a folder in which each name occurs once."
            )
        clips[path.stem] = path
    return clips


def _pairs(clips: Mapping[str, Mapping[str, Path]]) -> list[tuple[str, str, str]]:
    """(clip, first method, second method), methods in the order of their names."""
    return [
        (clip, first, second)
        for first, second in itertools.combinations(sorted(clips), 2)
        for clip in sorted(set(clips[first]) & set(clips[second]))
    ]


def _with_groups(pairs: list[tuple[str, str, str]]) -> list[tuple[int, str, str, str]]:
    """Number the pairs of methods, so that the page can draw as many of each."""
    groups: dict[tuple[str, str], int] = {}
    return [
        (groups.setdefault((first, second), len(groups)), clip, first, second)
        for clip, first, second in pairs
    ]


def _opaque(seed: int, *parts: str) -> str:
    text = "\0".join((str(seed), *parts))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _encode(source: Path, target: Path, frozen: bool = False) -> float:
    """Write ``source`` for the page and return its mean absolute frame difference (0 to 255)."""
    from datamodules.media.video import probe, read_audio, read_frames, write_video

    info = probe(source)
    if not info.has_audio:
        raise SettingsError(f"{source} has no sound; raters must hear the music they judge.")
    frames = read_frames(source, None)
    motion = _mean_change(frames)
    if frozen:
        frames = frames[:1].expand_as(frames).contiguous()
    sample_rate = 44100
    audio = read_audio(source, sample_rate)
    write_video(target, frames, info.fps, audio=audio, sample_rate=sample_rate, crf=14)
    return motion


def _mean_change(frames: "Tensor") -> float:
    """Mean absolute difference of successive frames, (T, 3, H, W) uint8 -> 0 to 255."""
    if len(frames) < 2:
        return 0.0
    small = frames[:, :, ::2, ::2].float()
    return float((small[1:] - small[:-1]).abs().mean())


def _swap_half(key: dict[str, dict[str, Any]], seed: int) -> dict[str, dict[str, Any]]:
    """Swap a and b of a random half: the letter must not tell the method (or the right answer)."""
    swap = {"a": "b", "b": "a"}
    generator = random.Random(seed)
    swapped = {}
    for trial in sorted(key):
        entry = dict(key[trial])
        if generator.random() < 0.5:
            for field in ("methods", "videos"):
                if field in entry:
                    entry[field] = {swap[letter]: v for letter, v in entry[field].items()}
            if "right" in entry:
                entry["right"] = swap[entry["right"]]
        swapped[trial] = entry
    return swapped


def _write(out: Path, plan: StudyPlan, methods: list[str], key: dict[str, dict[str, Any]]) -> None:
    body = {"plan": asdict(plan), "methods": methods, "trials": key}
    study = hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=6).hexdigest()
    record = {"format": FORMAT, "version": VERSION, "study": study, **body}
    write_text(out / "key.json", json.dumps(record, indent=1) + "\n")
    page = {
        "format": FORMAT,
        "version": VERSION,
        "study": study,
        "title": plan.title,
        "questions": [asdict(question) for question in plan.questions],
        "ties": plan.ties,
        "trialsPerRater": plan.trials_per_rater,
        "repeats": plan.repeats,
        # A group of null is drawn for everybody; nothing else tells a check from a pair.
        "trials": [
            {"id": trial, "group": entry.get("group"), **entry["videos"]}
            for trial, entry in key.items()
        ],
    }
    html = render_page(TEMPLATES / "raters.html.j2", {"title": plan.title, "study": page})
    write_text(out / "page" / "index.html", html)
    shutil.copy(
        TEMPLATES / "raters_readme.txt",
        out / "README.txt",
    )
