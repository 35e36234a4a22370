"""Commands: argument parsing and a few calls each."""
