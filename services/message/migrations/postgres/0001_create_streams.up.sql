-- One row per chat: the heads of its stream. Locked by whoever appends to it.
CREATE TABLE stream (
    chat_id   UUID   NOT NULL PRIMARY KEY,
    kind      TEXT   NOT NULL,
    epoch     TEXT   NOT NULL,
    last_o    BIGINT NOT NULL,
    last_seq  BIGINT NOT NULL,
    msg_o     BIGINT NOT NULL, -- the newest message
    human_o   BIGINT NOT NULL, -- the newest message that a person wrote
    version   BIGINT NOT NULL, -- the last decision of chat that was applied
    active_ms BIGINT NOT NULL
);

-- Every durable event of every chat; `seq` and `id` are null where it is no message.
CREATE TABLE event (
    chat_id UUID   NOT NULL,
    o       BIGINT NOT NULL,
    seq     BIGINT,
    id      UUID,
    author  UUID,
    kind    TEXT   NOT NULL,
    payload TEXT   NOT NULL, -- the frame's `d`: the one copy of the body
    PRIMARY KEY (chat_id, o)
);

-- The id is derived from author and key, so this is what makes (author, key) unique.
CREATE UNIQUE INDEX event_id ON event (id) WHERE id IS NOT NULL;

-- Who may see what: an interval of `o` for each time that a person was a member.
CREATE TABLE member (
    chat_id   UUID   NOT NULL,
    user_id   UUID   NOT NULL,
    from_o    BIGINT NOT NULL,
    until_o   BIGINT,
    delivered BIGINT NOT NULL,
    read_seq  BIGINT NOT NULL,
    PRIMARY KEY (chat_id, user_id, from_o)
);

CREATE INDEX member_user ON member (user_id) WHERE until_o IS NULL;

-- The AI bindings as they were projected.
CREATE TABLE binding (
    thread_id UUID NOT NULL PRIMARY KEY,
    chat_id   UUID NOT NULL,
    owner     UUID NOT NULL,
    mode      TEXT NOT NULL,
    state     TEXT NOT NULL
);

CREATE INDEX binding_chat ON binding (chat_id);

-- Where a partition of the persist topic goes on. It moves in the transaction of its effects.
CREATE TABLE position (
    topic_id    UUID   NOT NULL,
    part        BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    outbox_n    BIGINT NOT NULL, -- the newest outbox row
    published_n BIGINT NOT NULL, -- the newest one that the log has flushed
    PRIMARY KEY (topic_id, part)
);

-- What is still to be published, in order, for each partition.
CREATE TABLE outbox (
    topic_id UUID   NOT NULL,
    part     BIGINT NOT NULL,
    n        BIGINT NOT NULL,
    topic    TEXT   NOT NULL, -- forward, feed or dead
    chat_id  UUID   NOT NULL,
    o        BIGINT,          -- the event whose frame it is, or null
    key      BYTEA,
    payload  BYTEA,
    PRIMARY KEY (topic_id, part, n)
);
