"""The command line: a client of control's admin API, and the commands that start processes."""
