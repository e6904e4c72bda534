"""Files that go along are given as paths; what is no path is refused with a typed error."""

from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.hooks.drafts import as_upload, draft_of, uploads_of
from airflow_messaging.operators.liquidfiles import LiquidFilesSendMessageOperator


@pytest.mark.parametrize("source", [None, 17, 1.5, True, b"path", {"path": "x"}, ["x"], "", object()])
def test_what_is_no_path_is_refused(source: Any) -> None:
    with pytest.raises(InvalidInput, match="data"):
        as_upload(source, field="data")


@pytest.mark.parametrize("given", [17, True, object()])
def test_what_is_no_list_is_refused(given: Any) -> None:
    for refused in (lambda: draft_of("a", attachments=given), lambda: uploads_of([given])):
        with pytest.raises(InvalidInput, match="attachments"):
            refused()


@pytest.mark.parametrize("given", [None, (), [], set()])
def test_nothing_is_no_files(given: Any) -> None:
    assert draft_of("a", attachments=given).attachments == ()
    task = LiquidFilesSendMessageOperator(task_id="t", recipients="a", attachments=given)
    assert task.draft(None, "an-id").attachments == ()


def test_a_set_of_files_is_put_into_order(tmp_path: Path) -> None:
    paths = {tmp_path / f"{number}" for number in range(9)}
    for path in paths:
        path.write_text("x")
    for given in (paths, {str(path) for path in paths}):
        assert [file.filename for file in uploads_of(given)] == list("012345678")


def test_one_path_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("x")
    task = LiquidFilesSendMessageOperator(task_id="t", recipients="a", attachments=str(path))
    assert [file.filename for file in task.draft(None, "an-id").attachments] == ["one"]
