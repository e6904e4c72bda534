"""How the documentation is built: ``sphinx-build -nW -b html docs docs/_build/html``."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Airflow writes a configuration file when it is first imported: not into anybody's real home.
_home = tempfile.mkdtemp(prefix="airflow-messaging-docs-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _home

from airflow_messaging import __version__  # noqa: E402

project = "airflow-provider-messaging"
author = "the maintainers"
copyright = "the maintainers, Apache License 2.0"
version = release = __version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build", "snippets"]
nitpicky = True
language = "en"

html_theme = "alabaster"
html_title = f"airflow-provider-messaging {release}"
html_theme_options = {
    "description": "Five messaging services for Apache Airflow",
    "fixed_sidebar": True,
    "page_width": "1080px",
    "sidebar_width": "250px",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["wide-tables.css"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_maximum_signature_line_length = 88

# There is no network at build time to look up the classes of Airflow and of the standard library.
nitpick_ignore_regex = [
    ("py:.*", r"airflow\.(sdk|triggers|providers)\..*"),
    ("py:class", r"(abc|collections\.abc|datetime|enum|ssl)\..*"),
    # Imported for type checkers only, so that they keep their short names.
    ("py:class", r"(Context|JsonDict|PokeReturnValue|RetryDecision|SharedStreamProducer|Waiter|datetime)"),
    # Type variables.
    ("py:(class|obj)", r"airflow_messaging\..*\.[ST]"),
    # Fields of dataclasses whose types have a comma inside are looked up in two halves.
    ("py:class", r"(dict|tuple|collections\.abc\.Mapping)\[.*"),
]


def setup(app):
    """Add ``.. not-imitated::``, which lists what the sandbox's own code says about itself."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    from airflow_messaging.sandbox.services import SERVICES

    class NotImitated(SphinxDirective):
        optional_arguments = 1

        def run(self) -> list[nodes.Node]:
            wanted = [service for service in SERVICES if self.arguments in ([], [service.name])]
            lines = []
            for service in wanted:
                if not self.arguments:
                    lines += [f"**{service.title}**", ""]
                lines += [f"- {sentence.replace('`', '``')}" for sentence in service.not_imitated]
                lines.append("")
            return self.parse_text_to_nodes("\n".join(lines))

    app.add_directive("not-imitated", NotImitated)
    return {"parallel_read_safe": True}
