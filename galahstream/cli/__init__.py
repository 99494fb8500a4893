"""The command line: `main` parses, runs and prints; each command has a file of its own."""
