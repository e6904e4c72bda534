"""Operators: one that sends per service, and vendor-neutral ones that take any of the five connections."""
