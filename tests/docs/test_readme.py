"""What the README shows is what the files hold that it shows."""

import csv
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
DOCS = sorted(path for path in (ROOT / "docs").rglob("*.rst") if "_build" not in path.parts)


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_the_first_dag_is_the_snippet_that_tests_run() -> None:
    [shown] = re.findall(r"```python\n(.*?)```", read("README.md"), re.DOTALL)

    assert shown == read("docs/snippets/first_dag.py")


def test_the_matrix_is_the_one_of_the_documentation() -> None:
    table = [line for line in read("README.md").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert set(rows[1]) == {"---"}

    expected = list(csv.reader(io.StringIO(read("docs/feature-matrix.csv"))))
    assert [rows[0], *rows[2:]] == expected


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", read(page))
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]

    assert missing == []


@pytest.mark.parametrize("page", [*PAGES, *(path.relative_to(ROOT).as_posix() for path in DOCS)])
def test_make_targets_and_files_that_are_named_exist(page: str) -> None:
    text = read(page)
    targets = set(re.findall(r"`make ([a-z-]+)", text))
    known = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert targets <= known

    named = set(
        re.findall(r"`((?:tests|docs|dags_examples|airflow_messaging|scripts)/[\w./-]+\.(?:py|rst|csv|toml))`", text)
    )
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
