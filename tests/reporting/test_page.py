"""The report: what it says, that it is safe and whole, and that a browser shows it."""

import html
import json
import re
import shlex
from dataclasses import replace

import pytest
from browser import visit

from lambda_nas.errors import InputError
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import RungResult, TrialCounts, TrialRecord
from lambda_nas.reporting import figures
from lambda_nas.reporting.glossary import COLUMNS, FIGURES
from lambda_nas.reporting.page import render, write
from lambda_nas.reporting.summary import summarize
from lambda_nas.reporting.trial_table import trial_rows

DRAWN = """document.querySelectorAll('.figure').length > 0 &&
    [...document.querySelectorAll('.figure')].every((box) => box.querySelector('svg.main-svg'))"""


def trial(number, removed, top1, **more):
    rungs = (RungResult(0, top1, 1.0),)
    known = {"score": 0.5, "run": 7, "elapsed_s": 1.0}
    return TrialRecord(number, Architecture.of(removed), rungs, **known | more)


def words(page):
    """The text of a page without its scripts, figures and styles, in one line."""
    bare = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", page)
    return re.sub(r"\s+", " ", bare)


def test_summary_of_what_to_pick(make_study):
    trials = [trial(0, [0], 0.81), trial(1, [0, 2], 0.79), trial(2, [0, 2, 3], 0.78)]
    summary = summarize(make_study(trials))
    assert (summary.completed, summary.stopped, summary.seconds) == (3, 0, 150.0)
    assert summary.pick.pareto_trial.trial == 1
    assert summary.pick.change == pytest.approx(-1.0)
    assert [(pick.pareto_trial.trial, pick.reason) for pick in summary.others] == [
        (2, "the fastest that loses at most 2 points"),
        (0, "the most accurate"),
    ]


def test_where_two_points_buy_nothing_the_next_faster_is_shown(make_study):
    trials = [trial(0, [0], 0.81), trial(1, [0, 2], 0.7), trial(2, [0, 2, 3], 0.6)]
    summary = summarize(make_study(trials))
    assert summary.pick.pareto_trial.trial == 0
    assert [(pick.pareto_trial.trial, pick.reason) for pick in summary.others] == [
        (1, "the next faster")
    ]


def test_nothing_to_recommend(make_study):
    summary = summarize(make_study([trial(0, [0], 0.5)]))
    assert summary.pick is None
    assert "no trial of study loses at most 1 point; the nearest is trial 0" in summary.why_none
    assert [pick.reason for pick in summary.others] == ["the most accurate"]
    assert "has no finished trial yet" in summarize(make_study([])).why_none


def test_rows_begin_with_the_front(make_study):
    rows = trial_rows(make_study(), "sqlite:///x.db")
    assert [(row.pareto_trial.trial, row.state) for row in rows] == [
        *((4, "front"), (1, "completed"), (0, "completed"), (3, "completed"), (2, "stopped early"))
    ]
    assert [row.command for row in rows] == [
        "lambda-nas export study --trial 4 --out study-trial-4 --storage sqlite:///x.db",
        *[None] * 4,
    ]
    assert (rows[2].rungs, rows[2].seconds, rows[2].score) == (2, 6.0, 0.5)
    assert rows[2].change == pytest.approx(-30.0)


def test_the_page_says_what_was_searched_found_and_is_to_pick(make_study):
    text = words(render(make_study(), counts=TrialCounts(4, 12, 1, stopped=1)))
    for said in (
        "Search for removable attention layers of vit , with accuracy measured on images and",
        "Unpruned: top-1 80.00%, 100.0 images/s, 40.0 MB, 5.00 M parameters.",
        "5 architectures evaluated, 1 of them stopped early; 11 more rejected by the gate, "
        "because the prior predicts that others beat them; 1 trial failed; 2 runs, 2 min 30 s.",
        "Recommended: trial 4 removes attention from 2 of 3 layers {0,3} : top-1 79.00% (-1.00),",
        "lambda-nas export study --trial 4 --out study-trial-4",
        "rank correlation -1.00 over 4 completed trials",
        "2026-11-25 03:10",
        "torch 2.15",
    ):
        assert said in text


def test_each_figure_and_column_is_explained(make_study):
    study = make_study()
    assert list(FIGURES) == list(figures.all_figures(study))
    page = render(study)
    text = html.unescape(words(page))
    for explanation in (*FIGURES.values(), *COLUMNS.values()):
        assert explanation in text
    assert page.count('<th scope="col" aria-sort="none"') == 1 + len(COLUMNS)


def test_names_of_the_user_are_text(make_study):
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    page = render(make_study(name=nasty, model=nasty, data=nasty, device=nasty))
    assert "alert(1)</script>" not in page
    assert "<img" not in re.sub(r"(?s)<script>/\*\*.*?</script>", "", page)
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page


def test_no_password_is_told(make_study):
    page = render(make_study(), storage="postgresql://me:secret@host/x")
    assert "secret" not in page
    assert "commands on this page, set LAMBDA_NAS_STORAGE to the URL of the database" in words(page)
    assert "lambda-nas export study --trial 4 --out study-trial-4 copy" in words(page)


def test_plotly_is_there_once_and_nothing_is_fetched(make_study):
    page = render(make_study())
    assert page.count("* plotly.js v") == 1
    assert not re.search(r"<(script|link|img|iframe)[^>]* (src|href)=", page)


@pytest.mark.parametrize("scored", [True, False])
def test_a_study_that_has_only_begun(make_study, scored):
    study = make_study([], runs=[], **({} if scored else {"prior": None}))
    text = words(render(study))
    assert "no trial has completed yet." in text
    assert "No recommendation: study study has no finished trial yet: search first." in text
    assert ("The prior of this study has not been measured." in text) is not scored
    assert "The runs of this study were not recorded." in text


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("before")
    write("after", path)
    assert path.read_text() == "after"
    with pytest.raises(InputError, match=r"^out .*missing/report\.html: there is no folder"):
        write("page", tmp_path / "missing" / "report.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match=r"folder\.html: this is a folder"):
        write("page", tmp_path / "folder.html")
    with pytest.raises(InputError, match=r"report\.pdf: the name must end in \.html"):
        write("page", tmp_path / "report.pdf")
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        write("\ud800", path)
    assert path.read_text() == "after"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.html", "report.html"]


@pytest.fixture
def page(make_study, tmp_path):
    path = tmp_path / "report.html"
    write(render(make_study(name="<b>study</b>")), path)
    return path.as_uri()


NASTY = (
    "a [/home] <img src=x onerror='window.ran=1'> <a href='javascript:ran=1'>b</a> $(id) $x$ "
    "\"q' `b` | *s* {{ 7*7 }} &lt; </script><script>window.ran=1</script>\\"
)
CONTROL = "\x1b]0;owned\x07\u202e\0"

SEEN = """({
    ran: window.ran ?? null,
    others: document.querySelectorAll('img, svg a, script[src], main a').length,
    text: document.body.innerText,
    bars: [...document.querySelectorAll('.ytick')].map((tick) => tick.textContent),
    copied: document.querySelector('.copy')?.dataset.text,
    title: document.querySelector('.gtitle')?.textContent,
})"""


def test_strange_names_are_shown_and_run_nothing(chromium, make_study, tmp_path):
    study = make_study(name=NASTY + CONTROL, model=NASTY, data=NASTY, device=NASTY + CONTROL)
    info = replace(study.runs[0].info, command=NASTY, device=NASTY, versions={NASTY: NASTY})
    runs = (replace(study.runs[0], info=info, spent={NASTY: 5.0}), *study.runs[1:])
    study = replace(study, runs=runs)
    write(render(study, storage=f"sqlite:///{NASTY}"), tmp_path / "report.html")

    shown = NASTY + r"\x1b]0;owned\x07\u202e\x00"
    page = visit(chromium, (tmp_path / "report.html").as_uri(), SEEN, ready=DRAWN)
    assert page.problems == []
    (look,) = page.values
    assert (look["ran"], look["others"]) == (None, 0)
    assert shown in look["text"].splitlines()[0]
    assert look["text"].count(NASTY) >= 6
    assert NASTY in look["bars"]
    assert shlex.split(look["copied"])[:3] == ["lambda-nas", "export", shown]


@pytest.mark.full
def test_strange_names_in_the_file_of_a_figure(chromium, make_study, tmp_path):
    study = make_study(name=NASTY, model=NASTY, data=NASTY, device=NASTY)
    figures.save(figures.front(study), tmp_path / "front.html")
    drawn = "document.querySelector('svg.main-svg .gtitle')"
    figure = visit(chromium, (tmp_path / "front.html").as_uri(), SEEN, ready=drawn)
    (look,) = figure.values
    assert (look["ran"], look["others"]) == (None, 0)
    assert look["title"].startswith(f"Front of {NASTY}")


LOOK = """({
    width: document.documentElement.scrollWidth,
    figures: document.querySelectorAll('.figure svg.main-svg').length > 0,
    heads: [...document.querySelectorAll('h2')].map((head) => head.textContent),
    text: document.querySelector('.figure text.xtitle').style.fill,
    page: getComputedStyle(document.body).backgroundColor,
    labels: document.querySelectorAll('.figure g.textpoint text').length,
    more: document.querySelector('#trials .more').textContent,
})"""


@pytest.mark.parametrize(
    ("size", "dark"), [((1024, 800), False), ((1024, 800), True), ((360, 740), False)]
)
@pytest.mark.full
def test_in_a_browser(chromium, page, size, dark):
    width, height = size
    phone = width < 600
    found = visit(
        chromium, page, LOOK, ready=DRAWN, width=width, height=height, dark=dark, touch=phone
    )
    assert found.problems == []
    (look,) = found.values
    assert look["width"] <= width
    assert look["heads"] == [
        "Summary",
        "Pareto front",
        "Removed layers",
        "Prior of each layer",
        "Prior score and accuracy",
        "Hypervolume",
        "Time spent",
        "All evaluated trials",
        "Model, data and runs",
    ]
    colors = ("rgb(228, 232, 236)", "rgb(20, 24, 28)")
    if not dark:
        colors = ("rgb(29, 35, 41)", "rgb(255, 255, 255)")
    assert (look["text"], look["page"]) == colors
    assert look["labels"] == (0 if phone else 1)
    assert look["more"] == "Scroll for more columns →"


ROWS = """[...document.querySelectorAll('.sortable tbody tr')].filter((row) => !row.hidden)
    .map((row) => Number(row.cells[0].textContent))"""
CLICK = "document.querySelectorAll('.sortable th button')[{}].click()"
FILTER = """(() => {{
    const form = document.querySelector('.filter');
    form.reset();
    Object.entries({}).forEach(([name, value]) => {{ form[name].value = value; }});
    form.dispatchEvent(new Event('input'));
}})()"""


@pytest.mark.full
def test_the_table_sorts_and_filters(chromium, page):
    def after(*actions):
        return [step for action in actions for step in (action, ROWS)]

    found = visit(
        chromium,
        page,
        ROWS,
        *after(CLICK.format(0), CLICK.format(0), CLICK.format(11)),
        *after(
            FILTER.format(json.dumps({"state": "front"})),
            FILTER.format(json.dumps({"layers": "0, 2"})),
            FILTER.format(json.dumps({"top1": "50", "speedup": "1.15"})),
        ),
        ready=DRAWN,
    )
    assert found.problems == []
    assert found.values[0] == [4, 1, 0, 3, 2]
    descending, ascending, by_score, front, layers, good = found.values[2::2]
    assert descending == [4, 3, 2, 1, 0]
    assert ascending == [0, 1, 2, 3, 4]
    assert by_score == [2, 3, 0, 1, 4]
    assert front == [4]
    assert layers == [2, 0]
    assert good == [0, 4]
