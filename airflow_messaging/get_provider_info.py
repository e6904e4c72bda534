"""What Airflow learns about this provider. The connection forms come from one table, which the hooks read as well."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DISTRIBUTION = "airflow-provider-messaging"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a connection's ``extra``.

    :param name: Its name. Airflow masks what stands under a name with such words as ``bearer`` or ``token`` in it, the
        form's defaults included.
    :param label: What the form shows beside it.
    :param description: What the form explains below it.
    :param kind: JSON type: ``string``, ``number``, ``integer`` or ``boolean``.
    :param default: Taken where the field is empty.
    :param minimum: Smallest number allowed.
    :param choices: The only values allowed.
    """

    name: str
    label: str
    description: str
    kind: str = "string"
    default: Any = None
    minimum: float | None = None
    choices: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """Return the field's JSON schema for the form."""
        schema: dict[str, Any] = {"type": [self.kind, "null"]}
        if self.default is not None:
            schema["default"] = self.default
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        if self.choices:
            schema["enum"] = list(self.choices)
        return schema


@dataclass(frozen=True, slots=True)
class ConnectionType:
    """One row of the table: a service's connection form.

    :param type: Airflow's connection type.
    :param title: The service's name.
    :param hook: Class path of the hook.
    :param queue: Class path of the scheme for ``MessageQueueTrigger``.
    :param login: Label of the ``login`` field, or None if the service has none.
    :param login_unless: The field of ``extra``, and its value, that make the login needless, if there is one.
    :param password: Label of the ``password`` field, which holds the secret.
    :param base_url: The vendor's own base URL, or None if each customer has their own.
    :param path: Path of the API on a host that is given without one.
    :param fields: Fields of ``extra`` that only this service has.
    """

    type: str
    title: str
    hook: str
    queue: str
    login: str | None
    password: str
    base_url: str | None
    path: str = ""
    fields: tuple[Field, ...] = field(default=())
    login_unless: tuple[str, str] | None = None


COMMON_FIELDS = (
    Field("timezone", "Time zone", "Zone of times that the service writes without one", default="UTC"),
    Field("connect_timeout", "Connect timeout", "Seconds to wait for a connection", "number", 10, 0.1),
    Field("read_timeout", "Read timeout", "Seconds to wait for the next bytes of an answer", "number", 60, 0.1),
    Field("max_per_second", "Requests per second", "The most that one process sends", "number", minimum=0.1),
    Field("ca_file", "CA file", "File of CA certificates to trust in place of the system's"),
    Field("allow_insecure", "Allow plain http", "Send credentials in clear to hosts elsewhere", "boolean", False),
)

BEARER = "bearer"


def _auth_scheme(description: str, default: str) -> Field:
    return Field("auth_scheme", "Authentication", description, default=default, choices=(default, BEARER))


CONNECTION_TYPES = {
    row.type: row
    for row in (
        ConnectionType(
            type="go_integrate",
            title="Go Integrate Me",
            hook="airflow_messaging.hooks.go_integrate.GoIntegrateHook",
            queue="airflow_messaging.queues.messages.GoIntegrateQueueProvider",
            login="Route",
            password="Key secret",  # noqa: S106 - a label
            base_url="https://eu-nl.api.go-integrate.me/1",
            path="/1",
        ),
        ConnectionType(
            type="liquidfiles",
            title="LiquidFiles",
            hook="airflow_messaging.hooks.liquidfiles.LiquidFilesHook",
            queue="airflow_messaging.queues.messages.LiquidFilesQueueProvider",
            login=None,
            password="API key",  # noqa: S106 - a label
            base_url=None,
            fields=(
                _auth_scheme("The API key goes by HTTP Basic, or as a bearer token", "basic"),
                Field(
                    "chunk_size",
                    "Chunk size",
                    "Most bytes of a file in one request; a larger file goes up in pieces",
                    "integer",
                    104_857_600,
                    1024,
                ),
            ),
        ),
        ConnectionType(
            type="mdi",
            title="MDI g8teway",
            hook="airflow_messaging.hooks.mdi.MdiHook",
            queue="airflow_messaging.queues.messages.MdiQueueProvider",
            login="User name",
            password="Password",  # noqa: S106 - a label
            base_url="https://g8teway.com/api/v2",
            path="/api/v2",
            fields=(
                Field("client", "Client", "The client that the user belongs to"),
                Field("channelid", "Channel", "Channel to send on where none is given", "integer", minimum=0),
                Field("cookie_jar", "Cookie jar", "File of cookies in Netscape format from a session that is open"),
            ),
        ),
        ConnectionType(
            type="serwersms",
            title="SerwerSMS.pl",
            hook="airflow_messaging.hooks.serwersms.SerwerSmsHook",
            queue="airflow_messaging.queues.messages.SerwerSmsQueueProvider",
            login="User name",
            password="Password",  # noqa: S106 - a label
            base_url="https://api2.serwersms.pl",
            fields=(_auth_scheme("Name and password go in the body; a token, as the password, as bearer", "body"),),
            login_unless=("auth_scheme", BEARER),
        ),
        ConnectionType(
            type="sendhub",
            title="SendHub",
            hook="airflow_messaging.hooks.sendhub.SendHubHook",
            queue="airflow_messaging.queues.messages.SendHubQueueProvider",
            login="User name",
            password="API key",  # noqa: S106 - a label
            base_url="https://api.sendhub.com/v1",
            path="/v1",
            fields=(
                Field("max_contacts", "Most contacts", "Contacts that one message may have", "integer", 20, 1),
                Field("max_groups", "Most groups", "Groups that one message may have", "integer", 3, 1),
                Field("max_text", "Longest text", "Characters that one message may have", "integer", 500, 1),
            ),
        ),
    )
}


def extra_fields(row: ConnectionType) -> tuple[Field, ...]:
    """Return all fields of a connection's ``extra``."""
    return (*row.fields, *COMMON_FIELDS)


def ui_field_behaviour(row: ConnectionType) -> dict[str, Any]:
    """Return how the form's standard fields are shown."""
    hidden = ["schema", "extra"] + ([] if row.login else ["login"])
    relabeling = {"host": "Host or base URL", "password": row.password} | ({"login": row.login} if row.login else {})
    placeholders = {"host": row.base_url or "https://files.example.com"}
    return {"hidden-fields": hidden, "relabeling": relabeling, "placeholders": placeholders}


def _connection_type(row: ConnectionType) -> dict[str, Any]:
    return {
        "connection-type": row.type,
        "hook-class-name": row.hook,
        "hook-name": row.title,
        "ui-field-behaviour": ui_field_behaviour(row),
        "conn-fields": {
            item.name: {"label": item.label, "description": item.description, "schema": item.schema()}
            for item in extra_fields(row)
        },
    }


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, as Airflow's entry point ``apache_airflow_provider`` asks for it."""
    titles = [row.title for row in CONNECTION_TYPES.values()]
    package = "airflow_messaging"
    return {
        "package-name": DISTRIBUTION,
        "name": "Messaging",
        "description": f"Send, wait for and acknowledge messages with {', '.join(titles[:-1])} and {titles[-1]}.",
        "integrations": [{"integration-name": row.title, "tags": ["service"]} for row in CONNECTION_TYPES.values()],
        "connection-types": [_connection_type(row) for row in CONNECTION_TYPES.values()],
        "hooks": [
            {"integration-name": row.title, "python-modules": [row.hook.rpartition(".")[0]]}
            for row in CONNECTION_TYPES.values()
        ],
        "operators": [
            {"integration-name": row.title, "python-modules": [f"{package}.operators.{row.type}"]}
            for row in CONNECTION_TYPES.values()
        ]
        + [
            {
                "integration-name": "Messaging",
                "python-modules": [f"{package}.operators.{name}" for name in ("messages", "asking", "approving")],
            }
        ],
        "sensors": [{"integration-name": "Messaging", "python-modules": [f"{package}.sensors.messages"]}],
        "notifications": [f"{package}.notifications.messages.MessageNotifier"],
        "triggers": [
            {
                "integration-name": "Messaging",
                "python-modules": [f"{package}.triggers.{name}" for name in ("messages", "inbox", "asking")],
            }
        ],
        "queues": [row.queue for row in CONNECTION_TYPES.values()],
    }
