"""From what a person asked for to the cells that this machine can measure."""
