"""The table of `bench`, in a terminal of 80 columns."""

from lambda_nas.cli import output
from lambda_nas.cli.commands.bench import _table
from lambda_nas.cost.measurement import Price


def test_numbers_and_layers_stay_whole_in_80_columns(monkeypatch, capsys):
    monkeypatch.setattr(output.stdout, "width", 80)
    price = Price(12345.6, 1.234, 1280.5, 1_340_000_000, 86_570_000, 17_600_000_000)
    layers = ",".join(map(str, range(12)))
    name = "local-dir:/home/someone/models/deit_base_patch16_224"
    output.stdout.print(_table([name, f"{name} without {layers}"], [price, price]))
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    whole = ["12345.6", "1280.5", "1340.0", "MB", "86.57", "M", "17.6", "G", "1.23x"]
    assert [line.split()[1:] for line in lines if "12345.6" in line] == [whole, whole]
    names = "".join(line[:21].strip() for line in lines[3:])
    assert names == f"{name}{name}without {layers}"
    assert any(line.split() == ["6,7,8,9,10,11"] for line in lines)
