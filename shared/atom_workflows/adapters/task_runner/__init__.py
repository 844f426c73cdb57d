"""Access to the Task Runner over HTTP: the client, responses and tokens."""
