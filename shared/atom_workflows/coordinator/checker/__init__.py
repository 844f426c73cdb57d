"""The checker: what one tick does.

In reading order: `due_steps` reads the steps that are due, `polls` asks how jobs are doing, `audit` looks after a whole
run, `in_flight` remembers steps for one burst, `due_handler` acts on them, `rounds` shares a crowd among instances, and
`burst` is where a tick begins.
"""
