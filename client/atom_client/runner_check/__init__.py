"""`runner check`: test a Task Runner against the contract.

The check makes the calls that the coordinator would make, and reports what the Task Runner supports.

rule_names.py   the names of the rules
results.py      the rows of the report
session.py      the calls that a check makes, with their times
required.py     the required rules: submissions in submissions.py, states of jobs in states.py
optional.py     the optional rules: outputs, reasons and logs in answers.py, stopping in stopping.py, and tokens
"""
