"""Sensors that take any of the five connections."""
