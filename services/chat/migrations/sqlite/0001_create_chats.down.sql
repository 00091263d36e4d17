DROP TABLE position;
DROP TABLE outbox;
DROP TABLE binding;
DROP TABLE member;
DROP TABLE chat;
