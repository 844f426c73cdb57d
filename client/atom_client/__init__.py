"""The Atom Workflows client. `cli` uses `views`, `cost` and `doctor`; all use `text`, `errors` and `deployment`."""
