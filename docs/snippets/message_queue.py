from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.sdk import Asset, AssetWatcher, dag, get_current_context, task

from airflow_messaging.assets import messages_from

# [START queue]
trigger = MessageQueueTrigger(scheme="sendhub", conn_id="sendhub_default", reader="orders")
orders = Asset("orders", watchers=[AssetWatcher(name="orders inbox", trigger=trigger)])
# [END queue]


@dag(schedule=[orders])
def message_queue():
    @task
    def count() -> int:
        return len(messages_from(get_current_context()))

    count()


message_queue()
