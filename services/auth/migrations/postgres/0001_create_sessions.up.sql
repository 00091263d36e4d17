-- One row per login of a device. It ends at ends_at unless it is refreshed before; times are milliseconds since 1970.
CREATE TABLE session (
    id UUID NOT NULL PRIMARY KEY,
    user_id UUID NOT NULL,
    device TEXT NOT NULL,
    seed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    revoked_at BIGINT,
    revoked_why TEXT
);
CREATE INDEX session_user_id ON session (user_id);
CREATE INDEX session_ends_at ON session (ends_at);
CREATE INDEX session_revoked_at ON session (revoked_at) WHERE revoked_at IS NOT NULL;

-- Every refresh token of a login, as its SHA-256; the one without used_at is the one that is good.
CREATE TABLE refresh (
    hash BYTEA NOT NULL PRIMARY KEY,
    session UUID NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX refresh_session ON refresh (session);
CREATE INDEX refresh_used_at ON refresh (used_at) WHERE used_at IS NOT NULL;

-- The newest generation signs; all of them check. The private key is sealed with the configured secret.
CREATE TABLE signing_key (
    generation BIGINT NOT NULL PRIMARY KEY,
    kid TEXT NOT NULL UNIQUE,
    public_key BYTEA NOT NULL,
    sealed_key BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
