"""The command line: `main` parses, runs and prints; each command has its own file."""
