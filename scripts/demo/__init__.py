"""The demo: the five services and Airflow on this machine, every example DAG run once.

``python -m scripts.demo`` from the checkout; ``make demo`` does it, and installs what is needed before.
"""
