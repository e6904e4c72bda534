"""SendHub: the account, how it authenticates and refuses, and its address book of contacts and groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, tzinfo
from typing import TypeVar
from urllib.parse import quote, quote_plus

from airflow_messaging.exceptions import InvalidInput, Shown
from airflow_messaging.messages import in_order
from airflow_messaging.services import sendhub_wire as wire
from airflow_messaging.services.base import AuthFlow, Call, Clock, Flow, Refusal, Service, require
from airflow_messaging.services.http import JsonBody, Request, Response
from airflow_messaging.services.paging import Page, every_item
from airflow_messaging.services.parsing import Reader, parse_json, whole_number
from airflow_messaging.services.sendhub_wire import Contact, Group

T = TypeVar("T")

PAGE_SIZE = 100


class SendHubAccount(Service):
    """What all endpoints of SendHub share, and the address book.

    :param base_url: For example ``https://api.sendhub.com/v1``.
    :param username: The user's name.
    :param api_key: The user's API key.
    :param clock: Returns the present time, aware, UTC.
    :param zone: The zone of times in answers. Default UTC, as documented.
    :param max_contacts: The most contacts that one message may have. Newer documents say 25.
    :param max_groups: The most groups that one message may have.
    :param max_text: The longest text in characters. Newer documents say 1600.
    """

    def __init__(
        self,
        base_url: str,
        *,
        username: str,
        api_key: str,
        clock: Clock,
        zone: tzinfo = UTC,
        max_contacts: int = 20,
        max_groups: int = 3,
        max_text: int = 500,
    ) -> None:
        super().__init__(base_url, clock=clock, zone=zone)
        self._username = username
        self._api_key = api_key
        self.most_recipients = max_contacts
        self.max_groups = max_groups
        self.longest_text = max_text

    # -- the address book -------------------------------------------------------------------------------------------

    def contacts(self, *, limit: int | None = None, offset: int | None = None) -> Call[Page[Contact]]:
        """List contacts, one page (``GET contacts/``).

        :param limit: The most contacts on the page.
        :param offset: How many contacts to leave out.
        :return: A call for the page.
        :raises InvalidInput: If an argument is no whole number.
        """
        return self._list("contacts", "contacts/", wire.contact, limit, offset)

    def contacts_all(self) -> Flow[list[Contact]]:
        """List all contacts, page by page."""
        return self._every(self.contacts, lambda contact: contact.id)

    def create_contact(self, *, name: str, number: str) -> Call[Contact]:
        """Add a contact (``POST contacts/``).

        :param name: The name.
        :param number: The phone number, such as ``+16505551234``.
        :return: A call for the contact.
        :raises InvalidInput: If either is empty or no text.
        """
        for field, value in (("name", name), ("number", number)):
            require(
                isinstance(value, str) and value.strip(), field, Shown("nothing usable"), "a text that is not empty"
            )
        return Call(
            endpoint="contacts",
            request=Request(method="POST", url="contacts/", body=JsonBody({"name": name, "number": number})),
            parse=lambda response: wire.contact(self._read("contacts", response)),
        )

    def groups(self, *, limit: int | None = None, offset: int | None = None) -> Call[Page[Group]]:
        """List groups, one page (``GET groups/``).

        :param limit: The most groups on the page.
        :param offset: How many groups to leave out.
        :return: A call for the page.
        :raises InvalidInput: If an argument is no whole number.
        """
        return self._list("groups", "groups/", wire.group, limit, offset)

    def groups_all(self) -> Flow[list[Group]]:
        """List all groups, page by page."""
        return self._every(self.groups, lambda group: group.id)

    def create_group(self, *, name: str, contacts: Sequence[str | int] = ()) -> Call[Group]:
        """Add a group (``POST groups/``).

        :param name: The name.
        :param contacts: Ids of its contacts. Default: none.
        :return: A call for the group.
        :raises InvalidInput: If the name is empty or no text, or a contact is no id.
        """
        require(isinstance(name, str) and name.strip(), "name", Shown("nothing usable"), "a text that is not empty")
        fields = {"name": name, "contacts": wire.recipients("contacts", contacts, numbers=False)}
        return Call(
            endpoint="groups",
            request=Request(method="POST", url="groups/", body=JsonBody(fields)),
            parse=lambda response: wire.group(self._read("groups", response)),
        )

    def contact_ids(self, names: Sequence[str] | str) -> Flow[list[str]]:
        """Look contacts up by their names.

        :param names: One name or several, as they are written in the address book.
        :return: Their ids, in the same order.
        :raises InvalidInput: If no contact has one of the names, or several have.
        """
        return self._ids("contact_names", names, self.contacts_all)

    def group_ids(self, names: Sequence[str] | str) -> Flow[list[str]]:
        """Look groups up by their names.

        :param names: One name or several, as they are written in the address book.
        :return: Their ids, in the same order.
        :raises InvalidInput: If no group has one of the names, or several have.
        """
        return self._ids("group_names", names, self.groups_all)

    def _ids(
        self,
        field: str,
        names: Sequence[str] | str,
        everybody: Callable[[], Flow[list[Contact]]] | Callable[[], Flow[list[Group]]],
    ) -> Flow[list[str]]:
        wanted = [names] if isinstance(names, str) else in_order(names)
        good = all(isinstance(name, str) and name.strip() for name in wanted)
        require(good, field, Shown("an entry that is empty or no text"), "names, as texts")
        if not wanted:
            return []
        by_name: dict[str, list[str]] = {}
        for entry in (yield from everybody()):
            by_name.setdefault(entry.name.strip(), []).append(entry.id)
        found = []
        for name in wanted:
            ids = by_name.get(name.strip(), [])
            if len(ids) != 1:
                raise InvalidInput(field, name, f"the name of exactly one; {len(ids)} have it")
            found.append(ids[0])
        return found

    # -- credentials ------------------------------------------------------------------------------------------------

    def auth_flow(self, request: Request) -> AuthFlow:
        """Add name and key to the query."""
        yield request.with_params(("username", self._username), ("api_key", self._api_key))

    def derived_secrets(self) -> Iterable[str]:
        """Return the API key as it looks inside a URL, where that is different."""
        return sorted({quote(self._api_key, safe=""), quote_plus(self._api_key)} - {self._api_key})

    # -- answers ----------------------------------------------------------------------------------------------------

    def refusal(self, response: Response) -> Refusal:
        """Read ``{"message": …, "code": …, "error": …, "timeLeft": "0:00:30"}``, of which any may be missing."""
        record = self._read("error", response).record
        words = [text for text in (record.get("message"), record.get("error")) if isinstance(text, str) and text]
        code = record.get("code")
        return Refusal(
            code=str(code) if isinstance(code, str | int) else None,
            message=words[0] if words else None,
            retry_after=wire.seconds(record.get("timeLeft")),
        )

    def _read(self, endpoint: str, response: Response) -> Reader:
        return Reader(self.name, endpoint, parse_json(self.name, endpoint, response))

    def _list(
        self,
        endpoint: str,
        url: str,
        read: Callable[[Reader], T],
        limit: int | None,
        offset: int | None,
        *params: tuple[str, str],
    ) -> Call[Page[T]]:
        def parse(response: Response) -> Page[T]:
            answer = self._read(endpoint, response)
            items = [read(Reader(self.name, endpoint, item)) for item in answer.items("objects")]
            return Page(items, answer.has("meta") and answer.child("meta").text("next") is not None)

        given = (("limit", limit, 1), ("offset", offset, 0))
        window = [(name, str(whole_number(name, value, low))) for name, value, low in given if value is not None]
        request = Request(method="GET", url=url, params=(*window, *params))
        return Call(endpoint=endpoint, request=request, parse=parse, repeatable=True)

    def _every(self, page: Callable[..., Call[Page[T]]], key: Callable[[T], str]) -> Flow[list[T]]:
        return every_item(self.name, lambda _number, before: page(limit=PAGE_SIZE, offset=before or None), key)
