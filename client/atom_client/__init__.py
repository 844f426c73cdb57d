"""The Atom Workflows client: `cli` uses `views`, `cost` and `doctor`, all share `text`, `errors` and `deployment`."""
