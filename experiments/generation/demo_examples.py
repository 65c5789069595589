"""Examples for the demo: rendered dancers and rendered music, made when the demo starts."""

from pathlib import Path

#: What a row is called, and the dance that is rendered for it.
EXAMPLES = {
    "break, 80 beats a minute": "gBR_sBM_c01_d91_mBR0_ch03",
    "house, 135 beats a minute": "gHO_sBM_c01_d95_mHO5_ch01",
}


def write_examples(folder: Path, size: int, seconds: float = 6.0) -> list[list[str]]:
    """Render one picture and one song for each example.

    Args:
        folder: to write to; made where missing.
        size: side of the pictures in pixels.
        seconds: length of the songs.

    Returns:
        Rows of picture and song paths.
    """
    from PIL import Image
    from scipy.io import wavfile

    from datamodules.synthetic.clip import DanceSpec, render_clip

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for title, name in EXAMPLES.items():
        clip = render_clip(DanceSpec(name=name, size=max(64, size), seconds=seconds))
        picture, song = folder / f"{title}.png", folder / f"{title}.wav"
        Image.fromarray(clip.frames[0].permute(1, 2, 0).numpy()).save(picture)
        wavfile.write(song, clip.sample_rate, (clip.audio * 32767).astype("int16"))
        rows.append([str(picture), str(song)])
    return rows
