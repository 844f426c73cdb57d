"""The console: a page on this machine that shows runs, their graphs and schedules, and changes them.

`guard` decides which requests are answered, and `app` puts the page together from `assets` and what the other modules
answer: `runs` the lists and a run, ... `server` serves it on loopback. What is shown comes from `views`.
"""
