"""The Task Runner on Google Cloud: containers as jobs of Batch, or of Cloud Run.

A submission becomes one request to Google's API whose job name is a hash of the idempotency key, so that a repeated
submission names the same job. The id in the contract says where a job is and when it was created. So the runner keeps
no state: everything that it reports, it reads from the API and from the job's outputs file.

Requests and answers of the APIs are values here (`batch_requests`, `batch_answers`, `run_requests`, `run_answers`);
the engines send the one and read the other, `service` answers the contract's calls, and `sweeps` removes what jobs
left behind.
"""
