"""Go Integrate Me, imitated."""
