"""What `spaces` prints."""

import json

import pytest


@pytest.fixture
def printed(lambda_nas):
    def call(*args):
        code, out, _ = lambda_nas("spaces", *args, "--json")
        assert code == 0
        return json.loads(out)

    return call


def test_spaces(printed):
    spaces = {space["name"]: space for space in printed()}
    assert spaces["deit_base"]["seeds"]["paper-50"] == [0, 1, 3, 4, 6, 9]


def test_coverage(printed):
    families = {row["name"]: row for row in printed("--coverage")}
    assert families["cait"]["covered"] == families["cait"]["architectures"] == 10
    assert "resnet" not in families
