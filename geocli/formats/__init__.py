"""Output formats: rows of CSV, JSON and the like; tables, cards, maps and progress bars for people; Prometheus."""
