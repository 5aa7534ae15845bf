"""Progress outside of terminals."""

from lambda_nas.api.progress.notebook import CellProgress
from lambda_nas.api.progress.quiet import Quiet
from lambda_nas.api.progress.shown import in_notebook, progress_shown
from lambda_nas.cost.measurement import Price
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import ParetoTrial, TrialCounts

PRICE = Price(100.0, 1.25, 320.0, 40_000_000, 5_000_000, 1_000_000_000)


def test_a_stage_is_drawn_at_most_every_quarter_second():
    drawn, times = [], iter([0.0, 0.1, 0.3, 0.3, 0.4])
    progress = CellProgress(
        4, lambda text, html: drawn.append((text, html)), clock=lambda: next(times)
    )
    with progress.stage("Reading <images>", 3) as advance:
        for _ in range(3):
            advance()
    assert [text for text, _ in drawn] == ["Reading <images> 0/3", "Reading <images> 2/3"]
    assert drawn[1][1] == (
        '<div><progress value="2" max="3"></progress> Reading &lt;images&gt; 2/3</div>'
    )


def test_trials_show_the_best_of_the_front():
    drawn = []
    counts = TrialCounts(complete=2, pruned=3, failed=0, stopped=1)
    point = ParetoTrial(1, Architecture.of([2, 3]), 0.5, 0, PRICE, None)
    CellProgress(8, lambda *shown: drawn.append(shown)).trials(counts, [point])
    CellProgress(None, lambda *shown: drawn.append(shown)).trials(counts, [])
    assert drawn[0][0] == "2 completed, 1 stopped early, 2 rejected, 0 failed 3/8"
    assert "<td>{2,3}</td><td>50.00%</td><td>1.25x</td>" in drawn[0][1]
    assert drawn[1][0] == "2 completed, 1 stopped early, 2 rejected, 0 failed"
    assert "<progress" not in drawn[1][1]


def test_quiet_tells_of_failed_trials_only(caplog):
    with progress_shown(budget_trials=3, visible=False) as progress:
        assert isinstance(progress, Quiet)
        with progress.stage("x", 1) as advance:
            advance()
        progress.trials(TrialCounts(1, 0, 0), [])
        progress.failed(Architecture.of([2]), "it died")
    assert caplog.messages == ["failed: {2}: it died"]
    assert not in_notebook()
