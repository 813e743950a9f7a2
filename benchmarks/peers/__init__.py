"""Other systems, each running the standard loop as durably as it can. They run in a separate environment."""
