"""Sources of answers: local databases, the registries' data, web services."""
