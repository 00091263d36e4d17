-- One row per binding: what the guards know of it, and whose call is open. Locked by whoever changes it.
CREATE TABLE thread (
    thread_id UUID NOT NULL PRIMARY KEY,
    chat_id   UUID NOT NULL,
    owner     UUID NOT NULL,
    mode      TEXT NOT NULL,
    state     TEXT NOT NULL,   -- pending, ready, failed, gone
    reason    TEXT,
    binding_o BIGINT NOT NULL, -- the newest event about the binding that was applied
    version   BIGINT NOT NULL, -- the newest decision about the binding that is known
    kernel    TEXT NOT NULL,   -- the state of the guards, as JSON
    due_ms    BIGINT,          -- when the guards want to be woken
    probe_ms  BIGINT,          -- when the provider is to be tried for this binding
    prober    TEXT,            -- the process that tried last
    tries     BIGINT NOT NULL,
    calling   UUID,            -- the run whose call is open; a thread has one at a time
    worker    TEXT,            -- who makes that call
    lease_ms  BIGINT           -- when that worker is given up
);

CREATE INDEX thread_owner ON thread (owner, chat_id);
CREATE INDEX thread_due ON thread (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX thread_probe ON thread (probe_ms) WHERE probe_ms IS NOT NULL;
CREATE INDEX thread_calling ON thread (lease_ms) WHERE calling IS NOT NULL;

-- One piece of work: an advice or a reply.
CREATE TABLE run (
    run_id     UUID NOT NULL PRIMARY KEY,
    thread_id  UUID NOT NULL,
    chat_id    UUID NOT NULL,
    owner      UUID NOT NULL,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL,
    trigger_o  BIGINT NOT NULL,
    question   TEXT,
    text       TEXT,
    why        TEXT,
    model      TEXT,
    at_ms      BIGINT,           -- when a visible delay ends
    approved   BOOLEAN NOT NULL,
    edited     BOOLEAN NOT NULL,
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL
);

-- One trigger and one binding make one reply at most.
CREATE UNIQUE INDEX run_trigger ON run (thread_id, trigger_o) WHERE kind = 'autoreply';
CREATE INDEX run_owner ON run (owner, created_ms);
CREATE INDEX run_queue ON run (created_ms) WHERE state = 'queued';
CREATE INDEX run_ended ON run (changed_ms) WHERE state IN ('done', 'failed', 'cancelled', 'superseded', 'blocked');

-- What an owner used up in one day (UTC, counted from 1970).
CREATE TABLE budget (
    owner  UUID    NOT NULL,
    day    BIGINT NOT NULL,
    calls  BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (owner, day)
);

-- Where a partition goes on. It moves in the transaction of its effects.
CREATE TABLE position (
    topic_id    UUID    NOT NULL,
    part        BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (topic_id, part)
);

-- What is still to be published. Rows go when the log has flushed them.
CREATE TABLE outbox (
    n          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker     TEXT   NOT NULL, -- who committed the row and publishes it first
    created_ms BIGINT NOT NULL,
    topic      TEXT   NOT NULL,
    key        BYTEA NOT NULL,
    payload    BYTEA NOT NULL
);
