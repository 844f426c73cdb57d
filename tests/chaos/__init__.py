"""The local platform in a storm: real processes are killed, real connections cut, and every run must still end well."""
