"""Command line: each file parses the arguments of one command and calls the package."""
