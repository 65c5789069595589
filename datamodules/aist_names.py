"""Names of the AIST Dance Video Database: parse, format, cameras, tempo. Standard library only.

`g<genre>_s<situation>_c<camera>_d<dancer>_m<music>_ch<choreography>`, for example
`gBR_sBM_c01_d04_mBR0_ch01`. AIST++ uses the situations BM (basic) and FM (advanced); AIST itself
has more: groups (`sGR`, three dancer fields), showcases, cyphers and battles, which may lack a
genre, dancer or music (`sSH_c01_v0`). All of them parse; anything else is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

GENRES = {
    "BR": "break",
    "PO": "pop",
    "LO": "lock",
    "MH": "middle hip-hop",
    "LH": "LA-style hip-hop",
    "HO": "house",
    "WA": "waack",
    "KR": "krump",
    "JS": "street jazz",
    "JB": "ballet jazz",
}
SITUATIONS = {
    "BM": "basic",
    "FM": "advanced",
    "GR": "group",
    "SH": "showcase",
    "CY": "cypher",
    "BT": "battle",
}
CAMERAS = tuple(f"c{number:02d}" for number in range(1, 10))
ALL_CAMERAS = "cAll"

_NAME = re.compile(
    r"(?:g(?P<genre>[A-Z]{2})_)?s(?P<situation>[A-Z]{2})_c(?P<camera>\d\d|All)"
    r"(?P<dancers>(?:_d\d\d)*)(?:_(?P<music>m[A-Z]{2}\d))?(?:_ch(?P<choreography>\d\d))?"
    r"(?:_v(?P<variant>\d+))?",
    re.ASCII,
)
_MUSIC = re.compile(r"m(?P<genre>[A-Z]{2})(?P<digit>[0-5])")


class AistNameError(ValueError):
    """A name is not one of the AIST Dance Video Database."""


@dataclass(frozen=True)
class AistName:
    """The parts of a name; None or empty where the name has no such field."""

    situation: str
    """`BM`, `FM`, `GR`, `SH`, `CY` or `BT`."""
    camera: str
    """`c01` to `c09`, or `cAll` for all nine."""
    genre: str | None = None
    dancers: tuple[str, ...] = ()
    """`d04`, ...; three in a group dance."""
    music: str | None = None
    """`mBR0`, ..."""
    choreography: str | None = None
    """`ch01`, ...: unique only within genre and situation; see `dance`."""
    variant: int | None = None

    def __str__(self) -> str:
        fields = [f"g{self.genre}" if self.genre else None, f"s{self.situation}", self.camera]
        fields += [*self.dancers, self.music, self.choreography]
        fields.append(f"v{self.variant}" if self.variant is not None else None)
        return "_".join(part for part in fields if part)

    @property
    def dance(self) -> tuple[str | None, str, str | None]:
        """(genre, situation, choreography): what makes two videos the same choreography."""
        return self.genre, self.situation, self.choreography

    @property
    def tempo_bpm(self) -> float | None:
        """Beats per minute stated by the name; None without music."""
        return tempo_of(self.music) if self.music else None

    def with_camera(self, camera: str) -> AistName:
        """The same performance seen by another camera."""
        return replace(self, camera=camera)

    def expand(self) -> list[AistName]:
        """The nine cameras of a `cAll` name; a name with a camera is itself."""
        if self.camera != ALL_CAMERAS:
            return [self]
        return [self.with_camera(camera) for camera in CAMERAS]


def parse(name: str) -> AistName:
    """Parse a name without folder or extension.

    Raises:
        AistNameError: The name does not follow the pattern, or a field has no known value.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise AistNameError(f"{name[:80]!r} is not an AIST name such as gBR_sBM_c01_d04_mBR0_ch01.")
    parts = match.groupdict()
    camera = "c" + parts["camera"]
    music, choreography = parts["music"], parts["choreography"]
    found = AistName(
        situation=parts["situation"],
        camera=camera,
        genre=parts["genre"],
        dancers=tuple(parts["dancers"].split("_")[1:]),
        music=music,
        choreography=f"ch{choreography}" if choreography else None,
        variant=int(parts["variant"]) if parts["variant"] else None,
    )
    _check(found, name)
    return found


def _check(found: AistName, name: str) -> None:
    if found.genre is not None and found.genre not in GENRES:
        raise AistNameError(f"{name!r} names the genre {found.genre}, not one of {_list(GENRES)}.")
    if found.situation not in SITUATIONS:
        raise AistNameError(
            f"{name!r} names the situation {found.situation}, not one of {_list(SITUATIONS)}."
        )
    if found.camera != ALL_CAMERAS and found.camera not in CAMERAS:
        raise AistNameError(f"{name!r} names the camera {found.camera}; there are c01 to c09.")
    if found.music is not None:
        tempo_of(found.music)
    if str(found) != name:
        raise AistNameError(f"{name!r} is not an AIST name; the proper form is {found}.")
    solo = found.situation in ("BM", "FM")
    if solo and not (found.genre and len(found.dancers) == 1 and found.music):
        raise AistNameError(f"{name!r} needs a genre, one dancer and a piece of music.")
    if solo and found.choreography is None:
        raise AistNameError(f"{name!r} needs a choreography, such as ch01.")


def try_parse(name: str) -> AistName | None:
    """The parsed name, or None where the name is not of AIST."""
    try:
        return parse(name)
    except AistNameError:
        return None


def tempo_of(music: str) -> float:
    """Beats per minute of a piece by AIST's rule: 80 + 10 * digit, house 110 + 5 * digit.

    Raises:
        AistNameError: `music` is not one of the sixty pieces mBR0 to mJB5.
    """
    match = _MUSIC.fullmatch(music)
    if match is None or match["genre"] not in GENRES:
        raise AistNameError(f"{music[:40]!r} is not one of the sixty pieces mBR0, ..., mJB5.")
    digit = int(match["digit"])
    return 110.0 + 5.0 * digit if match["genre"] == "HO" else 80.0 + 10.0 * digit


def music_in(name: str) -> str | None:
    """Return the piece of music that a name states: the music of an AIST name, or the name itself
    if it is a piece."""
    found = try_parse(name)
    if found is not None:
        return found.music
    match = _MUSIC.fullmatch(name)
    return name if match and match["genre"] in GENRES else None


def missing_cameras(names: Iterable[AistName]) -> dict[AistName, list[str]]:
    """Cameras that a performance lacks, by its `cAll` name; complete ones are left out."""
    seen: dict[AistName, set[str]] = {}
    for name in names:
        seen.setdefault(name.with_camera(ALL_CAMERAS), set()).add(name.camera)
    lacks = {
        whole: [camera for camera in CAMERAS if camera not in cameras]
        for whole, cameras in seen.items()
        if ALL_CAMERAS not in cameras
    }
    return {whole: cameras for whole, cameras in lacks.items() if cameras}


def _list(values: Iterable[str]) -> str:
    return ", ".join(values)
