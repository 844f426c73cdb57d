"""Cloud Storage's JSON API, without its client library."""
