"""One script for each engine, run by the interpreter of that engine's environment: none imports anything of ours."""
