"""Settings of Sphinx, which builds the pages in this folder: ``make docs``."""

import argparse
from pathlib import Path

from sphinx.application import Sphinx

from galahstream import __version__
from galahstream.cli.main import build_parser

project = "galahstream"
release = __version__
copyright = "the galahstream developers"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
autosummary_generate = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # numpydoc's sections have the types
numpydoc_show_class_members = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
html_theme = "furo"
html_title = f"galahstream {release}"


def write_commands(app: Sphinx) -> None:
    """Write the page of the command line from its parser."""
    lines = ["# Command line", "", "Every command prints strict JSON with `--json`.", ""]
    (commands,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for name, parser in commands.choices.items():
        lines += [f"## galahstream {name}", "", "```text", parser.format_help().rstrip(), "```", ""]
    page = Path(app.srcdir) / "reference" / "commands.md"
    text = "\n".join(lines)
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def keep_links_inside(app: Sphinx, name: str, content: list[str]) -> None:
    """Let links to files beside this folder lead to the pages that include them."""
    for page, file in (("contributing", "CONTRIBUTING"), ("changes", "CHANGELOG")):
        content[0] = content[0].replace(f"](../{file}.md", f"]({page}.md")


def setup(app: Sphinx) -> None:
    """Register what runs before the pages are read, and for each of them."""
    app.connect("builder-inited", write_commands)
    app.connect("source-read", keep_links_inside)
