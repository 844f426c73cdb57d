"""The Task Runner over HTTP: client, answers, and the tokens that it is called with."""
