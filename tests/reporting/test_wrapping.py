import io
import itertools
import random

import pytest
from rich.console import Console
from rich.table import Table

from lambda_nas.reporting.wrapping import AtCommas, wrap_at_commas


@pytest.mark.parametrize("width", range(4, 60, 5))
def test_lines_are_as_full_as_they_can_be_and_numbers_stay_whole(width):
    layers = random.Random(width).sample(range(8, 120), 20)
    text = "{" + ",".join(map(str, layers)) + "} merging 8 from block 2"
    lines = wrap_at_commas(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    for line, following in itertools.pairwise(lines):
        first = wrap_at_commas(following, 1)[0]
        assert len(line) + (line[-1] != ",") + len(first) > width
    assert max(map(len, lines)) <= max(width, len("merging"))


def test_what_is_longer_than_a_line_ends_in_no_empty_one():
    assert wrap_at_commas("vit_base 0,1", 4) == ["vit_base", "0,1"]
    assert wrap_at_commas("vit_base", 4) == ["vit_base"]


@pytest.mark.parametrize("width", [20, 33, 60])
def test_a_table_gives_a_removal_set_what_room_there_is(width):
    console = Console(width=width, record=True, file=io.StringIO())
    table = Table("step", "removal set", box=None, pad_edge=False)
    table.add_row("1", AtCommas("{10,11,12,13,14,15,16,17,18,19,20}"))
    console.print(table)
    lines = [line[6:].rstrip() for line in console.export_text().splitlines()[1:]]
    assert "".join(lines) == "{10,11,12,13,14,15,16,17,18,19,20}"
    assert all(line[-1] in ",}" for line in lines)
    assert len(lines) == {20: 3, 33: 2, 60: 1}[width]
