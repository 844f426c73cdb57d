"""`runner check`: plays the contract against a Task Runner, as the coordinator does, and reports what it supports.

results.py   the rows of the report
session.py   the calls that a check makes, with their times
required.py  what every Task Runner has to do
optional.py  what a Task Runner may do: stop jobs, return outputs, report logs and ends
"""
