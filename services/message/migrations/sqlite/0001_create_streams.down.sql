DROP TABLE outbox;
DROP TABLE position;
DROP TABLE binding;
DROP TABLE member;
DROP TABLE event;
DROP TABLE stream;
