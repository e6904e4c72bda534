"""SendHub, imitated."""
