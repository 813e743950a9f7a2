"""What the pages show, as frozen values computed from runs, events and artifacts. The templates only lay them out."""
