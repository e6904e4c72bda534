"""Hooks: from an Airflow connection to a service and the transports that reach it."""
