"""Core stands alone: it can be imported where search, store and edges have nothing installed."""

import pkgutil
import subprocess
import sys

import lambda_nas.core

# A module that is None in `sys.modules` can't be imported, as if it were not installed.
SCRIPT = """
import importlib, sys
sys.modules.update(dict.fromkeys({blocked}))
for module in {modules}:
    importlib.import_module(module)
"""
OUTSIDE = {
    *("ray", "optuna", "sqlalchemy", "alembic", "plotly", "rich", "typer"),
    *("pydantic", "sklearn", "optuna_dashboard"),
}


def test_core_imports_nothing_of_the_outer_layers():
    modules = [
        f"lambda_nas.core.{module.name}"
        for module in pkgutil.iter_modules(lambda_nas.core.__path__)
    ]
    assert "lambda_nas.core.surgery" in modules
    script = SCRIPT.format(blocked=OUTSIDE, modules=modules)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_is_light_and_its_search_stays_a_function():
    script = """
import sys, timm, lambda_nas
heavy = {blocked} & set(sys.modules)
assert not heavy, heavy
import lambda_nas.search.driver
from lambda_nas.search import limits
assert "lambda_nas.search.driver" in sys.modules
assert callable(lambda_nas.search), lambda_nas.search
"""
    blocked = OUTSIDE | {"IPython"}
    done = subprocess.run(
        [sys.executable, "-c", script.format(blocked=blocked)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
