"""`dabfusion generate`: a picture and a song in, a video with sound out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = """Let the person in a picture dance to a song.

MODEL is the run folder of `dabfusion train diffusion`, its export/, or any saved pipeline. The
picture may have any size and shape, the song any format and length."""

EXAMPLES = [
    "dabfusion generate runs/diffusion-aist128 person.jpg song.mp3 dance.mp4",
    "dabfusion generate RUN person.jpg song.mp3 dance.mp4 --seconds 12 --guidance-scale 2",
    "dabfusion generate RUN person.jpg song.mp3 dance.mp4 --sheet dance.png --seed 3",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="run or pipeline folder")
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="of a whole person")
    parser.add_argument("song", type=Path, metavar="SONG", help="sound or video file")
    parser.add_argument("out", type=Path, metavar="OUT", help="mp4 to write")
    parser.add_argument("--seconds", type=float, help="length (to the end of the song)")
    parser.add_argument("--start", type=float, default=0.0, help="second of the song to start at")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another dance (0)")
    parser.add_argument("--steps", type=int, help="denoising steps (as the model says)")
    parser.add_argument("--solver", choices=["ddim", "dpm++", "unipc"], help="(as the model says)")
    parser.add_argument("--guidance-scale", type=float, help="weight of the music; 0 ignores it")
    parser.add_argument("--image-guidance-scale", type=float, help="weight of the picture")
    parser.add_argument("--tempo", type=float, help="the song's beats a minute, where known")
    parser.add_argument("--beats", type=Path, help="file of the song's beats in seconds")
    parser.add_argument("--sheet", type=Path, help="PNG or JPEG to draw the frames on")
    parser.add_argument("--beat-ticks", action="store_true", help="mark the beats in the video")
    parser.add_argument("--clap-weights", type=Path, help="for models trained with CLAP")
    parser.add_argument("--wav2clip-weights", type=Path, help="for models trained with Wav2CLIP")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (as PyTorch likes)")


def run(args: argparse.Namespace) -> int:
    """Load, dance, write."""
    from experiments.errors import SettingsError

    for path in (args.picture, args.song):
        if not path.exists():
            raise FileNotFoundError(2, "", str(path))
    if args.out.suffix.lower() != ".mp4":
        raise SettingsError(f"{args.out} is to be the video: give a name that ends in .mp4.")
    for name in ("seconds", "steps", "tempo"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise SettingsError(f"--{name} is {value}, but must be above 0.")
    if args.start < 0:
        raise SettingsError(f"--start is {args.start:g}, but cannot be negative.")
    _dance(args)
    return 0


def _dance(args: argparse.Namespace) -> None:
    import torch

    from datamodules.video import read_image
    from experiments.generation import draw_beat_ticks, load_pipeline, write_sheet
    from experiments.progress import shown_progress

    if args.threads:
        torch.set_num_threads(args.threads)
    pipe = load_pipeline(args.model, args.clap_weights, args.wav2clip_weights)
    picture = read_image(args.picture)
    with shown_progress("Denoising") as progress:
        dance = pipe(
            picture,
            args.song,
            seconds=args.seconds,
            start_s=args.start,
            tempo_bpm=args.tempo,
            beat_file=args.beats,
            guidance_scale=args.guidance_scale,
            image_guidance_scale=args.image_guidance_scale,
            num_inference_steps=args.steps,
            solver=args.solver,
            generator=args.seed,
            progress=progress,
        )
    if args.beat_ticks:
        dance = draw_beat_ticks(dance)
    dance.save(args.out)
    if args.sheet is not None:
        write_sheet(dance, args.sheet)
    seconds = len(dance.frames) / dance.fps
    inside = int(((dance.beats_s >= 0) & (dance.beats_s < seconds)).sum())
    print(f"{args.out}: {seconds:.1f} s, {inside} beats in the music.", file=sys.stderr)
