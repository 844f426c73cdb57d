"""The command line: `commands` has all commands and their options, the other files what each of them does."""
