"""The command line `atom-workflows`."""
