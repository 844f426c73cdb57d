"""Access to the Task Runner over HTTP: the client, its responses, and the tokens that authenticate its calls."""
