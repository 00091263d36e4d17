DROP TABLE outbox;
DROP TABLE position;
DROP TABLE budget;
DROP TABLE run;
DROP TABLE thread;
