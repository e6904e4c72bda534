"""What Airflow learns of the hooks: forms, metadata, and its own commands."""

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import airflow
import jsonschema

from airflow_messaging.get_provider_info import CONNECTION_TYPES, DISTRIBUTION, extra_fields, get_provider_info
from airflow_messaging.hooks.registry import hook_class

from .conftest import TYPES


def test_the_forms_come_from_one_table(conn_type: str) -> None:
    row = CONNECTION_TYPES[conn_type]
    hook = hook_class(conn_type)
    behaviour = hook.get_ui_field_behaviour()
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}
    assert behaviour["relabeling"]["password"] == row.password
    assert ("login" in behaviour["hidden_fields"]) == (row.login is None)
    widgets = hook.get_connection_form_widgets()
    assert set(widgets) in ({item.name for item in extra_fields(row)}, set())


_FORMS = """
import json
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

rows = [row.model_dump() for row in HookMetaService.hook_meta_data()]
print("\\nRESULT " + json.dumps({row["connection_type"]: row for row in rows}))
"""


def test_the_form_in_the_browser_shows_every_field(tmp_path: Path) -> None:
    """What Airflow's page asks for; a default that it masks would be saved as ``***``."""
    finished = subprocess.run(
        [sys.executable, "-c", _FORMS],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    lines = [line for line in finished.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, finished.stderr[-3000:]
    forms = json.loads(lines[0].removeprefix("RESULT "))
    for row in CONNECTION_TYPES.values():
        standard, extra = forms[row.type]["standard_fields"], forms[row.type]["extra_fields"]
        assert standard["password"]["title"] == row.password
        assert standard["login"]["hidden"] == (row.login is None)
        assert {name: item["value"] for name, item in extra.items()} == {
            item.name: item.default for item in extra_fields(row)
        }


def schema_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(airflow.__file__).parent / name).read_text())
    return found


def test_the_metadata_fits_airflows_schemas() -> None:
    info = get_provider_info()
    jsonschema.validate(info, schema_of("provider_info.schema.json"))
    strict = schema_of("provider.yaml.schema.json")
    assert json.loads(json.dumps(info)) == info
    for key in ("connection-types", "hooks", "operators", "sensors", "triggers", "integrations"):
        if key in strict["properties"] and key in info and key != "integrations":
            part = {**strict["properties"][key], "definitions": strict.get("definitions", {})}
            jsonschema.validate(info[key], part)


def test_the_entry_point_leads_to_the_metadata() -> None:
    [point] = [
        point
        for point in importlib.metadata.entry_points(group="apache_airflow_provider")
        if point.value.startswith("airflow_messaging.")
    ]
    assert (point.name, point.value) == ("provider_info", "airflow_messaging.get_provider_info:get_provider_info")
    assert point.load() is get_provider_info
    assert point.dist
    assert point.dist.metadata["Name"] == DISTRIBUTION == get_provider_info()["package-name"]
    assert not DISTRIBUTION.startswith("apache-airflow")


def test_all_class_paths_lead_somewhere() -> None:
    info = get_provider_info()
    for row in info["connection-types"]:
        module, _, name = row["hook-class-name"].rpartition(".")
        hook = getattr(importlib.import_module(module), name)
        assert hook.conn_type == row["connection-type"]
        assert "__" not in row["connection-type"]
    for key in ("hooks", "operators", "sensors", "triggers"):
        for entry in info.get(key, []):
            for module in entry["python-modules"]:
                importlib.import_module(module)
    for key in ("notifications", "queues"):
        for path in info.get(key, []):
            module, _, name = path.rpartition(".")
            assert callable(getattr(importlib.import_module(module), name))


_CLI = """
import contextlib, io, json, sys
from airflow.__main__ import main

def cli(*arguments):
    out = io.StringIO()
    sys.argv = ["airflow", *arguments]
    code = 0
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            code = end.code
    return [code, out.getvalue()]

found = {"hooks": cli("providers", "hooks", "--output", "json")}
for conn_id in sys.argv[1:]:
    found[conn_id] = cli("connections", "test", conn_id)
print("\\nRESULT " + json.dumps(found))
"""


def test_airflows_own_commands_know_the_hooks(connections: dict[str, Any], tmp_path: Path) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    conn_ids = [f"{name}_default" for name in TYPES]
    finished = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = sys.argv\n" + _CLI.replace("sys.argv[1:]:", f"{conn_ids!r}:")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    lines = [line for line in finished.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, finished.stderr[-3000:]
    found = json.loads(lines[0].removeprefix("RESULT "))
    listed = {row["connection_type"]: row for row in json.loads(found["hooks"][1][found["hooks"][1].index("[") :])}
    for name in TYPES:
        row = CONNECTION_TYPES[name]
        assert listed[name]["hook_name"] == row.title
        assert listed[name]["class"] == row.hook
        assert listed[name]["package_name"] == DISTRIBUTION
        code, text = found[f"{name}_default"]
        assert (code or 0) == 0, text
        assert "Connection success" in text
        assert connections[f"{name}_default"]["password"] not in finished.stdout + finished.stderr
