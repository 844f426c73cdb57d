"""The deployment: real gcloud commands against an API on loopback that records and remembers."""
