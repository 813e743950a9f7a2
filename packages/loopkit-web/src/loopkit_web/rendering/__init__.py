"""How values become what a browser shows: templates, Markdown, JSON trees, differences and charts. Asks no store."""
