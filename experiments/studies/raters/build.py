"""Build the folder that raters open: blinded pairs of videos with sound, and catch trials.

The page cannot reveal what it does not contain: videos have opaque names and are all encoded by
the same encoder (which also drops titles and comments of the originals), and the key, which says
which method made which video, is outside the folder that is handed out.
"""

import hashlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.files import VIDEO_SUFFIXES, write_text
from experiments.errors import SettingsError
from experiments.evaluation.guarded import GuardedProcess
from experiments.reports.page import render_page
from experiments.studies.raters.answers import FORMAT, VERSION

TEMPLATES = Path(__file__).parent / "templates"
SAMPLE_RATE = 44100

#: Videos by method and clip, and their opaque names.
Clips = dict[str, dict[str, Path]]
Names = dict[tuple[str, str], str]


@dataclass(frozen=True)
class Question:
    """A question about every pair: a short name for tables, and the sentence shown."""

    name: str
    text: str


@dataclass(frozen=True)
class StudyPlan:
    """What participants see.

    ``trials_per_rater`` pairs are drawn for each participant (0: all), evenly over the pairs of
    methods. In addition there are ``checks`` catch trials, in which a dance is compared with its
    own frozen first frame, and ``repeats`` pairs shown again with the sides swapped. ``ties``
    offers "No difference" as an answer. ``clips`` is the number of clips drawn (0: all).
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
                raise SettingsError(f"{field} is {getattr(self, field)}, but must be 0 or more.")


def build_study(
    out: Path,
    methods: Mapping[str, Path],
    plan: StudyPlan,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``out/page`` (to hand out) and ``out/key.json`` (to keep); return the page's path.

    Args:
        out: New or empty folder.
        methods: Name of each method and the folder of its videos; videos with the same file name
            are compared, for each two methods.
        plan: Questions, numbers and seed.
        progress: Called with the numbers of encoded videos and of all videos.

    Raises:
        SettingsError: There are fewer than two methods, no clip in common, or a video without
            sound, or ``out`` is not empty.
    """
    clips = _find_clips(methods, plan)
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"{out} is not empty; give a new folder, so that studies do not mix.")
    shown = Counter(clip for of in clips.values() for clip in of)
    names = {
        (method, clip): _opaque(plan.seed, method, clip)
        for method, of in clips.items()
        for clip in of
        if shown[clip] > 1
    }
    videos = out / "page" / "videos"
    videos.mkdir(parents=True)
    total = len(names) + plan.checks
    with GuardedProcess() as guarded:
        motion = {}
        for number, ((method, clip), name) in enumerate(names.items(), 1):
            motion[method, clip] = _encode(guarded, clips[method][clip], videos / f"{name}.mp4")
            if progress:
                progress(number, total)
        trials = _pairs(clips, names, plan.seed)
        # Catch trials use the clips that move most: in others a frozen frame is hard to tell.
        lively = itertools.cycle(sorted(names, key=lambda source: -motion[source]))
        swap = random.Random(f"{plan.seed} checks")
        for number, (method, clip) in enumerate(itertools.islice(lively, plan.checks)):
            still = _opaque(plan.seed, "check", str(number), method, clip)
            _encode(guarded, clips[method][clip], videos / f"{still}.mp4", frozen=True)
            right, wrong = swap.choice(("ab", "ba"))
            trials[_opaque(plan.seed, "trial", still)] = {
                "kind": "check",
                "clip": clip,
                "right": right,
                "videos": {right: names[method, clip], wrong: still},
            }
            if progress:
                progress(len(names) + number + 1, total)
    _write(out, plan, sorted(methods), dict(sorted(trials.items())))
    return out / "page" / "index.html"


def _pairs(clips: Clips, names: Names, seed: int) -> dict[str, dict[str, Any]]:
    """Return the trials that compare two methods; a and b are swapped in a random half."""
    trials: dict[str, dict[str, Any]] = {}
    swap = random.Random(f"{seed} pairs")
    # The page draws evenly from the groups, which are the pairs of methods.
    for group, methods in enumerate(itertools.combinations(sorted(clips), 2)):
        for clip in sorted(clips[methods[0]].keys() & clips[methods[1]].keys()):
            letters = swap.choice(("ab", "ba"))
            trials[_opaque(seed, "pair", clip, *methods)] = {
                "kind": "pair",
                "group": group,
                "clip": clip,
                "methods": dict(zip(letters, methods, strict=True)),
                "videos": {x: names[m, clip] for x, m in zip(letters, methods, strict=True)},
            }
    return trials


def _find_clips(methods: Mapping[str, Path], plan: StudyPlan) -> Clips:
    """Return the videos of each method that at least one other method has too."""
    if len(methods) < 2:
        raise SettingsError(
            f"{len(methods)} method given; a comparison needs two or more --method NAME=FOLDER."
        )
    clips: Clips = {method: {} for method in methods}
    for method, folder in methods.items():
        if not folder.is_dir():
            raise SettingsError(f"--method {method}: {folder} is not a folder of videos.")
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith("."):
                continue
            other = clips[method].setdefault(path.stem, path)
            if other != path:
                raise SettingsError(
                    f'"{other}" and "{path}" share a name, by which clips are compared; give a '
                    "folder in which each name occurs once."
                )
    counts = Counter(clip for of in clips.values() for clip in of)
    shared = sorted(clip for clip, count in counts.items() if count > 1)
    if not shared:
        found = ", ".join(f"{name}: {len(of)}" for name, of in clips.items())
        raise SettingsError(
            f"No video name occurs in two of the folders (videos found: {found}); videos to be "
            "compared must have the same file name in each method's folder."
        )
    if plan.clips and plan.clips < len(shared):
        shared = sorted(random.Random(plan.seed).sample(shared, plan.clips))
    return {name: {clip: of[clip] for clip in shared if clip in of} for name, of in clips.items()}


def _opaque(seed: int, *parts: str) -> str:
    text = "\0".join((str(seed), *parts))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _encode(guarded: GuardedProcess, source: Path, target: Path, frozen: bool = False) -> float:
    """Encode a video for the page and return its mean absolute frame difference (0 to 255).

    This happens in another process, since a damaged video can crash or block its decoder.
    """
    try:
        return guarded.call(_encode_video, source, target, frozen)
    except DataError as error:
        raise DataError(f"{source} cannot be shown to raters: {error}") from error


def _encode_video(source: Path, target: Path, frozen: bool) -> float:
    from datamodules.media.video import probe, read_audio, read_frames, write_video

    info = probe(source)
    if not info.has_audio:
        raise SettingsError(f"{source} has no sound; raters must hear the music they judge.")
    frames = read_frames(source, reader="av")
    small = frames[:, :, ::2, ::2].float()
    motion = float((small[1:] - small[:-1]).abs().mean()) if len(frames) > 1 else 0.0
    if frozen:
        frames = frames[:1].expand_as(frames).contiguous()
    audio = read_audio(source, SAMPLE_RATE)
    write_video(target, frames, info.fps, audio=audio, sample_rate=SAMPLE_RATE, crf=14)
    return motion


def _write(out: Path, plan: StudyPlan, methods: list[str], trials: dict[str, Any]) -> None:
    body = {"plan": asdict(plan), "methods": methods, "trials": trials}
    study = hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=6).hexdigest()
    head = {"format": FORMAT, "version": VERSION, "study": study}
    write_text(out / "key.json", json.dumps({**head, **body}, indent=1) + "\n")
    page = {
        **head,
        "title": plan.title,
        "questions": [asdict(question) for question in plan.questions],
        "ties": plan.ties,
        "trialsPerRater": plan.trials_per_rater,
        "repeats": plan.repeats,
        # Everyone gets the trials whose group is null; only this tells a catch trial from a pair.
        "trials": [
            {"id": trial, "group": entry.get("group")} | dict(sorted(entry["videos"].items()))
            for trial, entry in trials.items()
        ],
    }
    html = render_page(TEMPLATES / "raters.html.j2", {"title": plan.title, "study": page})
    write_text(out / "page" / "index.html", html)
    write_text(out / "README.txt", (TEMPLATES / "raters_readme.txt").read_text("utf-8"))
