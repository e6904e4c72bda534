"""A sandbox and an Airflow of their own on this machine, which leave no process behind: for the demo and the proofs."""
