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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.files import VIDEO_SUFFIXES, write_text
from experiments.errors import SettingsError
from experiments.evaluation.guarded import GuardedProcess
from experiments.reports.page import render_page
from experiments.studies.raters.answers import HEAD

TEMPLATES = Path(__file__).parent / "templates"
SAMPLE_RATE = 44100


@dataclass(frozen=True)
class StudyPlan:
    """What participants see; ``study.add_arguments`` describes the fields.

    A question about every pair has a short name, for tables. A catch trial compares a dance with
    its own frozen first frame.
    """

    questions: Mapping[str, str] = field(
        default_factory=lambda: {"fit": "Which dance fits the music better?"}
    )
    ties: bool = False
    title: str = "Which dance fits the music?"
    trials_per_rater: int = 40
    clips: int = 0
    checks: int = 4
    repeats: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("trials_per_rater", "checks", "repeats", "clips"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}, but must be 0 or more.")


def build_study(
    out: Path,
    methods: Mapping[str, Path],
    plan: StudyPlan,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write ``out/page`` (to hand out) and ``out/key.json`` (to keep); return the page's path.

    ``methods``: name and folder of videos; those with the same file name are compared.
    ``progress``: called with the numbers of encoded videos and of all videos.
    """
    sources = _find_sources(methods, plan)
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"{out} is not empty; give a new folder, so that studies do not mix.")
    names = {source: _opaque(plan.seed, *source) for source in sources}
    videos = out / "page" / "videos"
    videos.mkdir(parents=True)
    done = itertools.count(1)
    with GuardedProcess() as guarded:

        def encode(source: tuple[str, str], name: str, frozen: bool = False) -> float:
            # In another process, since a damaged video can crash or block its decoder.
            path = sources[source]
            try:
                motion = guarded.call(_encode_video, path, videos / f"{name}.mp4", frozen)
            except DataError as error:
                raise DataError(f"{path} cannot be shown to raters: {error}") from error
            progress(next(done), len(names) + plan.checks)
            return motion

        motion = {source: encode(source, name) for source, name in names.items()}
        trials = _pairs(names, plan.seed)
        # Catch trials use the clips that move most: in others a frozen frame is hard to tell.
        lively = itertools.cycle(sorted(names, key=lambda source: -motion[source]))
        swap = random.Random(f"{plan.seed} checks")
        for number, source in enumerate(itertools.islice(lively, plan.checks)):
            still = _opaque(plan.seed, "check", str(number), *source)
            encode(source, still, frozen=True)
            right, wrong = swap.choice(("ab", "ba"))
            trials[_opaque(plan.seed, "trial", still)] = {
                "kind": "check",
                "clip": source[1],
                "right": right,
                "videos": {right: names[source], wrong: still},
            }
    _write(out, plan, sorted(methods), dict(sorted(trials.items())))
    return out / "page" / "index.html"


def _find_sources(methods: Mapping[str, Path], plan: StudyPlan) -> dict[tuple[str, str], Path]:
    """Return the videos by method and clip, of the clips that two or more methods have."""
    if len(methods) < 2:
        raise SettingsError(
            f"{len(methods)} method given; a comparison needs two or more --method NAME=FOLDER."
        )
    found: dict[tuple[str, str], Path] = {}
    for method, folder in methods.items():
        if not folder.is_dir():
            raise SettingsError(f"--method {method}: {folder} is not a folder of videos.")
        for path in sorted(folder.rglob("[!.]*")):
            if path.suffix.lower() not in VIDEO_SUFFIXES:
                continue
            other = found.setdefault((method, path.stem), path)
            if other != path:
                raise SettingsError(
                    f'"{other}" and "{path}" share a name, by which clips are compared; give a '
                    "folder in which each name occurs once."
                )
    counts = Counter(clip for _, clip in found)
    shared = sorted(clip for clip, count in counts.items() if count > 1)
    if not shared:
        numbers = Counter(method for method, _ in found)
        raise SettingsError(
            "No video name occurs in two of the folders (videos found: "
            f"{', '.join(f'{name}: {numbers[name]}' for name in methods)}); videos to be "
            "compared must have the same file name in each method's folder."
        )
    if 0 < plan.clips < len(shared):
        shared = random.Random(plan.seed).sample(shared, plan.clips)
    return {source: path for source, path in found.items() if source[1] in shared}


def _pairs(names: Mapping[tuple[str, str], str], seed: int) -> dict[str, dict[str, Any]]:
    """Return the trials that compare two methods; a and b are swapped in a random half."""
    trials: dict[str, dict[str, Any]] = {}
    swap = random.Random(f"{seed} pairs")
    clips = sorted({clip for _, clip in names})
    # The page draws evenly from the groups, which are the pairs of methods.
    for group, pair in enumerate(itertools.combinations(sorted({m for m, _ in names}), 2)):
        for clip in clips:
            if not all((method, clip) in names for method in pair):
                continue
            methods = dict(zip(swap.choice(("ab", "ba")), pair, strict=True))
            trials[_opaque(seed, "pair", clip, *pair)] = {
                "kind": "pair",
                "group": group,
                "clip": clip,
                "methods": methods,
                "videos": {letter: names[method, clip] for letter, method in methods.items()},
            }
    return trials


def _opaque(seed: int, *parts: str) -> str:
    text = "\0".join((str(seed), *parts))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _encode_video(source: Path, target: Path, frozen: bool) -> float:
    """Encode a video for the page; return its mean absolute frame difference (0 to 255)."""
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
    questions = [{"name": name, "text": text} for name, text in plan.questions.items()]
    body = {"plan": asdict(plan) | {"questions": questions}, "methods": methods, "trials": trials}
    study = hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=6).hexdigest()
    head = {**HEAD, "study": study}
    write_text(out / "key.json", json.dumps({**head, **body}, indent=1) + "\n")
    page = {
        **head,
        "questions": questions,
        "trialsPerRater": plan.trials_per_rater,
        **{name: getattr(plan, name) for name in ("title", "ties", "repeats")},
        # Everyone gets the trials whose group is null; only this tells a catch trial from a pair.
        "trials": [
            {"id": trial, "group": entry.get("group")} | dict(sorted(entry["videos"].items()))
            for trial, entry in trials.items()
        ],
    }
    html = render_page(TEMPLATES / "raters.html.j2", {"title": plan.title, "study": page})
    write_text(out / "page" / "index.html", html)
    write_text(out / "README.txt", (TEMPLATES / "raters_readme.txt").read_text("utf-8"))
