"""The Task Runner over HTTP: the client, the answers, and the tokens that authenticate the calls."""
