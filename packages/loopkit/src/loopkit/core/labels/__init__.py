"""Labels of a run, its title and tags: the rules for them, changes of them, and the search for their words."""
