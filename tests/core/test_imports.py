"""Core stands alone: it can be imported where search, store and edges have nothing installed."""

import pkgutil
import subprocess
import sys

import lambda_nas.core

BLOCKED = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(f"core imported {{name}}")

sys.meta_path.insert(0, Blocker())
for module in {modules}:
    importlib.import_module(module)
outer = [name for name in sys.modules if name.startswith("lambda_nas.")]
print(*sorted(outer))
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
    script = BLOCKED.format(blocked=OUTSIDE, modules=modules)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
