"""From a configuration to a record: build, fit, resume, sweep."""
