"""Shows a plan as a table and as JSON."""

from rich.table import Table

from lambda_nas.api.plan import Plan
from lambda_nas.reporting.formatting import duration


def plan_table(plan: Plan) -> Table:
    """Return a plan as a table of two columns."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for row in _rows(plan):
        table.add_row(*row)
    return table


def _rows(plan: Plan) -> list[tuple[str, str]]:
    images, settings, cost = plan.images, plan.settings, plan.estimate
    height, width = plan.image_size
    resumes = f", resumed: {plan.evaluated} trials are evaluated" if plan.evaluated else ""
    training = f", {images.training} for training" if images.training else "; training is off"
    merging = f", {len(settings.mergings)} ways to merge tokens" if settings.mergings else ""
    rungs = f"evaluated up to {plan.rungs} times" if plan.rungs > 1 else "evaluated once"
    trials = "as many as there is time for" if plan.trials is None else str(plan.trials)
    return [
        ("study", f"{plan.study}{resumes}"),
        ("database", plan.storage),
        ("model", f"{plan.model}, images at {height} x {width}"),
        (
            "images",
            f"{images.calibration} for calibration, {images.evaluation} to compare trials on"
            f"{training}: {plan.data}",
        ),
        (
            "search space",
            f"{plan.architectures:,} architectures: up to {settings.max_removed} of "
            f"{len(settings.layers)} attention layers removed{merging}",
        ),
        ("trials", f"{trials}, {settings.workers} at a time, each {rungs}"),
        ("time", _time(plan)),
        (
            "memory",
            f"about {cost.memory_bytes / 1e9:.1f} GB; {plan.memory_free_bytes / 1e9:.1f} GB are "
            "free",
        ),
        ("disk", f"up to {cost.disk_bytes / 1e6:,.0f} MB of weights below {plan.weights}"),
    ]


def _time(plan: Plan) -> str:
    if plan.trials == 0:
        return f"about {duration(plan.seconds)}: no trial of the budget is left"
    cost = plan.estimate
    return (
        f"about {duration(cost.first_trial_s)} to the first trial, then "
        f"{duration(cost.trial_s)} a trial; {duration(plan.seconds)} in all"
    )


def plan_json(plan: Plan) -> dict[str, object]:
    """Return a plan as JSON."""
    images, settings, cost = plan.images, plan.settings, plan.estimate
    return {
        "study": plan.study,
        "evaluated": plan.evaluated,
        "storage": plan.storage,
        "weights": str(plan.weights),
        "model": plan.model,
        "image_size": list(plan.image_size),
        "data": plan.data,
        "images": {
            "calibration": images.calibration,
            "evaluation": images.evaluation,
            "training": images.training,
        },
        "layers": list(settings.layers),
        "max_removed": settings.max_removed,
        "architectures": plan.architectures,
        "rungs": plan.rungs,
        "workers": settings.workers,
        "trials": plan.trials,
        "first_trial_s": cost.first_trial_s,
        "trial_s": cost.trial_s,
        "total_s": plan.seconds,
        "memory_bytes": cost.memory_bytes,
        "memory_free_bytes": plan.memory_free_bytes,
        "disk_bytes": cost.disk_bytes,
    }
