"""The console: a page on this machine that shows and changes runs and schedules.

`guard` decides which requests are answered. `app` combines the page in `assets` with the answers of the other modules:
`runs` lists runs and shows one, `graphs` says where to draw the steps of a run or a file (`known_pictures` keeps what
was read for that), `timelines` says when steps waited and ran, `actions`, `starts`, `schedules` and `letters` make
something, and `files` what a file would do. `feeds` listens to what someone watches, and `live` streams what changes.
`server` serves it on loopback. What is shown comes from `views`.
"""
