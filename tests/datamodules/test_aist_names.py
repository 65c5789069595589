import pytest

from datamodules.aist_names import (
    GENRES,
    SITUATIONS,
    AistName,
    AistNameError,
    missing_cameras,
    music_in,
    parse,
    tempo_of,
    try_parse,
)


@pytest.mark.parametrize(
    "name",
    [
        "gBR_sBM_c01_d04_mBR0_ch01",
        "gJB_sFM_c09_d09_mJB5_ch21",
        "gWA_sBM_cAll_d25_mWA2_ch03",
        "gLO_sGR_c01_d13_d14_d15_mLO1_ch01",
        "sSH_c01_v0",
        "gHO_sBT_c02_d19_v12",
        "sCY_c10".replace("c10", "c03"),
    ],
)
def test_every_kind_of_name_survives_the_round_trip(name: str) -> None:
    assert str(parse(name)) == name


def test_parts_are_what_they_say() -> None:
    name = parse("gHO_sFM_c07_d20_mHO3_ch14")
    assert (name.genre, name.situation, name.camera) == ("HO", "FM", "c07")
    assert (name.dancers, name.music, name.choreography) == (("d20",), "mHO3", "ch14")
    assert name.dance == ("HO", "FM", "ch14")
    assert name.tempo_bpm == 125.0
    assert parse("gLO_sGR_c01_d13_d14_d15_mLO1_ch01").dancers == ("d13", "d14", "d15")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("gXX_sBM_c01_d04_mBR0_ch01", "genre XX"),
        ("gBR_sZZ_c01_d04_mBR0_ch01", "situation ZZ"),
        ("gBR_sBM_c10_d04_mBR0_ch01", "camera c10"),
        ("gBR_sBM_c01_d04_mBR7_ch01", "mBR7"),
        ("gBR_sBM_c01_mBR0_ch01", "one dancer"),
        ("gBR_sBM_c01_d04_mBR0", "choreography"),
        ("gBR_sSH_c01_v00", "gBR_sSH_c01_v0"),
        ("holiday", "not an AIST name"),
        ("", "not an AIST name"),
        ("gBR_sBM_c01_d04_mBR0_ch01\n", "not an AIST name"),
        ("gBR_sBM_c01_d٠٤_mBR0_ch01", "AIST name"),
    ],
)
def test_what_is_no_name_is_refused_by_name(name: str, part: str) -> None:
    with pytest.raises(AistNameError, match=part):
        parse(name)
    assert try_parse(name) is None


def test_tempo_follows_the_rule_for_all_sixty_pieces() -> None:
    for genre in GENRES:
        for digit in range(6):
            expected = 110 + 5 * digit if genre == "HO" else 80 + 10 * digit
            assert tempo_of(f"m{genre}{digit}") == expected
    for wrong in ("mBR6", "BR0", "mXX1", "mBR01", ""):
        with pytest.raises(AistNameError):
            tempo_of(wrong)


def test_music_is_found_in_a_name_or_is_the_name() -> None:
    assert music_in("gBR_sBM_c01_d04_mBR0_ch01") == "mBR0"
    assert music_in("mPO2") == "mPO2"
    assert music_in("sSH_c01_v0") is None
    assert music_in("song") is None


def test_cameras_expand_to_nine_and_missing_ones_are_told() -> None:
    whole = parse("gBR_sBM_cAll_d04_mBR0_ch01")
    cameras = whole.expand()
    assert [str(c)[8:11] for c in cameras] == [f"c0{k}" for k in range(1, 10)]
    assert cameras[3].expand() == [cameras[3]]
    assert missing_cameras(cameras) == {}
    assert missing_cameras([cameras[0], *cameras[2:]]) == {whole: ["c02"]}
    assert missing_cameras([whole]) == {}


def test_all_situations_are_known() -> None:
    assert set(SITUATIONS) == {"BM", "FM", "GR", "SH", "CY", "BT"}
    assert AistName("SH", "c01", variant=0).tempo_bpm is None
