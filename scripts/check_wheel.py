"""Assert what a wheel of the package contains: ``python scripts/check_wheel.py dist/*.whl``."""

from __future__ import annotations

import configparser
import email
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_messaging"
NOT_SHIPPED = ("ruff.toml",)  # a rule for one folder of the source

# Runs with the unpacked wheel as the first entry of the path, so that the checkout cannot lend it a file.
PROBE = """
import importlib, pathlib, pkgutil, sys

where = pathlib.Path(sys.path[0]).resolve()

def strings(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value

def load(path):
    if pkgutil.resolve_name(path) is None:
        raise ImportError(path)

package = importlib.import_module("airflow_messaging")
assert pathlib.Path(package.__file__).resolve().is_relative_to(where), package.__file__
info = importlib.import_module("airflow_messaging.get_provider_info").get_provider_info()
assert info["package-name"] == sys.argv[1], info["package-name"]
named = sorted({text for text in strings(info) if text.startswith("airflow_messaging.")} | set(sys.argv[2:]))
for path in named:
    load(path)
print(f"{len(named)} names of get_provider_info and of the entry points can be imported")
"""


def check(condition: bool, problem: str) -> None:
    if not condition:
        raise SystemExit(f"check_wheel: {problem}")


def sources() -> set[str]:
    """Return the package's files as the wheel must name them."""
    files = (path.relative_to(CHECKOUT) for path in (CHECKOUT / PACKAGE).rglob("*") if path.is_file())
    return {
        file.as_posix()
        for file in files
        if file.name not in NOT_SHIPPED and not any(p == "__pycache__" or p.startswith(".") for p in file.parts)
    }


def check_files(names: set[str], dist_info: str) -> None:
    package = {name for name in names if not name.startswith(dist_info)}
    missing, extra = sources() - package, package - sources()
    check(not missing, f"files of the package are not in the wheel: {sorted(missing)}")
    check(not extra, f"the wheel has files that are not the package's: {sorted(extra)}")
    check(f"{PACKAGE}/py.typed" in names, "py.typed is missing")
    check(any(re.fullmatch(rf"{re.escape(dist_info)}.*LICENSE", name) for name in names), "LICENSE is missing")


def check_metadata(text: str, project: dict[str, object]) -> None:
    metadata = email.message_from_string(text)
    source = (CHECKOUT / PACKAGE / "__init__.py").read_text()
    version = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    expected = {
        "Name": project["name"],
        "Version": version and version[1],
        "Requires-Python": project["requires-python"],
        "License-Expression": project["license"],
    }
    for field, value in expected.items():
        check(metadata[field] == value, f"{field} is {metadata[field]!r}, not {value!r}")
    requires = metadata.get_all("Requires-Dist") or []
    check(any(line.startswith("apache-airflow>=") for line in requires), f"no range for Airflow in {requires}")
    check(not any("==" in line.split(";")[0] for line in requires), f"a dependency is pinned: {requires}")


def entry_points(text: str) -> Iterator[str]:
    parsed = configparser.ConfigParser(delimiters="=")
    parsed.read_string(text)
    for group in ("apache_airflow_provider", "console_scripts"):
        check(parsed.has_section(group), f"no entry points of the group {group}")
        yield from parsed[group].values()


def main(wheel: str) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as scratch:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        [metadata] = [name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        dist_info = metadata.removesuffix("METADATA")
        check_files(names, dist_info)
        check_metadata(archive.read(metadata).decode(), project)
        points = list(entry_points(archive.read(f"{dist_info}entry_points.txt").decode()))
        archive.extractall(scratch)
        (probe := Path(scratch, "probe.py")).write_text(PROBE)
        # A home of its own: Airflow writes a configuration file at the first import.
        environment = {"AIRFLOW_HOME": f"{scratch}/home", "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, str(probe), project["name"], *points]
        check(subprocess.run(command, env=environment, check=False).returncode == 0, "see above")
    print(f"{Path(wheel).name}: {len(names)} files, as they should be")


if __name__ == "__main__":
    main(*sys.argv[1:])
