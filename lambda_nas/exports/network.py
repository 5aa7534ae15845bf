"""Writes a pruned network and its model card in one of the export formats."""

from pathlib import Path
from typing import Literal

from timm.models import save_for_hf
from torch import nn

from lambda_nas.errors import InputError
from lambda_nas.execution.places import check_writable
from lambda_nas.exports.card import Results, render_card
from lambda_nas.exports.folders import new_folder
from lambda_nas.exports.onnx import check_installed, write_onnx
from lambda_nas.exports.pt2 import write_pt2
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import NOTHING, RemovalSet
from lambda_nas.pretrained.loading import ModelConfig
from lambda_nas.pretrained.rebuild import build, with_merging
from lambda_nas.token_merging.blocks import MergingBlock

Format = Literal["timm", "onnx", "pt2"]


def export_network(
    model: nn.Module,
    config: ModelConfig,
    *,
    removal: RemovalSet,
    out: Path,
    doubled: RemovalSet = NOTHING,
    merging: Merging | None = None,
    format: Format = "timm",
    plain: bool = False,
    results: Results | None = None,
) -> Path:
    """Write the network and its model card ``README.md``, either completely or not at all.

    Args:
        model: The pruned (and folded) network.
        config: How the network was built before the search; layers already removed are kept out.
        removal: Layers removed from it since.
        out: The folder to write, which must be absent or empty.
        doubled: Layers of ``removal`` whose doubled residual was folded.
        merging: How the export merges tokens; by default as in ``config``.
        format: ``timm`` writes ``config.json`` and ``model.safetensors``, ``onnx`` writes
            ``model.onnx``, and ``pt2`` writes ``model.pt2`` for ``torch.export.load``.
        plain: Write the unpruned architecture with zeros in the removed branches: timm loads it
            without this package, with the same outputs but no speed-up. A folded network's
            outputs are the same up to the norms' ``eps``, which plain timm does not record.
        results: The measured results, for the card.

    Returns:
        ``out``.

    Raises:
        InputError: If the format can't be had, ``out`` can't be written or holds something, or
            ``model`` merges tokens and neither ``merging`` nor ``config`` says how.
        UnsupportedModelError: If the network can't merge tokens.
        ExportError: If the network can't be translated or the file gives other outputs.
    """
    check_request(out, format=format, plain=plain)
    config = with_merging(config, merging)
    _check_known(model, config)
    rebuilt = build(config, removal=removal, doubled=doubled, state=model.state_dict(), plain=plain)
    card = render_card(rebuilt, config, removal, format=format, plain=plain, results=results)
    try:
        with new_folder(out) as folder:
            (folder / "README.md").write_text(card, encoding="utf-8")
            if format == "timm":
                save_for_hf(rebuilt, str(folder), safe_serialization=True)
            elif format == "onnx":
                write_onnx(rebuilt, folder / "model.onnx")
            else:
                write_pt2(rebuilt, folder / "model.pt2")
    except OSError as error:
        raise InputError(f"can't be written ({error})", parameter="out", value=out) from error
    return out


def check_request(out: Path, *, format: Format, plain: bool) -> None:
    """Raise ``InputError`` if the export is bound to fail, before any work is done."""
    if plain and format != "timm":
        raise InputError(
            "for `format=timm` only",
            parameter="plain",
            advice=f"leave it out, {format} needs nothing of ours anyway",
        )
    if format == "onnx":
        check_installed()
    check_free(out)


def check_free(out: Path) -> None:
    """Raise ``InputError`` unless ``out`` is absent or an empty folder, and can be written."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            "exists and is not empty", parameter="out", value=out, advice="choose another"
        )
    # A folder appears complete under another name first.
    check_writable(out.absolute().parent, parameter="out")


def _check_known(model: nn.Module, config: ModelConfig) -> None:
    # The weights don't show it, so the export would silently compute something else.
    merges = any(isinstance(module, MergingBlock) for module in model.modules())
    if merges and config.merging is None:
        raise InputError("the network merges tokens: say how, with the merging it was made with")
