"""The command line. `commands` defines all commands and their options; the other modules implement them."""
