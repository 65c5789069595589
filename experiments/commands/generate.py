"""`dabfusion generate`: a picture and a song in, a video with sound out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.generation.request_list import ListedDance
    from lightning_modules.pipeline import DabFusionPipeline, Dance, DanceRequest

HELP = """Let the person in a picture dance to a song.

MODEL is the run folder of `dabfusion train diffusion`, its export/, or any saved pipeline. The
picture may have any size and shape, the song any format and length. With --mask, --segmenter or a
picture that is transparent around the person, the person is cut out and set where the training
data's dancers stand. --list takes many dances from a CSV or JSON file; OUT is then a folder."""

EXAMPLES = [
    "dabfusion generate runs/diffusion-aist128 person.jpg song.mp3 dance.mp4",
    "dabfusion generate RUN person.jpg song.mp3 dance.mp4 --seconds 12 --guidance-scale 2",
    "dabfusion generate RUN person.jpg song.mp3 dance.mp4 --sheet dance.png --seed 3",
    "dabfusion generate RUN photo.jpg song.mp3 dance.mp4 --mask person.png",
    "dabfusion generate RUN photo.jpg song.mp3 dance.mp4 --segmenter segformer-b0-ade",
    "dabfusion generate RUN --list dances.csv dances   # columns picture, song, out",
    "dabfusion generate RUN --list dances.csv dances --devices 8   # shared by eight GPUs",
]
#: Dances of a list that are sampled at once.
BATCH = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="run or pipeline folder")
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="PICTURE (of a whole person) SONG OUT (the mp4 to write); with --list OUT alone",
    )
    parser.add_argument("--list", type=Path, help="CSV or JSON of picture, song, out, ...")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"dances at a time ({BATCH})")
    parser.add_argument("--devices", type=int, default=1, help="processes that share a list (1)")
    parser.add_argument("--seconds", type=float, help="length (to the end of the song)")
    parser.add_argument("--start", type=float, default=0.0, help="second of the song to start at")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another dance (0)")
    parser.add_argument("--steps", type=int, help="denoising steps (as the model says)")
    parser.add_argument("--solver", choices=["ddim", "dpm++", "unipc"], help="(as the model says)")
    parser.add_argument("--guidance-scale", type=float, help="weight of the music; 0 ignores it")
    parser.add_argument("--image-guidance-scale", type=float, help="weight of the picture")
    parser.add_argument("--tempo", type=float, help="the song's beats a minute, where known")
    parser.add_argument("--beats", type=Path, help="file of the song's beats in seconds")
    person = parser.add_argument_group("cutting the person out")
    person.add_argument("--mask", type=Path, help="picture that is white on the person")
    person.add_argument("--segmenter", type=Path, help="Hugging Face segmentation model folder")
    person.add_argument("--background", type=Path, help="picture, or prepared folder to take it of")
    person.add_argument("--person-height", type=float, help="share of the frame's side")
    parser.add_argument("--sheet", type=Path, help="draw the frames on: PNG, JPEG, GIF or WebP")
    parser.add_argument("--beat-ticks", action="store_true", help="mark the beats in the video")
    parser.add_argument("--clap-weights", type=Path, help="for models trained with CLAP")
    parser.add_argument("--wav2clip-weights", type=Path, help="for models trained with Wav2CLIP")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (as PyTorch likes)")


def run(args: argparse.Namespace) -> int:
    """Load, dance, write."""
    _check(args)
    from experiments.config.run import RunSettings
    from experiments.processes.ranks import start_ranks

    status = start_ranks(RunSettings(devices=args.devices), "give the same command again")
    if status is not None:
        return status
    from experiments.generation.load import load_pipeline, scene_of
    from experiments.processes.cpu import set_up_processor

    set_up_processor(args.threads)
    if args.list is not None:
        from experiments.generation.request_list import read_list

        listed = read_list(args.list, args.files[0])
    pipe = load_pipeline(args.model, args.clap_weights, args.wav2clip_weights, args.segmenter)
    if args.background is not None and args.background.is_dir():
        pipe.scene, args.background = scene_of(args.background), None
        if args.mask is None and args.person_height is None:
            args.person_height = pipe.scene.height  # a background asks for cutting out
    if args.list is None:
        _one(pipe, args)
    else:
        _many(pipe, args, listed)
    return 0


def _check(args: argparse.Namespace) -> None:
    from experiments.errors import SettingsError

    wanted = 3 if args.list is None else 1
    if len(args.files) != wanted:
        names = "PICTURE SONG OUT" if wanted == 3 else "the folder to write to, beside --list"
        raise SettingsError(f"{len(args.files)} files are given after MODEL; give {names}.")
    optional = (args.list, args.mask, args.background, args.beats)
    for path in (*args.files[:-1], *(path for path in optional if path is not None)):
        if not path.exists():
            raise FileNotFoundError(2, "", str(path))
    if args.list is None and args.files[-1].suffix.lower() != ".mp4":
        raise SettingsError(f"{args.files[-1]} is to be the video: give a name that ends in .mp4.")
    for name in ("seconds", "steps", "tempo", "batch", "person_height", "devices"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise SettingsError(f"--{name.replace('_', '-')} is {value}, but must be above 0.")
    for name in ("start", "threads"):
        value = getattr(args, name)
        if value < 0:
            raise SettingsError(f"--{name} is {value:g}, but cannot be negative.")
    if args.list is None and args.devices > 1:
        raise SettingsError(f"--devices={args.devices} share a list out, and no --list is given.")
    if args.list is not None and (args.sheet or args.mask):
        raise SettingsError("--sheet and --mask are for one dance; a list has a column mask.")
    _check_writable(args.files[-1], args.sheet)


def _check_writable(out: Path, sheet: Path | None) -> None:
    """Refuse before a long computation where its result could not be kept."""
    import os

    from experiments.generation.load import sheet_format

    if sheet is not None:
        sheet_format(sheet)
    for path in (out, *([sheet] if sheet is not None else [])):
        place = next(folder for folder in path.absolute().parents if folder.exists())
        if not place.is_dir():
            raise NotADirectoryError(20, "", str(place))
        if not os.access(place, os.W_OK):
            raise PermissionError(13, "", str(place))


def _sampling(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "seconds": args.seconds,
        "guidance_scale": args.guidance_scale,
        "image_guidance_scale": args.image_guidance_scale,
        "num_inference_steps": args.steps,
        "solver": args.solver,
    }


def _request(args: argparse.Namespace, picture: Path, song: Path) -> DanceRequest:
    """A dance as the command line asks for it."""
    from lightning_modules.pipeline import DanceRequest

    return DanceRequest(
        picture,
        song,
        start_s=args.start,
        tempo_bpm=args.tempo,
        beat_file=args.beats,
        generator=args.seed,
        mask=args.mask,
        background=args.background,
        person_height=args.person_height,
    )


def _one(pipe: DabFusionPipeline, args: argparse.Namespace) -> None:
    from experiments.generation.load import write_sheet
    from experiments.processes.progress import shown_progress

    picture, song, out = args.files
    request = _request(args, picture, song)
    with shown_progress("Denoising") as progress:
        dance = pipe.batch([request], **_sampling(args), progress=progress)[0]
    dance = _write(dance, out, args.beat_ticks)
    if args.sheet is not None:
        write_sheet(dance, args.sheet)


def _many(pipe: DabFusionPipeline, args: argparse.Namespace, listed: list[ListedDance]) -> None:
    """The dances of a list, some at a time: what lies on disk stays if one fails."""
    from dataclasses import replace

    from experiments.config.run import RunSettings
    from experiments.processes.progress import shown_progress
    from experiments.processes.ranks import find_ranks
    from experiments.processes.share import in_batches, share_work

    common = _request(args, listed[0].picture, listed[0].song)
    run = RunSettings(devices=args.devices)
    ranks = find_ranks(run)

    def work(places: range) -> None:
        part = listed[places.start : places.stop]
        requests = [replace(common, **dance.fields()) for dance in part]
        for dance, made in zip(part, pipe.batch(requests, **_sampling(args)), strict=True):
            _write(made, dance.out, args.beat_ticks)

    with shown_progress("Dances") as progress:
        share_work(
            in_batches(len(listed), args.batch),
            work,
            networks=[pipe.autoencoder, pipe.denoiser, pipe.music] if ranks.world_size > 1 else [],
            run=run,
            ranks=ranks,
            progress=progress,
        )


def _write(dance: Dance, out: Path, beat_ticks: bool) -> Dance:
    from experiments.generation.load import draw_beat_ticks

    if beat_ticks:
        dance = draw_beat_ticks(dance)
    dance.save(out)
    seconds = len(dance.frames) / dance.fps
    inside = int(((dance.beats_s >= 0) & (dance.beats_s < seconds)).sum())
    print(f"{out}: {seconds:.1f} s, {inside} beats in the music.", file=sys.stderr)
    return dance
