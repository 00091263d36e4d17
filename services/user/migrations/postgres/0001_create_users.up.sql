-- One row per person. The keys are name and address as they are compared: folded by the program, not by the database.
CREATE TABLE account (
    id UUID NOT NULL PRIMARY KEY,
    username TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    email TEXT,
    email_key TEXT UNIQUE,
    password_hash TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
