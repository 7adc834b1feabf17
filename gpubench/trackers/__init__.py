"""Run directories as runs of experiment trackers, which other packages provide."""
