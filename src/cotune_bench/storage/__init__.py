"""Files, cache and records, written completely or not at all."""
