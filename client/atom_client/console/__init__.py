"""The console: a local page that shows and changes runs and schedules.

`guard` decides which requests are answered. `app` combines the page in `assets` with the responses of the other
modules: `runs` lists runs and shows one; `graphs` lays out the steps of a run or a file, and `known_pictures` caches
what was read for this; `timelines` shows when steps waited and ran; `actions`, `starts`, `schedules` and `letters` make
changes; and `files` shows what a file would do. `feeds` listens to whatever is being watched, and `live` streams the
changes. `server` serves it all on loopback. What is shown comes from `views`.
"""
