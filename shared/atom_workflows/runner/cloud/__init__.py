"""The Task Runner on Google Cloud, using Batch or Cloud Run.

Each container runs as a job of Batch or Cloud Run. A submission becomes one request to Google's API whose job name is a
hash of the idempotency key, so that a repeated submission names the same job. The job id in the contract encodes where
a job is and when it was created, so the runner keeps no state: everything that it reports comes from the API and the
job's outputs file.

API requests and responses are plain values (`batch_requests`, `batch_answers`, `run_requests`, `run_answers`); the
engines send the requests and read the responses, `service` answers the contract's calls, and `sweeps` removes what jobs
left behind.
"""
