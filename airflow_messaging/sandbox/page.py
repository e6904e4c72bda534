"""The page that shows what was sent, what waits, and what the sandbox does not imitate."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from airflow_messaging.sandbox.service import SandboxService

SHOWN = 50
_TEXT_LIMIT = 500
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2024; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 2px solid #017cee; padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #e0e3e7; }
th { font-weight: 600; color: #60646c; } td { overflow-wrap: anywhere; } td.text { white-space: pre-wrap; width: 45%; }
.none, nav, details { color: #60646c; } nav a { margin-right: 1rem; } code { background: #f0f2f5; padding: 0 .2rem; }
"""
_GENERAL = (
    "Everything is in memory and one account per vendor; a restart or a reset forgets all of it.",
    "There is no TLS, no rate limiting and no billing. Faults come only when they are asked for.",
    "Nothing that is sent here leaves this machine.",
)


def render(services: Sequence[SandboxService]) -> str:
    """Build the whole page; everything that came from outside is escaped."""
    links = "".join(f'<a href="#{service.name}">{escape(service.title)}</a>' for service in services)
    general = "".join(f"<li>{escape(sentence)}</li>" for sentence in _GENERAL)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Messaging sandbox</title>'
        f"<style>{_STYLE}</style></head><body><h1>Messaging sandbox</h1><nav>{links}"
        '<a href="journal">journal</a><a href="credentials">credentials</a><a href="messages">as JSON</a></nav>'
        f"<p>Five messaging services, imitated. What holds for all of them:</p><ul>{general}</ul>"
        f"{''.join(_section(service) for service in services)}</body></html>"
    )


def _section(service: SandboxService) -> str:
    differences = "".join(f"<li>{escape(sentence)}</li>" for sentence in service.not_imitated)
    return (
        f'<h2 id="{service.name}">{escape(service.title)}</h2><p>Base URL path <code>{service.prefix}</code></p>'
        f"<h3>Waiting</h3>{_table(service.waiting())}<h3>Sent</h3>{_table(service.sent())}"
        f"<details><summary>What is invented or not imitated</summary><ul>{differences}</ul></details>"
    )


def _table(messages: list[dict[str, Any]]) -> str:
    if not messages:
        return '<p class="none">none</p>'
    newest = messages[: -SHOWN - 1 : -1]
    columns = list(dict.fromkeys(name for message in newest for name in message))
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in columns)
    rows = "".join(f"<tr>{''.join(_cell(name, message.get(name)) for name in columns)}</tr>" for message in newest)
    more = f'<p class="none">and {len(messages) - SHOWN} older</p>' if len(messages) > SHOWN else ""
    return f"<table><tr>{head}</tr>{rows}</table>{more}"


def _cell(name: str, value: Any) -> str:
    shown = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    if len(shown) > _TEXT_LIMIT:
        shown = shown[:_TEXT_LIMIT] + " …"
    return f'<td class="{"text" if name == "text" else ""}">{escape(shown)}</td>'
