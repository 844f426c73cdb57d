"""The platform on one machine: every part a child process, none of which outlives its parent."""
