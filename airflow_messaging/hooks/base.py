"""What the five hooks share: the connection, both transports, and the vendor-neutral verbs."""

from __future__ import annotations

import abc
import asyncio
import dataclasses
import functools
import json
from collections.abc import Collection, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Self, TypeVar
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import BaseHook, mask_secret
from asgiref.sync import sync_to_async

from airflow_messaging.exceptions import InvalidInput, MessagingError, Shown, TransportError
from airflow_messaging.get_provider_info import CONNECTION_TYPES, extra_fields, ui_field_behaviour
from airflow_messaging.hooks.downloads import directory_for, download_all
from airflow_messaging.hooks.drafts import draft_of
from airflow_messaging.hooks.settings import Settings, read_settings
from airflow_messaging.messages import Message, Outcome, Receipt, Status
from airflow_messaging.services.base import Call, Flow, Service
from airflow_messaging.services.receiving import Batch, Cursor, mark_read, poll
from airflow_messaging.services.selecting import Wanted
from airflow_messaging.transport.blocking import BlockingTransport

T = TypeVar("T")
S = TypeVar("S", bound=Service)

_TEST_TIMEOUT_S = 5.0


class MessagingHook(BaseHook, Generic[S]):
    """A service reached through an Airflow connection.

    In a worker, use it as it is or in a ``with`` block, which closes its connections. In the triggerer, use
    ``async with``: it looks the connection up without blocking the event loop.

    :param conn_id: The connection. Default: ``<connection type>_default``.
    """

    conn_name_attr = "conn_id"
    default_conn_name: ClassVar[str]
    conn_type: ClassVar[str]
    hook_name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give each hook the form's methods for its own: Airflow 3.1 does not look at inherited ones."""
        super().__init_subclass__(**kwargs)
        for name in ("get_ui_field_behaviour", "get_connection_form_widgets"):
            setattr(cls, name, MessagingHook.__dict__[name])

    def __init__(self, conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id or self.default_conn_name
        self.connection: Any = None
        self._settings: Settings | None = None
        self._bounds: dict[str, float] = {}
        self._async_transport: Any = None

    @abc.abstractmethod
    def make_service(self, settings: Settings) -> S:
        """Build the service from the connection's settings; it may read files, nothing more."""

    # -- connection -------------------------------------------------------------------------------------------------

    @functools.cached_property
    def service(self) -> S:
        """The service, with this connection's credentials.

        :raises InvalidInput: If a field of the connection is missing or wrong.
        """
        _refuse_on_event_loop()
        connection = self.connection or self.get_connection(self.conn_id)
        _parse_extra(connection)
        self._settings = self._read_settings(connection, connection.extra_dejson)
        service = self.make_service(self._settings)
        service.on_secret = mask_secret
        for secret in _secrets(service, self._settings):
            mask_secret(secret)
        return service

    def tighten(self, **most: float) -> None:
        """Be less patient than the connection says; call it before anything else.

        :param most: Upper bounds for fields of
            :class:`~airflow_messaging.transport.options.TransportOptions`, such as ``read_timeout=5``.
        """
        self._bounds = most

    def _read_settings(self, connection: Any, extra: dict[str, Any]) -> Settings:
        settings = read_settings(CONNECTION_TYPES[self.conn_type], connection, extra)
        return dataclasses.replace(settings, transport=settings.transport.tightened(**self._bounds))

    def get_conn(self) -> S:
        """Return :attr:`service`."""
        return self.service

    @property
    def settings(self) -> Settings:
        """The connection, read and checked."""
        if self._settings is None:
            _ = self.service
        assert self._settings is not None  # noqa: S101 - set by the line above
        return self._settings

    @functools.cached_property
    def transport(self) -> BlockingTransport:
        """The blocking transport of this connection."""
        return BlockingTransport(self.service, self.settings.transport)

    @property
    def async_transport(self) -> Any:
        """The asynchronous transport of this connection.

        :raises MessagingError: Outside ``async with``.
        """
        if self._async_transport is None:
            raise MessagingError("arun() needs 'async with' around the hook")
        return self._async_transport

    def __enter__(self) -> Self:
        """Return the hook."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self.close()

    def close(self) -> None:
        """Close all connections of the blocking transport."""
        if "transport" in self.__dict__:
            self.transport.close()
            del self.__dict__["transport"]

    async def __aenter__(self) -> Self:
        """Look the connection up and open the asynchronous transport.

        One-time secrets (signatures, rotating cookies) are not registered for masking here: a triggerer lives for
        months and its mask list never shrinks. They are added below every logger and never reach one.
        """
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

        from airflow_messaging.transport.asynchronous import AsyncTransport

        connection, self.connection = self.connection or await get_async_connection(self.conn_id, self), None
        _parse_extra(connection)
        extra = await get_async_extra_dejson(connection)
        self._settings = self._read_settings(connection, extra)
        service = await asyncio.to_thread(self.make_service, self._settings)
        for secret in _secrets(service, self._settings):
            await amask_secret(secret)
        self.service = service
        self._async_transport = AsyncTransport(service, self._settings.transport)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections of the asynchronous transport."""
        if self._async_transport is not None:
            await self._async_transport.close()
            self._async_transport = None

    def test_connection(self) -> tuple[bool, str]:
        """Do one harmless authenticated read, within five seconds.

        :return: Whether it succeeded, and a text that holds no secret.
        """
        try:
            options = self.settings.transport.tightened(
                attempts=1, max_wait=0, connect_timeout=_TEST_TIMEOUT_S / 2, read_timeout=_TEST_TIMEOUT_S / 2
            )
            transport = BlockingTransport(self.service, options)
            try:
                transport.run(self.service.check())
            finally:
                transport.close()
        except TransportError as error:
            return False, f"{error} (at {urlsplit(self.service.base_url).netloc})"
        except MessagingError as error:
            return False, str(error)
        return True, f"{self.service.title} accepts this connection"

    # -- any call ---------------------------------------------------------------------------------------------------

    def run(self, work: Call[T] | Flow[T]) -> T:
        """Carry out a call or a flow of calls, in a worker.

        :param work: For example ``hook.service.get_message(...)``.
        :return: Its result.
        :raises MessagingError: The typed errors of :mod:`airflow_messaging.exceptions`.
        """
        _refuse_on_event_loop()
        return self.transport.run(work) if isinstance(work, Call) else self.transport.run_flow(work)

    def arun(self, work: Call[T] | Flow[T]) -> Coroutine[Any, Any, T]:
        """Carry out a call or a flow of calls, on an event loop, inside ``async with``.

        :param work: For example ``hook.service.get_message(...)``.
        :return: Its result.
        :raises MessagingError: The typed errors of :mod:`airflow_messaging.exceptions`.
        """
        transport = self.async_transport
        started: Coroutine[Any, Any, T] = transport.run(work) if isinstance(work, Call) else transport.run_flow(work)
        return started

    # -- vendor-neutral verbs ---------------------------------------------------------------------------------------

    def send(
        self,
        to: str | list[str],
        text: str | None = None,
        *,
        subject: str | None = None,
        attachments: Iterable[Any] = (),
        in_reply_to: str | None = None,
        message_id: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Send a message through whichever service this connection has.

        :param to: Recipient or recipients, in the service's own form.
        :param text: The text.
        :param subject: The subject, where the service has one.
        :param attachments: Paths of files, as texts or ``ObjectStoragePath``.
        :param in_reply_to: Id of the message that this one answers.
        :param message_id: Client's id of the message: the same for the same message. Default: a random one.
        :param options: Further arguments of the service's own send endpoint.
        :return: What the service answered.
        :raises UnsupportedFeature: If the service cannot express one of the arguments; nothing was sent then.
        :raises InvalidInput: If an argument breaks a rule; nothing was sent then.
        :raises DeliveryUnknown: If no answer came: the message may have been sent, and is not sent again.
        """
        draft = draft_of(
            to,
            text,
            subject=subject,
            attachments=attachments,
            in_reply_to=in_reply_to,
            message_id=message_id,
            options=options,
        )
        return self.run(self.service.send(draft))

    def send_many(self, messages: Iterable[Mapping[str, Any]], *, concurrency: int = 20) -> list[Outcome]:
        """Send many messages, several at a time.

        All are checked before the first is sent. Then each is sent once, and the service's pauses and
        ``max_per_second`` are kept.

        **Delivery**: a message without an answer, such as one with ``DeliveryUnknown``, is not sent again. Once the
        service has refused the credentials, those that are left are not sent: they have that error, too.

        :param messages: Mappings with the arguments of :meth:`send`.
        :param concurrency: How many may be on their way at a time. Default 20.
        :return: One outcome per message, in the same order.
        :raises InvalidInput: If a message breaks a rule; its position, from 0, is in the field. Nothing was sent then.
        :raises UnsupportedFeature: If the service cannot express a message; nothing was sent then.
        """
        from airflow_messaging.hooks.many import check_all, drafts_of, send_all

        _refuse_on_event_loop()
        drafts = drafts_of(messages)
        check_all(self.service, drafts)
        return send_all(self, drafts, concurrency=concurrency)

    async def asend_many(self, messages: Iterable[Mapping[str, Any]], *, concurrency: int = 20) -> list[Outcome]:
        """Do what :meth:`send_many` does, on an event loop, inside ``async with``.

        **Delivery**: as :meth:`send_many` says. Of the messages that were on their way when this was cancelled nobody
        knows whether they were sent.
        """
        from airflow_messaging.hooks.many import asend_all, check_all, drafts_of

        transport = self.async_transport
        drafts = await asyncio.to_thread(drafts_of, messages)
        await asyncio.to_thread(check_all, self.service, drafts)
        return await asend_all(transport, drafts, concurrency=concurrency)

    def poll(self, cursor: Cursor | None = None, *, limit: int | None = None, wanted: Wanted | None = None) -> Batch:
        """Ask once what has been received.

        **Delivery**: nothing is acknowledged; the same messages come again until the cursor moves past them or they
        are marked read.

        :param cursor: How far the reader has come. Default: from the beginning.
        :param limit: The most messages to return. Default: all.
        :param wanted: Says of a message whether it is to be returned. Default: all are.
        :return: The new messages, oldest first, and the next cursor.
        """
        return self.run(poll(self.service, cursor or Cursor(), limit=limit, wanted=wanted))

    def message(self, message_id: str) -> Message:
        """Look one message up by its id."""
        return self.run(self.service.message(message_id))

    def status(self, message_id: str) -> Status:
        """Say how far a sent message has come.

        :raises UnsupportedFeature: If the service does not say.
        """
        return self.run(self.service.status(message_id))

    def mark_read(self, messages: Iterable[Message], *, files_kept: Collection[str] = ()) -> list[Message]:
        """Set the service's read flag.

        :param messages: The messages that have been dealt with.
        :param files_kept: Ids of other messages that may be marked along although they have files. Default: none.
        :return: Messages that the acknowledging calls marked read on top, or may have: they have to be dealt with as
            well. They are known before anything is marked, so that no lost answer takes them along.
        :raises UnsupportedFeature: If the service has no read flag.
        :raises FilesWouldBeLost: If the files of another message would be gone.
        """
        return self.run(mark_read(self.service, list(messages), files_kept))

    def download_attachments(self, message: Message, path: Any, *, max_bytes: int) -> list[dict[str, Any]]:
        """Download all attachments of a message into a directory of its own.

        **Delivery**: nothing is acknowledged. A file has its name only once its size and checksums are right; one that
        breaks off is fetched again, through a fresh one-time URL where the service wants one.

        :param message: The message.
        :param path: The directory above, as a path, a URL or an ``ObjectStoragePath``.
        :param max_bytes: The most bytes that one file may have.
        :return: One ``{"message_id", "attachment_id", "filename", "path", "size"}`` per file.
        :raises CorruptDownload: If a file is not what the service announced.
        :raises MessageTooLarge: If a file is larger than ``max_bytes``.
        """
        directory = directory_for(message, path)
        return [file.to_dict() for file in download_all(self, message, directory, max_bytes=max_bytes)]

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the standard fields are shown, for Airflow 3.1, from the same table as the metadata."""
        behaviour = ui_field_behaviour(CONNECTION_TYPES[cls.conn_type])
        return {key.replace("-", "_"): value for key, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields, for Airflow 3.1, from the same table as the metadata."""
        try:
            from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
            from flask_babel import lazy_gettext
            from wtforms import BooleanField, IntegerField, StringField
        except ImportError:
            return {}
        kinds = {"boolean": BooleanField, "integer": IntegerField}
        return {
            item.name: kinds.get(item.kind, StringField)(
                lazy_gettext(item.label),
                widget=BS3TextFieldWidget(),
                default=item.default,
                description=item.description,
            )
            for item in extra_fields(CONNECTION_TYPES[cls.conn_type])
        }


def utcnow() -> datetime:
    """Return the present time: the clock that is injected into the services."""
    return datetime.now(UTC)


def _parse_extra(connection: Any) -> None:
    try:
        readable = not connection.extra or isinstance(json.loads(connection.extra), dict)
    except ValueError:
        readable = False
    if not readable:
        raise InvalidInput("extra", Shown("something else"), "a JSON object")


def _secrets(service: Service, settings: Settings) -> set[str]:
    derived = {settings.password, quote(settings.password, safe=""), *service.derived_secrets()}
    return {secret for secret in derived if secret}


def _refuse_on_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise MessagingError(
        "on an event loop, use 'async with' around the hook and 'await hook.arun(...)': anything else would block it"
    )


async def amask_secret(secret: str) -> None:
    """Mask a secret in logs, on an event loop."""
    try:
        from airflow.sdk.log import amask_secret as mask
    except ImportError:
        # Before Airflow 3.3 this talks to the supervisor, which only a thread that knows our loop may do.
        await sync_to_async(mask_secret)(secret)
    else:
        await mask(secret)
