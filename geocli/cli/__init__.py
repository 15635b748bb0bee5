"""The command line: one module a command, which parses its options, makes one call, and renders the result."""
