"""What tests share: a whole coordinator in one process, and builders."""
