"""`python -m airflow_messaging.sandbox` is `airflow-messaging sandbox`."""

import sys

from airflow_messaging.cli import main

if __name__ == "__main__":
    sys.exit(main(["sandbox", *sys.argv[1:]]))
