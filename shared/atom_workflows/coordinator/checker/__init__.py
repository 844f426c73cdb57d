"""The checker: the work of one tick.

In reading order: `due_steps` reads the steps that are due and remembers them for one burst, `audit` audits a whole run,
`due_handler` polls jobs and acts on the results, `rounds` divides many steps among instances, and `burst` handles a
tick with the help of all of these.
"""
