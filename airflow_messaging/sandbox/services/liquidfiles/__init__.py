"""LiquidFiles, imitated."""
