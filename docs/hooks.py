"""What the site has beside `docs/`: the studies as they lie in the repository, and the notebook.

In the repository the guides link to `../studies/...`, so that the links hold there, too.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
STUDIES = ("studies/*/README.md", "studies/*/*.png")
NOTEBOOK = "notebook.ipynb"
NOTE = f"*This page is a notebook: [download it]({NOTEBOOK}).*\n"
# The more to show comes first: an output brings itself in several forms.
FORMS = ("text/html", "text/plain")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the studies, and the notebook as a page of Markdown: so its links are checked, too."""
    for pattern in STUDIES:
        for path in sorted(REPOSITORY.glob(pattern)):
            name = path.relative_to(REPOSITORY).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    notebook = json.loads(Path(config.docs_dir, NOTEBOOK).read_text(encoding="utf-8"))
    page = "\n\n".join(_cells(notebook))
    files.append(File.generated(config, "notebook.md", content=page))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn the links between `docs/` and `studies/` into those of the site."""
    if page.file.src_uri.startswith("studies/"):
        return markdown.replace("](../../docs/", "](../../")
    return markdown.replace("](../studies/", "](studies/")


def _cells(notebook: dict[str, Any]) -> Iterator[str]:
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
        else:
            yield f"```python\n{source}\n```"
            yield from filter(None, map(_output, cell["outputs"]))
        if number == 0:
            yield NOTE


def _output(output: dict[str, Any]) -> str | None:
    data = output.get("data", {"text/plain": output.get("text", "")})
    for form in FORMS:
        content = "".join(data.get(form, "")).strip()
        if content:
            return content if form == "text/html" else f"```text\n{content}\n```"
    return None
