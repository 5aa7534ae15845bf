"""Searches a model (``lambda-nas search``)."""

from inspect import signature
from pathlib import Path

from torch import nn

from lambda_nas.api import session
from lambda_nas.api.inputs.class_question import question_baseline
from lambda_nas.api.inputs.config import DEFAULT_BUDGET, SearchOptions, configure
from lambda_nas.api.inputs.preparation import quiet_dependencies
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.api.study import Study, read_study
from lambda_nas.store.urls import has_secret
from lambda_nas.strategy.space_files import SpaceConfig


def search(
    model: nn.Module | str | None = None,
    data: str | Path | None = None,
    *,
    budget: int | str = DEFAULT_BUDGET,
    space: str | Path | SpaceConfig | None = None,
    study: str | None = None,
    storage: str | None = None,
    weights: str | Path | None = None,
    checkpoint: str | Path | None = None,
    pretrained: bool | None = None,
    img_size: int | None = None,
    class_map: str | Path | None = None,
    trust_classes: bool = False,
    workers: int = 1,
    gpus_per_trial: float | None = None,
    ray_address: str | None = None,
    trial_timeout: str | float | None = None,
    max_params: int | None = None,
    max_memory: int | str | None = None,
    min_throughput: float | None = None,
    min_speedup: float | None = None,
    seed: int = 0,
    progress: bool = True,
    command: str | None = None,
) -> Study:
    """Search for attention layers that a vision transformer can live without.

    Without model and data it searches the handwritten digits, with nothing to download. Run the
    same search again to resume it, or with a larger budget to continue it.

    Args:
        model: A network that timm built, with its weights, on any device; it is copied, never
            changed. Or a name: ``local-dir:DIR``, ``hf-hub:ID``, or timm's own.
        data: An image folder, one folder per class; with ``train/`` and ``val/`` below it, trials
            are trained as well.
        budget: Evaluated trials in the whole study (``40``), or wall time (``"90s"``, ``"30m"``,
            ``"2h"``).
        space: Which layers may be removed: the name of a space that ships with the package, a
            YAML file, or the space itself.
        study: Name of the study; by default that of model and data.
        storage: SQLAlchemy URL of the study database; by default that of ``LAMBDA_NAS_STORAGE``, or
            else ``sqlite:///studies/lambda_nas.db`` below the working directory.
        weights: The folder to keep the weights of studies in; by default one beside the database
            file, or below the working directory if the database is on a server.
        checkpoint: A file of weights to load into the model of that name.
        pretrained: Load timm's weights for one of its names; by default unless ``checkpoint`` is
            given.
        img_size: Side of the square images that the model is used on, if it isn't the one that it
            was built for; timm resamples its positions.
        class_map: A text file of class names in the order of the head.
        trust_classes: Accept the order of classes even if the model is no better than chance.
        workers: Trials that run at the same time; they share the cores.
        gpus_per_trial: GPUs per trial; by default the workers share one GPU, if there is one.
        ray_address: A Ray cluster to join, ``HOST:PORT`` or ``auto``.
        trial_timeout: How long a trial may take, ``"10m"`` or seconds, before it counts as hung; by
            default twenty times as long as the slowest did or is foreseen, and at least 2 minutes.
        max_params: Maximum number of parameters.
        max_memory: Maximum memory at the peak of a forward pass: bytes, or a size such as
            ``"300MB"``.
        min_throughput: Minimum throughput in images per second.
        min_speedup: Minimum speed-up over the unpruned model.
        seed: Random seed for the data split and the sampler.
        progress: Whether to show progress: in a notebook's cell, on the terminal, or in lines.
        command: What to write in the study's report on how to resume it; by default this call.

    Returns:
        The study, with all that earlier searches found.

    Raises:
        InputError: If something given can't be used, or the unpruned model is no better than
            chance.
        UnsupportedModelError: If the model has no attention layer that can be removed.
        StudyMismatchError: If the study exists with another model, other data or another device.
        InfeasibleError: If no architecture satisfies the constraints.
        StorageError: If the database can't be used.
        ClusterError: If there is a cluster to join and it can't be joined.
        TrialsFailedError: If trial after trial fails.
        ProblemsError: If several things are wrong before any work; it holds the error of each.
    """
    options: SearchOptions = {
        "budget": budget,
        "space": space,
        "study": study,
        "storage": storage,
        "weights": weights,
        "checkpoint": checkpoint,
        "pretrained": pretrained,
        "img_size": img_size,
        "class_map": class_map,
        "trust_classes": trust_classes,
        "workers": workers,
        "gpus_per_trial": gpus_per_trial,
        "ray_address": ray_address,
        "trial_timeout": trial_timeout,
        "max_params": max_params,
        "max_memory": max_memory,
        "min_throughput": min_throughput,
        "min_speedup": min_speedup,
        "seed": seed,
    }
    config = configure(model, data, options)
    with (
        quiet_dependencies(),
        progress_shown(visible=progress) as shown,
        session.open_session(config, shown) as opened,
    ):
        source = opened.source
        shown.notes(source.notes)
        if not opened.store.has(opened.name):
            asked = question_baseline(
                source.model.model,
                source.data,
                source.data_name,
                shown,
                device=session.device_of(opened.settings),
                trust=config.trust_classes,
            )
            shown.notes(asked)
        try:
            result = session.search(
                opened,
                progress=shown,
                command=command or _call(opened.name, model, data, options),
            )
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"study {opened.name} is safe: run the same search again to resume")
            raise
        return read_study(opened.store, opened.name, weights=opened.weights, ended=result.ended)


def _call(study: str, model: object, data: object, options: SearchOptions) -> str:
    """Write how the study is resumed, for its note and its report."""
    given = {"model": model, "data": data, **options, "study": study}
    storage = options["storage"]
    if storage is not None and has_secret(storage):
        # Whoever resumes the study gives the URL in the environment.
        del given["storage"]
    defaults = {name: parameter.default for name, parameter in signature(search).parameters.items()}
    arguments = ", ".join(
        f"{name}={_written(name, value)}"
        for name, value in given.items()
        if name == "budget" or value != defaults[name]
    )
    return f"lambda_nas.search({arguments})"


def _written(parameter: str, value: object) -> str:
    """Write a value; an object, such as a network, goes by the parameter's name."""
    if isinstance(value, Path):
        return repr(str(value))
    return repr(value) if isinstance(value, str | int | float) else parameter
