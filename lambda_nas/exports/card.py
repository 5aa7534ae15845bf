"""The model card of an export, in the format of the Hugging Face Hub."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined
from timm.data import resolve_input_data_config
from timm.models import get_pretrained_cfg, parse_model_name
from torch import nn

from lambda_nas.cost.measurement import Price
from lambda_nas.models.removal import RemovalSet
from lambda_nas.pretrained.loading import ModelConfig
from lambda_nas.reporting.formatting import megabytes, percent, short_name
from lambda_nas.reporting.markdown import code, escaped
from lambda_nas.training.evaluation import Change

TASK = "image-classification"
TAGS = (TASK, "vision-transformer", "pruned", "lambda-nas")

LIBRARIES = {"timm": "timm", "onnx": "onnx", "pt2": "pytorch"}
"""The Hub's library name for each format."""

DATASETS = {"in1k": "imagenet-1k", "in12k": "imagenet-12k", "in21k": "imagenet-21k"}
"""The Hub's dataset name for each abbreviation in timm's tags."""


@dataclass(frozen=True)
class Timing:
    """The measured price of a network and of the unpruned model, in PyTorch.

    Attributes:
        price: Of the network.
        baseline: Of the unpruned model.
        device: On which they were measured.
        batch_size: Images per forward pass.
    """

    price: Price
    baseline: Price
    device: str
    batch_size: int


@dataclass(frozen=True)
class Results:
    """The measured results of an exported network.

    Attributes:
        study: Name of the study, if there is one.
        trial: Number of the trial in it; ``None`` if a person named the layers.
        model: The unpruned model, as the user named it.
        data: Description of the images that accuracy was measured on.
        weights: Description of how the weights were obtained.
        accuracy: Top-1, a fraction.
        baseline_accuracy: Top-1 of the unpruned model on the same images, if known.
        change: The difference of the two, if both were measured image by image.
        timing: What the network costs, if that was measured.
    """

    study: str | None
    trial: int | None
    model: str
    data: str
    weights: str
    accuracy: float
    baseline_accuracy: float | None
    timing: Timing | None
    change: Change | None = None


def render_card(
    model: nn.Module,
    config: ModelConfig,
    removal: RemovalSet,
    *,
    format: str,
    plain: bool,
    results: Results | None,
) -> str:
    """Return the card: a description, the results, and how to load and evaluate the network.

    Args:
        model: The exported network.
        config: How the network was built before the search, and how it merges tokens now.
        removal: Layers removed from it since.
        format: The format of the export.
        plain: Whether the removed branches are kept and set to zero.
        results: The measured results, if there are any.
    """
    removed = ", ".join(map(str, RemovalSet.of([*config.removed, *removal])))
    base = base_model(config, results.model if results else "")
    environment = Environment(
        loader=PackageLoader("lambda_nas.exports"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("card.md").render(
        metadata=_metadata(config, base, format),
        architecture=config.architecture,
        base=_base(config, base, results),
        removed=removed,
        merging=config.merging,
        facts=_facts(results) if results else [],
        rows=_rows(results, plain=plain) if results else [],
        data=resolve_input_data_config(model),
        format=format,
        plain=plain,
        timing=results.timing if results else None,
        device=escaped(results.timing.device) if results and results.timing else "",
    )


def base_model(config: ModelConfig, name: str) -> str | None:
    """Return the unpruned model's name on the Hub, if it came from there.

    Args:
        config: The config, which holds timm's tag of the weights.
        name: The model as the user named it.
    """
    source, rest = parse_model_name(name) if name else ("", "")
    if source == "hf-hub":
        return str(rest).partition("@")[0]
    tag = config.pretrained_cfg.get("tag")
    try:
        known = get_pretrained_cfg(f"{config.architecture}.{tag}") if tag else None
    except RuntimeError:
        # The user's own tag.
        return None
    return known.hf_hub_id if known else None


def _metadata(config: ModelConfig, base: str | None, format: str) -> str:
    parts = str(config.pretrained_cfg.get("tag") or "").split("_")
    datasets = [name for part, name in DATASETS.items() if part in parts]
    return ModelCardData(
        library_name=LIBRARIES[format],
        pipeline_tag=TASK,
        tags=[*TAGS, LIBRARIES[format]],
        base_model=base,
        license=config.pretrained_cfg.get("license"),
        datasets=datasets or None,
    ).to_yaml()


def _base(config: ModelConfig, base: str | None, results: Results | None) -> str:
    url = f"https://huggingface.co/{quote(base or '')}"
    name = f"[{escaped(base)}]({url})" if base else code(config.architecture)
    # The path on the user's machine is of no use to others.
    return f"{name}, given as {code(short_name(results.model))}" if results else name


def _facts(results: Results) -> list[tuple[str, str]]:
    found = ("Chosen", "by hand, not by a search")
    if results.study is not None and results.trial is not None:
        found = ("Found in", f"study {code(results.study)}, trial {results.trial}")
    return [
        ("Weights", escaped(results.weights)),
        ("Accuracy measured on", escaped(results.data)),
        found,
    ]


def _rows(results: Results, *, plain: bool) -> list[tuple[str, str, str]]:
    unpruned = results.baseline_accuracy
    change = "" if results.change is None else f" ({results.change})"
    before = "not measured" if unpruned is None else percent(unpruned)
    rows = [("top-1", before, f"{percent(results.accuracy)}{change}")]
    timing = results.timing
    if plain or timing is None:
        return rows
    columns: dict[str, Callable[[Price], str]] = {
        "speed-up": lambda price: f"{price.speedup:.2f}x",
        "throughput": lambda price: f"{price.throughput:.1f} images/s",
        "memory": lambda price: megabytes(price.memory_bytes),
        "parameters": lambda price: f"{price.params / 1e6:.2f} M",
        "MACs per image": lambda price: f"{price.macs / 1e9:.3g} G",
    }
    return rows + [
        (name, write(timing.baseline), write(timing.price)) for name, write in columns.items()
    ]
