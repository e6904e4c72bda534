"""Keeps query strings, where SendHub wants its key, out of the HTTP library's own debug log."""

from __future__ import annotations

import logging
import re

_QUERY = re.compile(r"\?[^\s\"']*")


class WithoutQueries(logging.Filter):
    """Blanks the query of every URL that a log record mentions."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Blank the queries and keep the record."""
        if isinstance(record.args, tuple):
            record.args = tuple(_QUERY.sub("?…", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


def keep_queries_out_of_logs() -> None:
    """Install the filter on urllib3's logger, once a process."""
    logger = logging.getLogger("urllib3.connectionpool")
    if not any(isinstance(present, WithoutQueries) for present in logger.filters):
        logger.addFilter(WithoutQueries())
