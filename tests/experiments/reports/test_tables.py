"""Markdown tables."""

from experiments.reports.tables import markdown_table


def test_numbers_are_right_aligned_and_bars_are_escaped() -> None:
    rows = [["a|b", 1, "0.62 [0.51, 0.72]", "3 of 4"], ["c", 20, "–", "none"]]
    assert markdown_table(["run", "clips", "rate", "note"], rows).splitlines() == [
        "| run | clips | rate | note |",
        "| --- | ---: | ---: | --- |",
        r"| a\|b | 1 | 0.62 [0.51, 0.72] | 3 of 4 |",
        "| c | 20 | – | none |",
    ]


def test_a_table_without_rows_keeps_its_header() -> None:
    assert markdown_table(["a", "b"], []) == "| a | b |\n| --- | --- |"
