"""MDI g8teway, imitated."""
