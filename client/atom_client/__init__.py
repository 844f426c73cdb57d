"""The client of Atom Workflows: `text`, `errors` and `deployment` for all; `views`, `cost`, `doctor`; `cli` on top."""
