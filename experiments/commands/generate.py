"""`dabfusion generate`: an image and a song in, a video with sound out."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.generation.requests import Row
    from lightning_modules.pipeline import DabFusionPipeline

HELP = """Generate a video of the person in an image dancing to a song.

MODEL is the run folder of `dabfusion train diffusion`, its export/, or any saved pipeline. The
image may have any size and shape, the song any format and length. With --mask, --segmenter or an
image that is transparent around the person, the person is cut out and placed where the dancers of
the training data stand.

--list takes many dances from a CSV or JSON file; OUT is then a folder. Its columns are image, song
and out, and optionally start, seconds, steps, guidance_scale, image_guidance_scale, solver, seed,
tempo, person_height, beats, mask and background, which override the options. A row that cannot be
generated is named at the end and does not stop the others. The same command continues an
interrupted list: videos that are finished are kept."""

EXAMPLES = [
    "dabfusion generate runs/diffusion-aist128 person.jpg song.mp3 dance.mp4",
    "dabfusion generate RUN person.jpg song.mp3 dance.mp4 --seconds 12 --guidance-scale 2",
    "dabfusion generate RUN person.jpg song.mp3 dance.mp4 --sheet dance.png --seed 3",
    "dabfusion generate RUN photo.jpg song.mp3 dance.mp4 --mask person.png",
    "dabfusion generate RUN photo.jpg song.mp3 dance.mp4 --segmenter segformer-b0-ade",
    "dabfusion generate RUN --list dances.csv dances   # columns image, song, out",
    "dabfusion generate RUN --list dances.csv dances --devices 8   # shared by eight GPUs",
]
#: Arguments that do not alter the videos, so that changing them does not make finished ones anew.
_WITHOUT_EFFECT = ("files", "list", "batch", "devices", "threads", "sheet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from experiments.generation.options import CUT_OUT, OPTIONS

    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="run or pipeline folder")
    files = "IMAGE (of a whole person) SONG OUT (the mp4 to write); with --list only OUT"
    add("files", type=Path, nargs="+", metavar="FILE", help=files)
    add("--list", type=Path, help="CSV or JSON file with a row for each dance")
    add("--batch", type=int, default=4, help="dances of a list at a time (4)")
    add("--devices", type=int, default=1, help="processes that share a list (1)")
    person = parser.add_argument_group("cutting out the person")
    for name, option in OPTIONS.items():
        if name not in ("image", "song"):
            (person if name in CUT_OUT else parser).add_argument(
                f"--{name.replace('_', '-')}",
                type=option.kind,
                choices=option.choices,
                help=option.help,
            )
    parser.set_defaults(start=0.0, seed=0)
    person.add_argument("--segmenter", type=Path, help="Hugging Face segmentation model folder")
    add("--sheet", type=Path, help="file for the frames as an image: PNG, JPEG, GIF or WebP")
    add("--beat-ticks", action="store_true", help="mark the beats in the video")
    add("--clap-weights", type=Path, help="for models trained with CLAP")
    add("--wav2clip-weights", type=Path, help="for models trained with Wav2CLIP")
    add("--threads", type=int, default=0, help="CPU threads (0: PyTorch's default)")


def run(args: argparse.Namespace) -> int:
    """Check the options, load the pipeline, and generate one dance or those of a list."""
    _check(args)
    from experiments.config.run import RunSettings
    from experiments.processes.ranks import start_ranks

    status = start_ranks(RunSettings(devices=args.devices), "give the same command again")
    if status is not None:
        return status
    from experiments.errors import DONE, SettingsError
    from experiments.factories.preparation import measure_scene
    from experiments.generation.load import finish, load_pipeline, write_sheet
    from experiments.generation.requests import build_request, read_list
    from experiments.processes.cpu import set_up_processor
    from experiments.processes.progress import shown_progress

    set_up_processor(args.threads)
    rows = read_list(args.list, args.files[0]) if args.list is not None else []
    pipe = load_pipeline(args.model, args.clap_weights, args.wav2clip_weights, args.segmenter)
    options = {name: value for name, value in vars(args).items() if name not in _WITHOUT_EFFECT}
    if args.background is not None and args.background.is_dir():
        pipe.scene = measure_scene(args.background)
        if pipe.scene is None:
            raise SettingsError(
                f"{args.background} shows no moving dancer; give a background image instead."
            )
        options |= {"background": None, "scene": args.background}
        if args.mask is None and args.person_height is None:
            options["person_height"] = pipe.scene.height  # a background implies cutting out
    if rows:
        return _generate_list(pipe, args, options, rows)
    image, song, out = args.files
    request, sampling = build_request({**options, "image": image, "song": song})
    with shown_progress("Denoising") as progress:
        (dance,) = pipe.batch([request], **sampling, progress=progress)
    dance = finish(dance, out, options)
    if args.sheet is not None:
        write_sheet(dance, args.sheet)
    return DONE


def _check(args: argparse.Namespace) -> None:
    """Refuse what cannot work, or whose result could not be kept, before anything is loaded."""
    from experiments.errors import SettingsError
    from experiments.generation.options import OPTIONS, SHEETS, Option

    listed, out, sheet = args.list is not None, args.files[-1], args.sheet
    names = "only the folder to write to with --list" if listed else "IMAGE SONG OUT"
    for refused, sentence in (
        (
            len(args.files) != (1 if listed else 3),
            f"{len(args.files)} files are given after MODEL; give {names}.",
        ),
        (
            not listed and out.suffix.lower() != ".mp4",
            f"The output is {out}, but must be a video: give a name that ends in .mp4.",
        ),
        (
            not listed and args.devices > 1,
            f"--devices={args.devices} processes share a list; give --list.",
        ),
        (
            listed and (sheet or args.mask),
            "--sheet and --mask are for one dance; a list has a column mask.",
        ),
        (
            sheet is not None and sheet.suffix.lower() not in SHEETS,
            f"{sheet} cannot be drawn: give a name that ends in {', '.join(SHEETS)}.",
        ),
    ):
        if refused:
            raise SettingsError(sentence)
    for path in (*args.files[:-1], args.list, args.mask, args.background, args.beats):
        if path is not None and not path.exists():
            raise FileNotFoundError(2, "", str(path))
    numbers = {name: option for name, option in OPTIONS.items() if option.is_number}
    numbers |= {name: Option("", int, above=name != "threads") for name in _WITHOUT_EFFECT[2:5]}
    for name, option in numbers.items():
        if getattr(args, name) is not None:
            option.check(f"--{name.replace('_', '-')}", getattr(args, name))
    for path in (out, *([sheet] if sheet is not None else [])):
        place = next(folder for folder in path.absolute().parents if folder.exists())
        if not place.is_dir():
            raise NotADirectoryError(20, "", str(place))
        if not os.access(place, os.W_OK):
            raise PermissionError(13, "", str(place))


def _generate_list(
    pipe: DabFusionPipeline, args: argparse.Namespace, options: dict[str, Any], rows: list[Row]
) -> int:
    from experiments.config.run import RunSettings
    from experiments.errors import DONE, USER_ERROR
    from experiments.generation.requests import generate_rows
    from experiments.processes.progress import shown_progress
    from experiments.processes.ranks import find_ranks, is_main_rank
    from experiments.processes.share import in_batches, share_work

    run = RunSettings(devices=args.devices)
    ranks = find_ranks(run)
    with shown_progress("Dances") as progress:
        problems = share_work(
            in_batches(len(rows), args.batch),
            lambda batch: generate_rows(pipe, [rows[i] for i in batch], options),
            networks=[pipe.autoencoder, pipe.denoiser, pipe.music] if ranks.world_size > 1 else [],
            run=run,
            ranks=ranks,
            progress=progress,
        )
    found = [problem for batch in problems for problem in batch]
    if found and is_main_rank():
        print("\n".join(found), file=sys.stderr)
        print(f"{len(found)} of {len(rows)} rows were not generated.", file=sys.stderr)
    return USER_ERROR if found else DONE
