import plotly.graph_objects as go
import pytest

from lambda_nas.errors import InputError
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.front import hypervolume
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.reporting import figures
from lambda_nas.reporting.figures._front import Series, _edge, _labels

UNREMARKABLE = {"score": 0.5, "run": 7, "elapsed_s": 1.0}


def trial(number, removed, *accuracies, **more):
    rungs = [RungResult(rung, top1, 1.0) for rung, top1 in enumerate(accuracies)]
    return TrialRecord(number, Architecture.of(removed), tuple(rungs), **UNREMARKABLE | more)


def test_front_data(make_study):
    data = figures.front_data(make_study())

    speedup, accuracy, memory, names, hover = data.front
    assert (speedup, accuracy, memory) == ([1.2], [79.0], [37.0])
    assert names == ["{0,3}"]
    assert hover == [
        "<b>trial 4: {0,3}</b><br>top-1 79.00% (-1.00)<br>1.20x, 120.0 images/s<br>"
        "37.0 MB, 4.80 M params"
    ]
    assert data.others.names == ["{0,2}", "{3}", "{0}"]
    assert data.others.accuracy == [50.0, 75.0, 25.0]
    assert data.stopped.names == ["{0,2,3}"]
    assert "stopped early" in data.stopped.hover[0]
    assert data.marked.names == ["{0}"]
    assert data.unpruned[:4] == ([1.0], [80.0], [40.0], ["unpruned"])


def test_front_marks_the_papers_sets_without_any_seed(make_study):
    trials = [trial(0, [0, 2, 4], 0.5), trial(1, [0, 2, 3, 4], 0.4), trial(2, [0, 2, 4, 6], 0.3)]
    data = figures.front_data(make_study(trials, settings={}))
    assert data.marked.names == ["{0,2,4}", "{0,2,4,6}"]


def test_front_shows_each_kind_of_trial_on_its_own(make_study):
    figure = figures.front(make_study())

    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == [
        *("completed", "stopped early", "paper's removal sets and seeds", "front", "unpruned")
    ]
    assert list(traces["front"].marker.color) == [37.0]
    assert traces["stopped early"].marker.symbol == "x-thin"
    assert traces["unpruned"].marker.symbol == "star"
    assert "%" in figure.layout.yaxis.title.text
    left, right = figure.layout.xaxis.range
    assert left < 1.0
    assert right > 1.3
    assert figure.layout.title.subtitle.text == "vit on images, a CPU"


def test_the_line_joins_the_members_that_are_best_in_accuracy_and_speed():
    # Memory alone brought the second and the fourth onto the front.
    speedup, accuracy = [1.0, 1.1, 1.2, 1.3, 1.4], [80.0, 60.0, 78.0, 50.0, 70.0]
    edge = _edge(Series(speedup, accuracy, [1.0] * 5, [""] * 5, [""] * 5))
    assert edge == [(1.0, 80.0), (1.2, 78.0), (1.4, 70.0)]


AXES = (0.9, 55.0, 2.3, 85.0)


def labels_of(speedup, accuracy, names, *, star=(0.9, 55.0), axes=AXES):
    points = Series(speedup, accuracy, [1.0] * len(names), names, [])
    return _labels(points, Series([star[0]], [star[1]], [1.0], [""], []), axes)


def test_names_lie_neither_on_each_other_nor_on_the_line():
    speedup, accuracy = [1.0, 1.5, 1.52, 2.0, 1.51], [80.0, 70.0, 70.5, 60.0, 70.2]
    labels, places = labels_of(speedup, accuracy, ["{0,1}"] * 5)
    assert labels == ["{0,1}"] * 5
    assert places == ["top right", "bottom left", "top right", "top right", "top left"]


@pytest.mark.parametrize(
    ("point", "place"),
    [
        ((2.29, 70.0), "top left"),
        ((1.5, 84.9), "bottom right"),
        ((2.29, 84.9), "bottom left"),
        ((0.91, 55.1), "top right"),
    ],
)
def test_names_stay_within_the_axes(point, place):
    labels, places = labels_of([point[0]], [point[1]], ["{0,1}"], star=(1.2, 60.0))
    assert (labels, places) == (["{0,1}"], [place])


def test_a_name_is_not_on_the_star():
    assert labels_of([1.0], [80.0], ["{0,1}"], star=(1.06, 81.0))[1] == ["bottom right"]


def test_where_there_is_no_room_a_point_has_no_name():
    crowd = [1.0 + step / 1000 for step in range(9)]
    labels, _ = labels_of(crowd, [80.0] * 9, ["{0,1,2}"] * 9, axes=(0.5, 70.0, 1.5, 90.0))
    assert 1 <= len([label for label in labels if label]) <= 4


def test_every_axis_has_a_title_that_keeps_clear_of_its_labels(make_study):
    for title, figure in figures.all_figures(make_study()).items():
        axes = [figure.layout[name] for name in figure.to_plotly_json()["layout"] if "axis" in name]
        assert all(axis.title.standoff for axis in axes), title
        # Panels below each other share what is written below the last.
        named = [bool(axis.title.text) for axis in axes if axis.showticklabels is not False]
        assert all(named), title


def test_front_of_a_study_without_trials(make_study):
    (unpruned,) = figures.front(make_study([])).data
    assert list(unpruned.y) == [80.0]


def test_names_are_text_in_a_title(make_study):
    study = make_study(name="<a href='x'>", data="<b>")
    title = figures.front(study).layout.title
    assert title.text == "Front of &lt;a href='x'&gt;"
    assert title.subtitle.text == "vit on &lt;b&gt;, a CPU"


def test_layers_data(make_study):
    trials = [trial(0, [2, 3], 0.5), trial(1, [2], 0.75)]
    assert figures.layers_data(make_study(trials)) == (
        [0, 2, 3],
        ["1.10x, 75.0%", "1.20x, 50.0%"],
        [[False, True, False], [False, True, True]],
        [0.0, 1.0, 0.5],
    )
    (cells,) = figures.layers(make_study(trials)).data
    assert [list(row) for row in cells.z] == [[0, 1, 0], [0, 1, 1]]
    facts = figures.layers(make_study(trials)).layout.title.subtitle.text
    assert facts == "always removed: 2; never removed: 0"


def test_scores_data(make_study):
    data = figures.scores_data(make_study())
    assert data.completed == (
        [0.5, 0.25, 1.0, 0.125],
        [50.0, 75.0, 25.0, 79.0],
        ["trial 0: {0,2}", "trial 1: {3}", "trial 3: {0}", "trial 4: {0,3}"],
    )
    assert data.stopped == ([2.0], [10.0], ["trial 2: {0,2,3}"])
    assert data.best == pytest.approx(-1.0)
    assert data.first == pytest.approx(-1.0)


def test_the_first_rung_ranks_by_itself(make_study):
    # By hand: ranks 1, 2, 3, 4 against 4, 2, 3, 1 at the first rung, 4, 3, 2, 1 at the best.
    rungs = [(0.5, 0.6), (0.3, 0.5), (0.4, 0.4), (0.2,)]
    trials = [trial(n, [n], *r, score=float(n)) for n, r in enumerate(rungs) if n != 1]
    trials.insert(1, trial(1, [0, 1], *rungs[1], score=1.0))
    data = figures.scores_data(make_study(trials))
    assert data.best == pytest.approx(-1.0)
    assert data.first == pytest.approx(1 - 6 * (9 + 0 + 0 + 9) / (4 * 15))


@pytest.mark.parametrize(
    ("one", "other"), [([1.0, 2.0], [2.0, 1.0]), ([1.0] * 3, [1.0, 2.0, 3.0]), ([], [])]
)
def test_no_correlation_where_it_says_nothing(one, other):
    assert figures.spearman(one, other) is None


def test_scores_are_on_a_log_axis_while_they_are_above_zero(make_study):
    assert figures.scores(make_study()).layout.xaxis.type == "log"
    trials = [trial(0, [0], 0.5, score=0.0), trial(1, [2], 0.5, score=1.0)]
    figure = figures.scores(make_study(trials))
    assert figure.layout.xaxis.type == "linear"
    assert "needs at least 3 different trials" in figure.layout.title.subtitle.text


def test_hypervolume_data(make_study):
    study = make_study()
    data = figures.hypervolume_data(study)

    def volume(*numbers):
        points = [study.pareto_trial(study.trials[number]) for number in numbers]
        return hypervolume(points, study.info.baseline)

    assert data.by_trial == pytest.approx(
        [volume(0), volume(0, 1), volume(0, 1), volume(0, 1), volume(4)]
    )
    # The second run begins when the first has lasted its 100 s; trial 4 was there before trial 3.
    assert data.seconds == [10.0, 20.0, 105.0, 110.0, 115.0]
    assert data.by_time == pytest.approx(
        [volume(0), volume(0, 1), volume(0, 1), volume(4), volume(4)]
    )


def test_time_data(make_study):
    data = figures.time_data(make_study())
    assert data.stages == {"Starting Ray": 9.0, "Measuring the prior": 8.0}
    # Run 7: 4 + 2 and 4 seconds; run 9, of two workers: three times 4 / 2.
    assert data.rungs == {0: 14.0, 1: 2.0}
    assert data.rest == 150 - 17 - 16
    assert data.workers == 2
    assert (
        "divided by the number of workers" in figures.time(make_study()).layout.title.subtitle.text
    )


def test_prior_shows_each_field_at_its_layers(make_study):
    figure = figures.prior(make_study())

    traces = (*figure.data[:4], figure.data[-1])
    assert [list(trace.x) for trace in traces] == [[0, 2, 3]] * 5
    assert [list(trace.y) for trace in traces] == [
        [-10.0, -8.0, -7.0],
        [5.0, 3.0, 2.0],
        [-1.0, 3.0, 5.0],
        [0.0, 0.5, 0.75],
        [25.0, 25.0, 25.0],
    ]
    units = [axis.title.text for axis in figure.select_yaxes()]
    assert units == ["nats", "nats", "nats", "share (%)"]


def test_prior_shows_the_spectrum_of_every_step_by_block(make_study):
    traces = figures.prior(make_study()).data[4:-1]
    assert [trace.name for trace in traces] == ["1 removed", "2 removed"]
    assert [list(trace.x) for trace in traces] == [[0, 1, 2, 3]] * 2
    assert [list(trace.y) for trace in traces] == [[50, 25, 12.5, 0], [25, 25, 75, 100]]


def test_a_prior_of_a_model_that_is_not_run_block_by_block(make_study):
    unknown = dict.fromkeys(("entropy_attn", "entropy_mlp", "high_frequency"))
    layers = [row | unknown for row in make_study().prior["layers"]]
    path = [{"removed": [2], "high_frequency": []}]
    figure = figures.prior(make_study(prior={"images": 1, "layers": layers, "path": path}))
    assert [trace.type for trace in figure.data] == ["bar", "bar"]
    assert [axis.title.text for axis in figure.select_yaxes()] == ["nats"] * 2


def test_all_figures_leave_out_what_has_no_data(make_study):
    assert list(figures.all_figures(make_study())) == [
        "Pareto front",
        "Removed layers",
        "Prior of each layer",
        "Prior score and accuracy",
        "Hypervolume",
        "Time spent",
    ]
    assert figures.all_figures(make_study([], runs=[], prior=None)) == {}


def test_figures_carry_no_template(make_study):
    for figure in figures.all_figures(make_study()).values():
        assert len(figure.to_json()) < 10_000


def test_page_needs_no_network(make_study, tmp_path):
    path = tmp_path / "front.html"
    figures.save(figures.front(make_study()), path)
    text = path.read_text()
    assert len(text) > 1_000_000
    assert '<script src="http' not in text


@pytest.mark.full
@pytest.mark.usefixtures("chromium")
def test_image(make_study, tmp_path):
    pytest.importorskip("kaleido", reason="images need kaleido")
    path = tmp_path / "front.png"
    figures.save(figures.front(make_study()), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_unknown_suffix(make_study, tmp_path):
    with pytest.raises(
        InputError, match=r"^path .*front\.pdf: the name must end in \.html, \.png, \.svg"
    ):
        figures.save(figures.prior(make_study()), tmp_path / "front.pdf")


def test_missing_folder(make_study, tmp_path):
    with pytest.raises(InputError, match=r"missing/front\.html: there is no folder"):
        figures.save(figures.prior(make_study()), tmp_path / "missing" / "front.html")


def test_missing_kaleido(make_study, tmp_path, monkeypatch):
    # Plotly looks for Kaleido once, on import: what it raises is imitated.
    def write_image(*_, **__):
        raise ValueError("\nImage export requires the Kaleido package,\nwhich can be installed")

    monkeypatch.setattr(go.Figure, "write_image", write_image)
    message = (
        r"front\.png: no image can be made \(Image export .*\): pip install kaleido, and Chrome"
    )
    with pytest.raises(InputError, match=message):
        figures.save(figures.prior(make_study()), tmp_path / "front.png")
