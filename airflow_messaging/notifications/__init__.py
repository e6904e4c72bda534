"""Notifiers, for the callbacks of tasks and DAGs, deadlines, and questions to people."""
