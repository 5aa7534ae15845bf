import pytest

from lambda_nas.core.cost import Price
from lambda_nas.core.removal import RemovalSet
from lambda_nas.errors import InputError
from lambda_nas.report import figures
from lambda_nas.search.values import FrontPoint, StudyInfo

PRICES = {
    number: Price(100.0 + number, 1 + number / 10, 320.0, 40_000_000 - number * 1_500_000, 1, 1)
    for number in range(3)
}
INFO = StudyInfo("study", "model", "m", "images", "d", "a CPU", (0, 1, 2), 0, 0.8, PRICES[0], {})


def point(trial, removed, accuracy):
    return FrontPoint(trial, RemovalSet.of(removed), accuracy, 0, PRICES[len(removed)], None)


FAST, SLOW, BEATEN = point(0, [0, 2], 0.5), point(1, [1], 0.75), point(2, [0], 0.25)
LAYERS = [
    {
        "index": index,
        "entropy_attn": -10.0 + index,
        "entropy_mlp": 5.0 - index,
        "transfer_entropy": 2.0 * index - 1,
        "relative_entropy": 0.25 * index,
        "high_frequency": 0.25,
    }
    for index in (0, 2, 3)
]
PATH = [
    {"removed": [2], "high_frequency": [0.5, 0.25, 0.125, 0.0]},
    {"removed": [0, 2], "high_frequency": [0.25, 0.25, 0.75, 1.0]},
]


def test_front_data():
    data = figures.front_data(INFO, [FAST, SLOW, BEATEN], [FAST, SLOW])

    assert data.others == ([1.1], [25.0], [38.5], ["{0}"])
    assert data.front == ([1.1, 1.2], [75.0, 50.0], [38.5, 37.0], ["{1}", "{0,2}"])
    assert data.unpruned == ([1.0], [80.0], [40.0], ["unpruned"])


def test_front_shows_trials_front_and_unpruned_model():
    figure = figures.front(INFO, [FAST, SLOW, BEATEN], [SLOW, FAST])

    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == ["other trials", "front", "unpruned"]
    assert list(traces["other trials"].x) == [1.1]
    assert list(traces["front"].marker.color) == [38.5, 37.0]
    assert traces["unpruned"].marker.symbol == "star"
    assert "%" in figure.layout.yaxis.title.text
    left, right = figure.layout.xaxis.range
    assert left < 1.0
    assert right > 1.2


def test_front_of_a_study_without_trials():
    figure = figures.front(INFO, [], [])
    assert list(figure.data[2].y) == [80.0]


def test_prior_shows_each_field_at_its_layers():
    figure = figures.prior(LAYERS, PATH, "model on images")

    traces = (*figure.data[:4], figure.data[-1])
    assert [list(trace.x) for trace in traces] == [[0, 2, 3]] * 5
    assert [list(trace.y) for trace in traces] == [
        [-10.0, -8.0, -7.0],
        [5.0, 3.0, 2.0],
        [-1.0, 3.0, 5.0],
        [0.0, 0.5, 0.75],
        [25.0, 25.0, 25.0],
    ]
    assert figure.layout.title.text == "model on images"
    units = [axis.title.text for axis in figure.select_yaxes()]
    assert units == ["nats", "nats", "nats", "%"]


def test_prior_shows_the_spectrum_of_every_step_by_block():
    traces = figures.prior(LAYERS, PATH, "").data[4:-1]
    assert [trace.name for trace in traces] == ["1 removed", "2 removed"]
    assert [list(trace.x) for trace in traces] == [[0, 1, 2, 3]] * 2
    assert [list(trace.y) for trace in traces] == [[50, 25, 12.5, 0], [25, 25, 75, 100]]


def test_page_needs_no_network(tmp_path):
    path = tmp_path / "front.html"
    figures.save(figures.front(INFO, [FAST], [FAST]), path)
    text = path.read_text()
    assert len(text) > 1_000_000
    assert '<script src="http' not in text


@pytest.mark.usefixtures("chromium")
def test_image(tmp_path):
    pytest.importorskip("kaleido", reason="images need kaleido")
    path = tmp_path / "front.png"
    figures.save(figures.front(INFO, [FAST], [FAST]), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_unknown_suffix(tmp_path):
    with pytest.raises(InputError, match=r"front\.pdf: the name must end in \.html, \.png, \.svg"):
        figures.save(figures.prior(LAYERS, PATH, ""), tmp_path / "front.pdf")


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"missing/front\.html can't be written"):
        figures.save(figures.prior(LAYERS, PATH, ""), tmp_path / "missing" / "front.html")


def test_missing_kaleido(tmp_path, monkeypatch):
    # Plotly looks for Kaleido once, on import: what it raises is imitated.
    def write_image(*_, **__):
        raise ValueError("\nImage export requires the Kaleido package,\nwhich can be installed")

    monkeypatch.setattr(figures.go.Figure, "write_image", write_image)
    message = r"front\.png: images need `pip install kaleido` and Chrome.*\(Image export requires"
    with pytest.raises(InputError, match=message):
        figures.save(figures.prior(LAYERS, PATH, ""), tmp_path / "front.png")
