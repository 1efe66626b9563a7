"""From records to tables, statistics, figures and the page, without torch."""
