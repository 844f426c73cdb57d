"""The checker: the work of one tick.

In reading order: `due_steps` reads the steps that are due and remembers them for one burst, `audit` audits a whole run,
`due_handler` polls jobs and acts on what it finds, `rounds` shares many steps among instances, and `burst` is where a
tick begins.
"""
