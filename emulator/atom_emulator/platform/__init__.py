"""The platform on one machine, in which every part is a child process that never outlives its parent."""
