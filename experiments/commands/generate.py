"""`dabfusion generate`: an image and a song in, a video with sound out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.generation.request_list import Row
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
#: Dances of a list that are sampled at once.
BATCH = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="run or pipeline folder")
    add(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="IMAGE (of a whole person) SONG OUT (the mp4 to write); with --list only OUT",
    )
    add("--list", type=Path, help="CSV or JSON file with a row for each dance")
    add("--batch", type=int, default=BATCH, help=f"dances of a list at a time ({BATCH})")
    add("--devices", type=int, default=1, help="processes that share a list (1)")
    add("--seconds", type=float, help="length of the video (to the end of the song)")
    add("--start", type=float, default=0.0, help="second of the song to start at (0)")
    add("--seed", type=int, default=0, help="seed of the noise; another seed, another dance (0)")
    add("--steps", type=int, help="denoising steps (the model's own)")
    add("--solver", choices=["ddim", "dpm++", "unipc"], help="(the model's own)")
    add("--guidance-scale", type=float, help="weight of the music; 0 ignores it")
    add("--image-guidance-scale", type=float, help="weight of the image")
    add("--tempo", type=float, help="beats per minute of the song, if known")
    add("--beats", type=Path, help="file with the beats of the song in seconds")
    person = parser.add_argument_group("cutting out the person")
    person.add_argument("--mask", type=Path, help="image that is white on the person")
    person.add_argument("--segmenter", type=Path, help="Hugging Face segmentation model folder")
    person.add_argument("--background", type=Path, help="image, or prepared folder to take it from")
    person.add_argument("--person-height", type=float, help="fraction of the frame's height")
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
    from experiments.generation.load import load_pipeline, scene_of
    from experiments.processes.cpu import set_up_processor

    set_up_processor(args.threads)
    options = {**vars(args), "image": None, "song": None}
    rows = []
    if args.list is not None:
        from experiments.generation.request_list import read_list

        rows = read_list(args.list, args.files[0])
    pipe = load_pipeline(args.model, args.clap_weights, args.wav2clip_weights, args.segmenter)
    if args.background is not None and args.background.is_dir():
        pipe.scene = scene_of(args.background)
        options |= {"background": None, "scene": args.background}
        if args.mask is None and args.person_height is None:
            options["person_height"] = pipe.scene.height  # a background implies cutting out
    if rows:
        return _generate_list(pipe, args, options, rows)
    _generate_one(pipe, args, options)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is loaded."""
    from experiments.errors import SettingsError
    from experiments.generation.requests import NUMBERS, check_number

    count = 3 if args.list is None else 1
    if len(args.files) != count:
        names = "IMAGE SONG OUT" if count == 3 else "only the folder to write to with --list"
        raise SettingsError(f"{len(args.files)} files are given after MODEL; give {names}.")
    optional = (args.list, args.mask, args.background, args.beats)
    for path in (*args.files[:-1], *(path for path in optional if path is not None)):
        if not path.exists():
            raise FileNotFoundError(2, "", str(path))
    if args.list is None and args.files[-1].suffix.lower() != ".mp4":
        raise SettingsError(
            f"The output is {args.files[-1]}, but must be a video: give a name that ends in .mp4."
        )
    for name in (*NUMBERS, "batch", "devices", "threads"):
        if getattr(args, name) is not None:
            check_number(f"--{name.replace('_', '-')}", name, getattr(args, name))
    if args.list is None and args.devices > 1:
        raise SettingsError(f"--devices={args.devices} processes share a list; give --list.")
    if args.list is not None and (args.sheet or args.mask):
        raise SettingsError("--sheet and --mask are for one dance; a list has a column mask.")
    _check_writable(args.files[-1], args.sheet)


def _check_writable(out: Path, sheet: Path | None) -> None:
    """Refuse before a long computation if its result could not be kept."""
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


def _generate_one(
    pipe: DabFusionPipeline, args: argparse.Namespace, options: dict[str, Any]
) -> None:
    from experiments.generation.load import write_sheet
    from experiments.generation.requests import build_request, finish, sampling_arguments
    from experiments.processes.progress import shown_progress

    image, song, out = args.files
    request = build_request({**options, "image": image, "song": song})
    with shown_progress("Denoising") as progress:
        (dance,) = pipe.batch([request], **sampling_arguments(options), progress=progress)
    dance = finish(dance, out, options)
    if args.sheet is not None:
        write_sheet(dance, args.sheet)


def _generate_list(
    pipe: DabFusionPipeline, args: argparse.Namespace, options: dict[str, Any], rows: list[Row]
) -> int:
    import sys

    from experiments.config.run import RunSettings
    from experiments.errors import DONE, USER_ERROR
    from experiments.generation.request_list import generate_rows
    from experiments.processes.progress import shown_progress
    from experiments.processes.ranks import find_ranks, is_main_rank
    from experiments.processes.share import in_batches, share_work

    # What does not alter the videos is left out, so that it does not make finished ones anew.
    for name in ("files", "list", "batch", "devices", "threads", "sheet"):
        options.pop(name)
    run = RunSettings(devices=args.devices)
    ranks = find_ranks(run)
    with shown_progress("Dances") as progress:
        problems = share_work(
            in_batches(len(rows), args.batch),
            lambda batch: generate_rows(pipe, [rows[i] for i in batch], options, args.model),
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
