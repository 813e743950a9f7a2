"""What the pages are made of, and the pages over HTTP without a browser."""
