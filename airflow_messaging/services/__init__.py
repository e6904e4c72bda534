"""The five services, pure: data in, data out. No socket, no clock, no Airflow."""
