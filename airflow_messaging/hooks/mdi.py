"""Hook for MDI g8teway."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_messaging.exceptions import InvalidInput, Shown
from airflow_messaging.hooks.base import MessagingHook, utcnow
from airflow_messaging.hooks.settings import Settings
from airflow_messaging.messages import Message, Receipt
from airflow_messaging.services.mdi import Mdi, parse_cookie_jar


class MdiHook(MessagingHook[Mdi]):
    """Messages to and from vehicle units, in a cookie session.

    Connection fields: ``login`` and ``password``; in ``extra`` ``client``, ``channelid`` (channel to send on where none
    is given) and ``cookie_jar`` (a file of cookies in Netscape format, if a session is already open).

    :param conn_id: The connection. Default ``mdi_default``.
    """

    default_conn_name = "mdi_default"
    conn_type = "mdi"
    hook_name = "MDI g8teway"

    def make_service(self, settings: Settings) -> Mdi:
        """Build the service from the connection's settings; reads the cookie jar, if there is one."""
        if not settings.extra["client"]:
            raise InvalidInput("client", Shown("nothing"), "the client that the user belongs to")
        return Mdi(
            settings.base_url,
            username=settings.login,
            password=settings.password,
            client=settings.extra["client"],
            channelid=settings.extra["channelid"],
            cookies=_read_cookie_jar(settings),
            clock=utcnow,
            zone=settings.zone,
        )

    def messages(self, **narrowing: Any) -> list[Message]:
        """List messages (``GET messages``), all pages of them.

        **Delivery**: a look only; the service has no read flag.

        :param narrowing: ``status``, ``timedout``, ``unitids``, ``date_from``, ``date_to``, ``userids``, ``direction``,
            ``messageids``, ``replyto``, ``channelids``, ``id_min`` and ``id_max``, as
            :meth:`~airflow_messaging.services.mdi.Mdi.messages` explains them. Default: everything.
        :return: The messages.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        return self.run(self.service.messages_all(**narrowing))

    def get_message(self, message_id: str | int) -> Message:
        """Look one message up (``GET messages/ID``).

        **Delivery**: a look only; the service has no read flag.

        :param message_id: The message's id.
        :raises NotFound: If the message is unknown.
        """
        return self.run(self.service.get_message(message_id))

    def create_message(
        self,
        *,
        unitid: int | str,
        channelid: int | str,
        content: str | bytes,
        userid: int | str | None = None,
        replyto: int | str | None = None,
        timeout: int | str | None = None,
        direction: str | None = None,
    ) -> Receipt:
        """Send a message to a unit (``POST messages``).

        :param unitid: The unit.
        :param channelid: The channel.
        :param content: The content, text or bytes.
        :param userid: The user it comes from. Default: the one who is logged in.
        :param replyto: Id of the message that it answers. Default: none.
        :param timeout: Minutes after which it is given up, 0 to 32767; 0 reaches the unit only if it is online now;
            ``"null"`` waits for ever. Default: the channel's own setting.
        :param direction: ``usertounit`` or ``unittouser``. Default: the former.
        :return: The receipt with the message's id.
        :raises InvalidInput: If an argument breaks a rule; nothing was sent then.
        :raises DeliveryUnknown: If no answer came: the message may have been sent, and is not sent again.
        """
        return self.run(
            self.service.create_message(
                unitid=unitid,
                channelid=channelid,
                content=content,
                userid=userid,
                replyto=replyto,
                timeout=timeout,
                direction=direction,
            )
        )

    def session_delete(self) -> None:
        """End the session (``DELETE session``). The next call logs in again."""
        self.run(self.service.session_delete())


def _read_cookie_jar(settings: Settings) -> dict[str, str] | None:
    path = settings.extra["cookie_jar"]
    if not path:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("cookie_jar", path, f"a readable file ({type(error).__name__})") from None
    return parse_cookie_jar(text, host=urlsplit(settings.base_url).hostname)
