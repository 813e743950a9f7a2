"""One store in SQLAlchemy Core for SQLite, PostgreSQL and libSQL/Turso."""
