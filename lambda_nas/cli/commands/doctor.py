"""``lambda-nas doctor``."""

import typer

from lambda_nas.cli.options import (
    JsonOption,
    StorageOption,
    StudyArgument,
    WeightsOption,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="[bold]Example[/bold]\n\nlambda-nas doctor deit_tiny-images")(doctor)


def doctor(
    study: StudyArgument,
    storage: StorageOption = None,
    weights: WeightsOption = None,
    json: JsonOption = False,
) -> None:
    """Check that a study is consistent; exit with 1 if it isn't."""
    from lambda_nas.api.studies import check_study
    from lambda_nas.cli import output

    findings = check_study(study, storage=storage, weights=weights)
    if json:
        output.print_json(
            {
                "study": study,
                "problems": list(findings.problems),
                "notes": list(findings.notes),
                "in_flight": findings.in_flight,
                "trials": findings.trials,
            }
        )
    else:
        for problem in findings.problems:
            output.stdout.print(problem, soft_wrap=True)
        for note in findings.notes:
            output.note(note)
        verdict = f"{len(findings.problems)} problems" if findings.problems else "sound"
        flying = f", {findings.in_flight} in flight" if findings.in_flight else ""
        output.stdout.print(f"{study}: {findings.trials} evaluated trials{flying}: {verdict}")
    if findings.problems:
        raise typer.Exit(1)
