"""One script per engine, run by the interpreter of that engine's environment. None imports the project's packages."""
