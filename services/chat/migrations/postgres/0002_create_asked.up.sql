-- What was asked of the AI, so that one key names one question.
CREATE TABLE asked (
    run_id   UUID   NOT NULL PRIMARY KEY,
    intent   BIGINT NOT NULL, -- the first bytes of a digest of the question
    asked_ms BIGINT NOT NULL
);

CREATE INDEX asked_when ON asked (asked_ms);
