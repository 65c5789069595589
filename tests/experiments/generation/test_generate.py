"""`generate`: one dance or a list, refusals, and what an interrupted list keeps."""

import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.media.video import probe, read_frames
from experiments import cli
from experiments.errors import SettingsError
from experiments.generation.options import read_number
from lightning_modules.pipeline import GENERATED, DabFusionPipeline


@pytest.fixture(scope="module")
def song(data: Path) -> Path:
    return sorted((data / "clips").glob("*.mp4"))[0]


@pytest.fixture(scope="module")
def picture(song: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "person.png"
    frame = read_frames(song, indices=[0])[0]
    tall = torch.nn.functional.interpolate(frame[None].float(), (90, 60))[0].to(torch.uint8)
    Image.fromarray(tall.permute(1, 2, 0).numpy()).save(path)
    return path


def tags(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return dict(container.metadata)


def write_list(path: Path, picture: Path, song: Path, rows: list[str]) -> Path:
    """A CSV list with the columns out and, if rows have them, seconds, steps, guidance, seed."""
    columns = "image,song,out,seconds,steps,guidance,seed"
    lines = [f"{picture},{song},{row}" for row in rows]
    path.write_text("\n".join([columns, *lines]))
    return path


def test_generate_writes_a_video_with_sound_and_a_sheet(diffusion, picture, song, tmp_path) -> None:
    out, sheet = tmp_path / "dance.mp4", tmp_path / "dance.png"
    words = ["generate", str(diffusion), str(picture), str(song), str(out)]
    assert cli.main([*words, "--seconds", "0.8", "--sheet", str(sheet), "--beat-ticks"]) == 0
    info = probe(out)
    assert info.has_audio
    assert info.frames == 8
    assert Image.open(sheet).size[0] == 10 * info.width
    again = tmp_path / "again.gif"
    assert cli.main([*words[:-1], str(tmp_path / "b.mp4"), "--seconds", "0.8"]) == 0
    assert cli.main([*words, "--seconds", "0.8", "--sheet", str(again)]) == 0
    first, second = (read_frames(p) for p in (out, tmp_path / "b.mp4"))
    assert first.shape == second.shape
    assert Image.open(again).n_frames == 8


def test_a_person_is_cut_out_and_set_into_the_exported_scene(
    diffusion, picture, song, tmp_path, capsys
) -> None:
    pipe = DabFusionPipeline.from_pretrained(diffusion)
    assert pipe.scene is not None
    assert pipe.scene.background.shape == (3, 32, 32)
    mask = np.zeros((90, 60), np.uint8)
    mask[20:80, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "dance.mp4"
    words = ["generate", str(diffusion), str(picture), str(song), str(out), "--seconds", "0.4"]
    assert cli.main([*words, "--mask", str(tmp_path / "mask.png")]) == 0
    assert read_frames(out).shape[0] == 4
    assert cli.main([*words, "--person-height", "0.5"]) == 2
    assert "--segmenter" in capsys.readouterr().err
    assert cli.main([*words, "--segmenter", str(tmp_path)]) == 2
    assert "segmentation model" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_list_of_dances_equals_its_single_ones(kind, diffusion, picture, song, tmp_path) -> None:
    rows = [
        {"picture": str(picture), "song": str(song), "out": "a.mp4", "seed": 3},
        {"picture": str(picture), "song": str(song), "out": "more/b.mp4", "start": 0.5},
        {"picture": str(picture), "song": str(song), "out": "c.mp4"},
    ]
    table = tmp_path / f"dances.{kind}"
    if kind == "csv":
        columns = ["picture", "song", "out", "seed", "start"]
        lines = [",".join(str(row.get(name, "")) for name in columns) for row in rows]
        table.write_text("\n".join([",".join(columns), *lines]))
    else:
        table.write_text(json.dumps(rows))
    words = ["--list", str(table), "--seconds", "0.4", "--batch", "2"]
    assert cli.main(["generate", str(diffusion), str(tmp_path), *words]) == 0
    alone = ["generate", str(diffusion), str(picture), str(song), str(tmp_path / "alone.mp4")]
    assert cli.main([*alone, "--seconds", "0.4", "--seed", "3"]) == 0
    frames = {name: read_frames(tmp_path / f"{name}.mp4") for name in ("a", "more/b", "c", "alone")}
    assert torch.equal(frames["a"], frames["alone"])
    assert not torch.equal(frames["a"], frames["c"])
    assert probe(tmp_path / "more" / "b.mp4").has_audio


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("picture,song\nPICTURE,SONG", "The value of out is missing"),
        ("picture,song,out,speed\nPICTURE,SONG,a.mp4,2", "speed"),
        ("picture,song,out,seed\nPICTURE,SONG,a.mp4,x", "whole number"),
        (
            "picture,song,out\nPICTURE,SONG,a.mp4\nPICTURE,SONG,a.mp4",
            "Row 1 of dances.csv (line 2) writes a.mp4 too",
        ),
        ("picture,song,out\nabsent.png,SONG,a.mp4", "absent.png"),
        ("picture,song,out\n", "lists no dances"),
    ],
)
def test_a_list_that_cannot_be_used_is_explained(
    text, expected, diffusion, picture, song, tmp_path, capsys
) -> None:
    table = tmp_path / "dances.csv"
    table.write_text(text.replace("PICTURE", str(picture)).replace("SONG", str(song)))
    assert cli.main(["generate", str(diffusion), str(tmp_path), "--list", str(table)]) == 2
    printed = capsys.readouterr().err
    assert expected in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"out": "dance.avi"}, "ends in .mp4"),
        ({"picture": "absent.png"}, "absent.png"),
        ({"song": "PICTURE"}, "no sound"),
        ({"picture": "SONG"}, "is not an image"),
        ({"model": "AUTOENCODER"}, "stage 1"),
        ({"more": ["--steps", "0"]}, "above 0"),
        ({"more": ["--steps", "2000"]}, "give 1 to 1000 steps"),
        ({"more": ["--seconds", "nan"]}, "finite number"),
        ({"more": ["--guidance-scale", "-1"]}, "--guidance-scale is -1.0, but must be at least 0"),
        ({"more": ["--image-guidance-scale", "-0.5"]}, "--image-guidance-scale is -0.5"),
        ({"more": ["--seed", "18446744073709551616"]}, "--seed is 18446744073709551616"),
        ({"more": ["--threads", "-1"]}, "must be at least 0"),
        ({"more": ["--sheet", "sheet.txt"]}, "ends in .png"),
        ({"out": "PICTURE/dance.mp4"}, "is a file where a folder was expected"),
        ({"more": ["--start", "1000"]}, "longer song"),
    ],
)
def test_a_users_mistake_is_explained_in_one_sentence(
    change, expected, diffusion, autoencoder, picture, song, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # progress is a bar, as in a terminal
    names = {"PICTURE": picture, "SONG": song, "AUTOENCODER": autoencoder}
    given = {"model": diffusion, "picture": picture, "song": song, "out": tmp_path / "a.mp4"}
    more = change.get("more", [])
    given |= {k: names.get(v, tmp_path / v) for k, v in change.items() if k != "more"}
    if change.get("out") == "PICTURE/dance.mp4":
        given["out"] = picture / "dance.mp4"
    status = cli.main(["generate", *(str(v) for v in given.values()), *more])
    assert status == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert "Traceback" not in captured.err
    assert "Denoising" not in captured.out + captured.err  # no progress bar before a refusal
    assert not (tmp_path / "a.mp4").exists()


def test_every_video_says_that_it_is_generated(diffusion, picture, song, tmp_path) -> None:
    out = tmp_path / "dance.mp4"
    words = ["generate", str(diffusion), str(picture), str(song), str(out), "--seconds", "0.4"]
    assert cli.main(words) == 0
    assert tags(out)["comment"] == GENERATED
    assert "generated" in GENERATED.lower()


def test_a_song_shorter_than_requested_is_said_once(
    diffusion, picture, song, tmp_path, capsys
) -> None:
    out = tmp_path / "dance.mp4"
    words = ["generate", str(diffusion), str(picture), str(song), str(out)]
    assert cli.main([*words, "--seconds", "100", "--start", "1.5"]) == 0
    said = capsys.readouterr().err
    assert said.count("although 100 s were requested: the song ends there") == 1
    assert "although 100 s were requested" in tags(out)["description"]
    seconds = probe(out).frames / 10
    assert seconds < 0.6
    assert cli.main([*words, "--seconds", f"{seconds}", "--start", "1.5"]) == 0
    assert "although" not in capsys.readouterr().err


def test_rows_have_their_own_options(diffusion, picture, song, tmp_path) -> None:
    rows = ["a.mp4,0.4,1,2.0,3.0", "b.mp4,0.6,2,,", "c.mp4,0.4,1,2.0,4"]
    table = write_list(tmp_path / "dances.csv", picture, song, rows)
    assert cli.main(["generate", str(diffusion), "--list", str(table), str(tmp_path)]) == 0
    frames = {name: read_frames(tmp_path / f"{name}.mp4") for name in "abc"}
    assert [len(frames[name]) for name in "abc"] == [4, 6, 4]
    alone = ["generate", str(diffusion), str(picture), str(song), str(tmp_path / "alone.mp4")]
    options = ["--seconds", "0.4", "--steps", "1", "--guidance-scale", "2", "--seed", "3"]
    assert cli.main([*alone, *options]) == 0
    assert torch.equal(frames["a"], read_frames(tmp_path / "alone.mp4"))
    assert not torch.equal(frames["a"], frames["c"])


def test_bad_rows_are_named_and_do_not_stop_the_others(
    diffusion, picture, song, tmp_path, capsys
) -> None:
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"no sound")
    rows = [
        "a.mp4,0.4,,,",
        "b.mp4,0.4,,,18446744073709551616",
        "c.mp4,0.4,,,1.5",
        "d.mp4,0.4,,-1,",
        "e.mp4,-2,,,",
        "f.mp4,0.4,9999,,",
        "g.mp4,0.4,,,18446744073709551615",
    ]
    table = write_list(tmp_path / "dances.csv", picture, song, rows)
    with table.open("a") as file:
        file.write(f"\n,,,,,,\n{picture},{broken},h.mp4,0.4,,,\n{picture},{song},i.mp4,0.4,,,")
    words = ["generate", str(diffusion), "--list", str(table), str(tmp_path)]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    for number, line, words_of_problem in (
        (2, 3, "seed is 18446744073709551616, but must be at most 18446744073709551615"),
        (3, 4, "seed is '1.5', but must be a whole number"),
        (4, 5, "guidance_scale is -1.0, but must be at least 0"),
        (5, 6, "seconds is -2.0, but must be above 0"),
        (6, 7, "give 1 to 1000 steps"),
        (8, 10, "broken.mp3"),
    ):
        (problem,) = [t for t in said.splitlines() if t.startswith(f"Row {number} of dances.csv")]
        assert f"(line {line})" in problem
        assert words_of_problem in problem
    assert "6 of 9 rows were not generated" in said
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["a.mp4", "g.mp4", "i.mp4"]


def test_an_interrupted_list_continues(
    diffusion, picture, song, tmp_path, monkeypatch, capsys
) -> None:
    rows = [f"{name}.mp4,0.4,,,{seed}" for seed, name in enumerate("abc")]
    table = write_list(tmp_path / "dances.csv", picture, song, rows)
    words = ["generate", str(diffusion), "--list", str(table), str(tmp_path), "--batch", "1"]
    batch, calls = DabFusionPipeline.batch, []

    def interrupted(pipe: Any, requests: Any, **more: Any) -> Any:
        calls.append(requests)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return batch(pipe, requests, **more)

    monkeypatch.setattr(DabFusionPipeline, "batch", interrupted)
    assert cli.main(words) == 130
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["a.mp4"]
    written = (tmp_path / "a.mp4").stat().st_mtime_ns
    assert cli.main(words) == 0
    assert len(calls) == 4  # a; b, interrupted; b and c again
    assert (tmp_path / "a.mp4").stat().st_mtime_ns == written
    assert "a.mp4: generated before" in capsys.readouterr().err
    # A changed row, a changed image and a broken video are generated again; the others are kept.
    write_list(table, picture, song, [rows[0], "b.mp4,0.4,,,7", rows[2]])
    (tmp_path / "c.mp4").write_bytes(b"broken")
    assert cli.main(words) == 0
    assert len(calls) == 6
    picture.touch()
    assert cli.main(words) == 0
    assert len(calls) == 9


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", "3.0", 3),
        ("seed", 3.0, 3),
        ("seed", " 7 ", 7),
        ("seed", str(2**64 - 1), 2**64 - 1),
        ("seed", "-1", -1),
        ("steps", "1e1", 10),
        ("seconds", "2.5", 2.5),
        ("guidance_scale", "0", 0),
    ],
)
def test_numbers_of_a_list(name: str, value: Any, expected: float) -> None:
    read = read_number(name, value)
    assert (read, type(read)) == (expected, int if name in ("seed", "steps") else float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seed", value) for value in ("3.5", "x", True, None, "inf", "nan", 2**64, "1e30", [1])),
        *(("steps", value) for value in (0, -1, 1.5)),
        *(("seconds", value) for value in (0, "-1", "inf", "nan", "1,5")),
        *(("guidance_scale", value) for value in (-0.1, "nan")),
        *(("start", value) for value in (-1, "inf")),
    ],
)
def test_numbers_that_are_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is"):
        read_number(name, value)
