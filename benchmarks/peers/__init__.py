"""Other systems, each doing the standard loop as durably as it can. They run in a separate environment."""
