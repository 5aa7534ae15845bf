"""Importing the package is quick, and timm knows our architectures whichever is imported first."""

import subprocess
import sys

import pytest

import lambda_nas

HEAVY = {
    *("torch", "timm", "ray", "optuna", "sqlalchemy", "alembic", "plotly", "numpy", "pandas"),
    *("scipy", "sklearn"),
}


def run(code):
    """Run Python in a process of its own; return what it printed, a line each."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def loaded_after(code):
    *_, names = run(f"import sys\n{code}\nprint(*(name.partition('.')[0] for name in sys.modules))")
    return HEAVY & set(names.split())


def test_the_import_loads_nothing_heavy():
    assert loaded_after("import lambda_nas") == set()


@pytest.mark.parametrize("argument", ["--help", "--version", "serach", "search --help"])
def test_the_command_line_loads_nothing_heavy_before_it_has_to(argument):
    code = f"""
sys.argv = ["lambda-nas", *{argument.split()}]
from lambda_nas.cli import main
try:
    main()
except SystemExit:
    pass
"""
    assert loaded_after(code) == set()


@pytest.mark.parametrize(
    "imports",
    [
        "import lambda_nas, timm",
        pytest.param("import timm, lambda_nas", marks=pytest.mark.full),
        pytest.param("import lambda_nas, timm.models", marks=pytest.mark.full),
        pytest.param("import lambda_nas.models.branches, timm", marks=pytest.mark.full),
        pytest.param("import lambda_nas.pretrained.entry_points, timm", marks=pytest.mark.full),
    ],
)
def test_timm_builds_our_architectures_in_both_orders(imports):
    code = f"""
{imports}
small = dict(img_size=16, patch_size=8, embed_dim=16, depth=3, num_heads=2, num_classes=2)
model = timm.create_model(
    "lambda_nas_pruned", base="deit_tiny_patch16_224", removed=[1], **small
)
print([index for index, block in enumerate(model.blocks) if hasattr(block, "attn")])
print(timm.is_model("digits_vit"), timm.__spec__.loader is timm.__loader__)
print(type(timm.__loader__).__name__)
"""
    assert run(code) == ["[0, 2]", "True True", "SourceFileLoader"]


@pytest.mark.full
def test_timm_finds_no_plugins_by_itself():
    assert run("import timm; print(timm.is_model('lambda_nas_pruned'))") == ["False"]


def test_every_public_name_is_there():
    assert set(lambda_nas.__all__) <= set(dir(lambda_nas))
    for name in lambda_nas.__all__:
        value = getattr(lambda_nas, name)
        assert name == "__version__" or value.__doc__
    with pytest.raises(AttributeError, match="module 'lambda_nas' has no attribute 'serach'"):
        _ = lambda_nas.serach
