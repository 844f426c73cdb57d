"""Code that the Task Runners in this repository share.

It reads requests and outputs, and writes reports about jobs, as the contract defines them.
"""
