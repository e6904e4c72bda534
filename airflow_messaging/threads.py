"""What may block, kept away from the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call what may block, such as an object storage or Airflow's own functions, in a thread.

    Both may ask Airflow for something, such as a connection. Before Airflow 3.3 a triggerer allows that only in threads
    which know its event loop, and ``asyncio.to_thread`` makes none of those.

    :param function: The function.
    :param args: Its arguments.
    :param kwargs: Its named arguments.
    :return: What it returns.
    """
    return await sync_to_async(function, thread_sensitive=False)(*args, **kwargs)
