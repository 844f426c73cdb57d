"""The console: a page on this machine that shows runs, their graphs and schedules, and changes them.

`guard` decides which requests are answered, and `app` puts the page together from `assets` and what the other modules
answer: `runs` the lists and a run, `graphs` where the steps of a run or a file are drawn (`known_pictures` keeps what
was read for that), `timelines` when steps waited and ran, `actions`, `starts`, `schedules` and `letters` what changes
something, and `files` what a file would do. `feeds` listens to what someone watches, and `live` streams what changes.
`server` serves it on loopback. What is shown comes from `views`.
"""
