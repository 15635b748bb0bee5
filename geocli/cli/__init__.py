"""The subcommands: each turns its options into one call, and shows what comes back."""
