"""What a person asked for: settings, units, objectives."""
