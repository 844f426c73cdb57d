"""The checker: the work of one tick.

In reading order: `due_steps` reads the steps that are due, `polls` polls their jobs, `audit` audits a whole run,
`in_flight` remembers steps for one burst, `due_handler` acts on them, `rounds` shares many steps among instances, and
`burst` is where a tick begins.
"""
