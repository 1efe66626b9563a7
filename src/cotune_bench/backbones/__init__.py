"""Pre-trained networks: trunk, source head and weights."""
