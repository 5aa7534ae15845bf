"""The card is what the hub expects, tells what is known, and its code runs."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
from huggingface_hub import ModelCard, metadata_load
from markdown_it import MarkdownIt

from lambda_nas.exports.card import base_model, render_card
from lambda_nas.exports.network import export_network
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.pretrained.loading import ModelConfig, load_model

DEIT = "timm/deit_tiny_patch16_224.fb_in1k"


def card(pair, results=None, *, format="timm", plain=False, config=None):
    config = config or pair.config
    return render_card(
        pair.model, config, pair.removal, format=format, plain=plain, results=results
    )


@pytest.mark.parametrize(
    ("format", "library"), [("timm", "timm"), ("onnx", "onnx"), ("pt2", "pytorch")]
)
def test_the_hub_reads_its_metadata(pair, results, tmp_path, format, library):
    (tmp_path / "README.md").write_text(card(pair, results, format=format))
    assert metadata_load(tmp_path / "README.md") == {
        "base_model": DEIT,
        "datasets": ["imagenet-1k"],
        "library_name": library,
        "license": "apache-2.0",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "vision-transformer", "pruned", "lambda-nas", library],
    }
    loaded = ModelCard.load(tmp_path / "README.md")
    assert loaded.data.base_model == DEIT
    assert loaded.text.startswith("# deit_tiny_patch16_224 without attention in blocks 0, 2\n\nAn")


def test_what_was_measured(pair, results):
    text = card(pair, results)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows == [
        "| | unpruned | this model |",
        "|---|---|---|",
        "| top-1 | 77.20% | 78.40% (+1.20 ± 0.40) |",
        "| speed-up | 1.00x | 1.03x |",
        "| throughput | 50.0 images/s | 51.5 images/s |",
        "| memory | 100.2 MB | 99.6 MB |",
        "| parameters | 5.72 M | 5.57 M |",
        "| MACs per image | 1.26 G | 1.08 G |",
    ]
    assert "batch size 32 on a processor" in text
    assert "- **Found in:** study `deit-images`, trial 3\n" in text
    assert "- **Weights:** repaired in closed form\n" in text
    assert "- **Accuracy measured on:** images (20 calibration, 30 evaluation)\n" in text
    # Where the user keeps the original is left out.
    assert "given as `deit_tiny`" in text
    assert "/home/me" not in text


def test_what_was_not_measured(pair, results):
    unknown = card(pair, replace(results, baseline_accuracy=None, change=None))
    assert "| top-1 | not measured | 78.40% |" in unknown
    # Without an error, the change says nothing.
    assert "| top-1 | 77.20% | 78.40% |" in card(pair, replace(results, change=None))
    by_hand = card(pair, replace(results, study=None, trial=None, timing=None))
    assert "- **Chosen:** by hand, not by a search\n" in by_hand
    assert "| top-1 | 77.20% | 78.40% (+1.20 ± 0.40) |\n\n\n## Use" in by_hand
    nothing = card(pair)
    assert "## Results" not in nothing
    assert "## Use" in nothing


def test_a_plain_folder_claims_no_speed(pair, results):
    text = card(pair, results, plain=True)
    assert "| top-1 | 77.20% | 78.40% (+1.20 ± 0.40) |" in text
    assert "speed-up" not in text
    assert "import lambda_nas" not in text
    assert "neither faster nor smaller than the unpruned one" in text
    assert "1.03x" not in text


def test_nothing_removed(make_pair):
    text = card(make_pair(removal=[]))
    assert "\n# deit_tiny_patch16_224\n\nAn image classifier" in text
    assert "- **Blocks without attention (from 0):** none\n" in text


def test_layers_that_were_gone_before_are_named_too(make_pair):
    pair = make_pair(removal=[3])
    text = card(pair, config=replace(pair.config, removed=RemovalSet.of([1])))
    assert "- **Blocks without attention (from 0):** 1, 3\n" in text


def test_which_tokens_are_merged(pair):
    merged = card(pair, config=replace(pair.config, merging=Merging(8, start=1)))
    assert (
        "- **Blocks without attention (from 0):** 0, 2\n"
        "- **Token merging:** from block 1 on, each block with attention merges up to\n"
        "  8 pairs of tokens ([ToMe](https://arxiv.org/abs/2210.09461))\n"
    ) in merged
    assert "Token merging" not in card(pair)
    assert card(pair, config=replace(pair.config, merging=Merging(0))) == card(pair)


def test_where_the_base_model_comes_from(pair, tmp_path):
    assert base_model(pair.config, "deit_tiny_patch16_224") == DEIT
    assert base_model(pair.config, "hf-hub:someone/flowers@main") == "someone/flowers"
    own = replace(pair.config, pretrained_cfg={"tag": "my_own"})
    assert base_model(own, "local-dir:mine") is None
    assert base_model(ModelConfig("digits_vit"), "digits_vit") is None


def test_a_checkpoint_is_not_taken_for_timms_weights(tmp_path):
    model = timm.create_model("test_vit.r160_in1k")
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    config = load_model("test_vit.r160_in1k", checkpoint=tmp_path / "weights.pth").config
    known, unknown = (
        render_card(model, each, RemovalSet(), format="timm", plain=False, results=None)
        for each in (ModelConfig.of(model), config)
    )
    for key in ("base_model", "license", "datasets"):
        assert f"\n{key}:" in known
        assert f"\n{key}:" not in unknown


@pytest.mark.parametrize(
    ("format", "plain", "channels"),
    [
        ("timm", False, 3),
        ("timm", True, 3),
        ("onnx", False, 3),
        ("pt2", False, 1),
    ],
)
@pytest.mark.full
def test_its_code_loads_and_evaluates(make_pair, images, top1, tmp_path, format, plain, channels):
    pair = make_pair(in_chans=channels)
    folder = export_network(
        pair.model,
        pair.config,
        removal=pair.removal,
        out=tmp_path / "out",
        format=format,
        plain=plain,
    )
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    code = "\n".join(blocks).replace("IMAGES", str(images))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = float(done.stdout.removeprefix("top-1: "))
    assert found == pytest.approx(top1(pair.model), abs=1e-4)


NASTY = "a [/home](http://x) <img src=x> $(id) \"q' `b` | *s* _e_ \\\x1b]0;x\x07\n---\n# h"


def test_names_in_a_card_are_neither_markdown_nor_html_nor_yaml(pair, results, tmp_path):
    named = {
        "study": NASTY,
        "model": f"local-dir:/home/{NASTY}",
        "data": NASTY,
        "timing": replace(results.timing, device=NASTY),
        "weights": NASTY,
    }
    config = replace(pair.config, pretrained_cfg={"license": NASTY})
    text = card(pair, replace(results, **named), config=config)
    assert "\x1b" not in text
    (tmp_path / "README.md").write_text(text)
    assert metadata_load(tmp_path / "README.md")["license"] == NASTY
    body = ModelCard.load(tmp_path / "README.md").text
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    inline = [token for block in tokens for token in block.children or ()]
    assert not {token.type for token in (*tokens, *inline)} & {"html_block", "html_inline", "image"}
    links = {token.attrs["href"] for token in inline if token.type == "link_open"}
    assert all("http://x" not in link for link in links)
    shown = ["".join(part.content for part in block.children or ()) for block in tokens]
    name = NASTY.replace("\x1b", r"\x1b").replace("\x07", r"\x07").replace("\n", " ")
    assert sum(name in line for line in shown) >= 3
