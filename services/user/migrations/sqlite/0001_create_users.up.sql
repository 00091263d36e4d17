-- One row per person. The keys are name and address as they are compared: folded by the program, not by the database.
CREATE TABLE account (
    id BLOB NOT NULL PRIMARY KEY,
    username TEXT NOT NULL,
    name_key TEXT NOT NULL,
    email TEXT,
    email_key TEXT,
    password_hash TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- The last one is checked first: who has both taken is told of the name, as on PostgreSQL.
    UNIQUE (email_key),
    UNIQUE (name_key)
);
