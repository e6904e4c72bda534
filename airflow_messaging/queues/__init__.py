"""Schemes for the trigger of the common messaging provider."""
