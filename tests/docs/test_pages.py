"""What the pages say of the code is what the code says."""

import csv
import inspect
import io
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging import exceptions
from airflow_messaging.cli import main
from airflow_messaging.get_provider_info import COMMON_FIELDS, CONNECTION_TYPES
from airflow_messaging.hooks.registry import hook_class
from airflow_messaging.operators.messages import SendMessageOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.sandbox.service import Inbound
from airflow_messaging.services.base import Service

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def matrix() -> dict[str, dict[str, str]]:
    """The feature matrix: by service, what each row says of it."""
    [header, *rows] = csv.reader(io.StringIO(page("feature-matrix.csv")))
    names = {row.title: row.type for row in CONNECTION_TYPES.values()}
    return {
        names[title]: {row[0]: row[column] for row in rows} for column, title in enumerate(header) if title in names
    }


def service_class(name: str) -> type[Service]:
    found: type[Service] = inspect.signature(hook_class(name).make_service, eval_str=True).return_annotation
    return found


@pytest.mark.parametrize("name", CONNECTION_TYPES)
def test_the_matrix_says_what_the_services_say(name: str) -> None:
    said, service = matrix()[name], service_class(name)

    assert (said["Mark read"] == "flag") == service.has_read_flag
    assert (said["Long poll"] == "yes") == service.long_poll
    assert ("cut" in said["Notify from callbacks"]) == ("longest_text" in inspect.get_annotations(service))
    assert (said["Status of sent messages"] != "no") == (service.status is not Service.status)
    assert (said["Download attachments"] != "no") == (service.attachment is not Service.attachment)
    assert (said["Find a send without answer"] != "no") == (service.find_sent is not Service.find_sent)
    assert said["Verified with a live account"].startswith("no")


@pytest.mark.parametrize("name", CONNECTION_TYPES)
def test_each_service_has_its_page(name: str) -> None:
    text = page(f"services/{name}.rst")

    assert f".. not-imitated:: {name}" in text
    assert "\nGuessed\n" in text
    assert f"\n   {name}\n" in page("services/index.rst")


@pytest.mark.parametrize("name", CONNECTION_TYPES)
def test_the_methods_that_a_page_names_are_there(name: str) -> None:
    table = page(f"services/{name}.rst").split("\nWhat the neutral")[0]
    cells = re.findall(r"^     - ``(\w+)[`(]", table, re.MULTILINE)
    methods = [cell for cell in cells if cell[0].islower() and cell not in ("both", "by")]

    assert len(methods) >= 4
    assert [method for method in methods if not hasattr(hook_class(name), method)] == []


def test_the_tree_of_errors() -> None:
    block = page("errors.rst").split(".. code-block:: text\n\n")[1].split("\n\n``InvalidInput``")[0]
    shown: dict[str, str | None] = {}
    above: dict[int, str] = {}
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        above[depth] = line.split()[0]
        shown[above[depth]] = above.get(depth - 1) if depth > 1 else None

    real = {
        name: None if kind is exceptions.MessagingError else kind.__bases__[0].__name__
        for name, kind in vars(exceptions).items()
        if inspect.isclass(kind) and issubclass(kind, exceptions.MessagingError)
    }
    # The root has the depth 1 of a code block; what is below it comes one deeper.
    assert {name: parent for name, parent in shown.items() if parent} == {n: p for n, p in real.items() if p}
    assert set(shown) == set(real)


def test_every_connection_field_is_explained() -> None:
    text = page("connections.rst")

    for row in CONNECTION_TYPES.values():
        assert f"``{row.type}``" in text
        assert row.base_url is None or f"``{row.base_url}``" in text
    for field in [*COMMON_FIELDS, *(field for row in CONNECTION_TYPES.values() for field in row.fields)]:
        assert f"``{field.name}``" in text


def test_every_neutral_argument_of_a_send_is_explained() -> None:
    for name in inspect.signature(SendMessageOperator).parameters:
        if name not in ("conn_id", "kwargs"):
            assert f"   * - ``{name}``" in page("sending.rst")


def test_every_option_of_the_sandbox_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sandbox", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}

    assert options
    assert [option for option in options if option not in page("sandbox.rst")] == []


def test_what_the_sandbox_takes_is_explained(sandbox: RunningSandbox) -> None:
    text = page("sandbox.rst")
    handle = {name for name in vars(RunningSandbox) if not name.startswith("_")}

    for name in (*handle, *Inbound.__dataclass_fields__, "offset_s", "frozen"):
        assert f"``{name}``" in text
    sandbox.faults([{"service": "mdi", "status": 500}])
    fault: dict[str, Any] = sandbox._call("GET", "faults")[0]
    for name in fault:
        assert f"``{name}``" in text
    for peer in ("9d2e@b7f05c38", "robin@peer.example", "unit 17, channel 11", "+48500600700", "+16505551234"):
        assert peer in text


def test_the_page_of_the_cli_shows_what_it_prints(
    connections: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "sendhub_default"]) == 0
    printed = capsys.readouterr().out.strip()

    assert printed in page("connections.rst")
    assert printed in (DOCS.parent / "README.md").read_text("utf-8")
