-- A chat; `version` counts the decisions about it, `projected` is the last one that message has applied.
CREATE TABLE chat (
    id         UUID   NOT NULL PRIMARY KEY,
    kind       TEXT   NOT NULL,
    title      TEXT,
    creator    UUID   NOT NULL,
    pair_key   TEXT,   -- both members of a private chat, the smaller id first
    version    BIGINT NOT NULL,
    projected  BIGINT NOT NULL,
    outbox_n   BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE UNIQUE INDEX chat_pair ON chat (pair_key) WHERE pair_key IS NOT NULL;

CREATE TABLE member (
    chat_id UUID NOT NULL REFERENCES chat (id),
    user_id UUID NOT NULL,
    PRIMARY KEY (chat_id, user_id)
);

-- What the AI does in a chat for one of its members.
CREATE TABLE binding (
    chat_id   UUID   NOT NULL REFERENCES chat (id),
    owner     UUID   NOT NULL,
    thread_id UUID   NOT NULL,
    mode      TEXT   NOT NULL,
    state     TEXT   NOT NULL,
    reason    TEXT,
    version   BIGINT NOT NULL, -- the decision that made it so
    PRIMARY KEY (chat_id, owner)
);

CREATE UNIQUE INDEX binding_thread ON binding (thread_id);

-- What is to be published, in order for each chat. A decision stays until it was projected, anything else until
-- the log has flushed it.
CREATE TABLE outbox (
    chat_id    UUID   NOT NULL,
    n          BIGINT NOT NULL,
    version    BIGINT, -- of the decision, or null
    topic      TEXT   NOT NULL,
    key        BYTEA  NOT NULL,
    payload    BYTEA  NOT NULL,
    created_ms BIGINT NOT NULL,
    next_ms    BIGINT NOT NULL, -- when the sweep tries again
    PRIMARY KEY (chat_id, n)
);

CREATE INDEX outbox_next ON outbox (next_ms);

-- Where a partition goes on.
CREATE TABLE position (
    topic_id    UUID   NOT NULL,
    part        BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (topic_id, part)
);
