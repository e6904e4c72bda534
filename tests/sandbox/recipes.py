"""Runs the documents' own shell recipes, with line breaks put back and hosts replaced, and nothing else changed."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent.parent / "samples"


def sample(name: str) -> str:
    return (SAMPLES / name).read_text("utf-8").removesuffix("\n")


def sample_json(name: str) -> Any:
    """Parse a sample, after repairing what the document's typesetting broke."""
    return json.loads(sample(name).replace("\u00a0", " ").replace(",...]", "]"))


def header_names(name: str) -> set[str]:
    """Names of the headers in a sample that holds a whole response head on one line."""
    words = sample(name).split(" ")[3:]
    return {word[:-1].lower() for word in words if re.fullmatch(r"[A-Za-z-]+:", word)}


def with_line_breaks(recipe: str) -> str:
    recipe = recipe.removeprefix("$ ").replace(" \\ -", " \\\n-")
    return re.sub(r"\) (FILE_MD5=|KEY=|curl )", r")\n\1", recipe)


def run(recipe: str, replace: dict[str, str], cwd: Path, *arguments: str, **variables: str) -> str:
    script = with_line_breaks(recipe)
    for old, new in replace.items():
        assert old in script, f"{old} is not in the recipe"
        script = script.replace(old, new)
    if not shutil.which("shasum"):
        script = "shasum() { sha512sum; }\n" + script
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*", "LC_ALL": "C", **variables}
    command = ["bash", "-c", script, "bash", *arguments]
    finished = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=20, check=True)
    return finished.stdout
