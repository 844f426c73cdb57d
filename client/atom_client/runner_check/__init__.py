"""`runner check`: plays the contract against a Task Runner, as the coordinator does, and reports what it supports.

rule_names.py   what the rules are called
results.py      the rows of the report
session.py      the calls that a check makes, with their times
required.py     what every Task Runner has to do: submissions.py, and states.py of jobs
optional.py     what a Task Runner may do: answers.py with outputs, reasons and logs, stopping.py, and tokens
"""
