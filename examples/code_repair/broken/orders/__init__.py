"""Orders of a small shop. Broken on purpose: three of its tests fail, and its linter complains."""
