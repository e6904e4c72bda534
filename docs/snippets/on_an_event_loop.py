"""The same hook on an event loop, as a trigger of your own would use it."""

from airflow_messaging.hooks.registry import async_hook_for


# [START ask]
async def ids_in_inbox(conn_id: str) -> list[str]:
    async with await async_hook_for(conn_id) as hook:
        messages = await hook.arun(hook.service.messages_inbox(sent_in_the_last=24))
    return [message.id for message in messages]


# [END ask]
