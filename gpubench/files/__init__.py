"""Files: reading those of other people, folders, locks."""
