"""Classes of timm by name, and a timm that lacks some of them."""

import sys

import pytest
from timm.models import vision_transformer

from lambda_nas.models import branches
from lambda_nas.models.blockwise import is_blockwise
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.models.timm_names import timm_class, timm_classes


@pytest.fixture
def forget():
    """Forget what has been looked up, before a test that changes what there is and after it."""
    remembering = (timm_class, timm_classes, branches._unremovable, branches._post_norms)

    def clear():
        for each in remembering:
            each.cache_clear()

    clear()
    yield
    clear()


def test_class_is_looked_up_by_module_and_name():
    assert timm_class("models.vision_transformer", "Block") is vision_transformer.Block


@pytest.mark.parametrize("name", [("models.vision_transformer", "Missing"), ("missing", "Block")])
def test_class_that_timm_lacks_is_none(name):
    assert timm_class(*name) is None
    assert timm_classes(name, ("models.vision_transformer", "Block")) == (vision_transformer.Block,)


def test_module_that_does_not_import_for_another_reason_is_an_error(monkeypatch, tmp_path, forget):
    (tmp_path / "broken_names.py").write_text("import a_package_that_is_missing\n")
    monkeypatch.setattr("timm.models.__path__", [str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_missing"):
        timm_class("models.broken_names", "Block")


def test_surgery_works_with_a_timm_that_lacks_families(monkeypatch, make_vit, forget):
    for module in ("mvitv2", "cait", "swin_transformer", "gemma4_vit", "deepseek_vit", "eva"):
        # An entry of None makes Python say that there is no such module.
        monkeypatch.setitem(sys.modules, f"timm.models.{module}", None)
    model = make_vit()
    assert is_blockwise(model)
    pruned = remove_attention(model, RemovalSet.of([1, 2])).model
    assert [branch.removed for branch in branches.find_branches(pruned)] == [
        False,
        True,
        True,
        False,
    ]
