"""The part of the contract that the Task Runners in this repository share: requests, outputs and reports of jobs."""
