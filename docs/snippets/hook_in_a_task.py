"""A task that sends through the hook and looks into what may have happened when no answer came."""

from airflow.sdk import dag, task


@dag(schedule=None)
def hook_in_a_task():
    # [START send]
    @task
    def send(text: str) -> dict:
        from airflow.providers.common.compat.sdk import AirflowFailException

        from airflow_messaging.exceptions import MessagingError
        from airflow_messaging.hooks.sendhub import SendHubHook

        with SendHubHook("sendhub_default") as hook:
            try:
                return hook.send_message(contacts=["1111"], text=text).to_dict()
            except MessagingError as error:
                if error.may_have_arrived:
                    # Without this, a task that has retries would send again.
                    raise AirflowFailException(str(error)) from None
                raise

    # [END send]
    send("The nightly load has finished.")


hook_in_a_task()
