//! The store on both engines, for real: what one does, the other does.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that calls them"
)]

mod bulk;
mod files;
mod migrations;
mod servers;
mod transactions;
mod transfer;
mod values;

use sql::{Args, Db, Migration, Migrations, Tx, args, testing};

const SQLITE: &[Migration] = &[
    Migration {
        version: 1,
        name: "0001_create_sample",
        up: "CREATE TABLE sample (id INTEGER NOT NULL PRIMARY KEY, flag INTEGER, name TEXT UNIQUE, body BLOB, key BLOB) STRICT;
             CREATE TABLE counter (id INTEGER NOT NULL PRIMARY KEY, n INTEGER NOT NULL) STRICT;
             CREATE TABLE entry (n INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, word TEXT NOT NULL) STRICT;
             INSERT INTO counter (id, n) VALUES (1, 0);",
        down: "DROP TABLE entry; DROP TABLE counter; DROP TABLE sample;",
    },
    Migration {
        version: 2,
        name: "0002_create_pair",
        up: "CREATE TABLE pair (a INTEGER NOT NULL, b INTEGER NOT NULL, UNIQUE (a, b), FOREIGN KEY (a) REFERENCES sample (id)) STRICT",
        down: "DROP TABLE pair",
    },
];

const POSTGRES: &[Migration] = &[
    Migration {
        version: 1,
        name: "0001_create_sample",
        up: "CREATE TABLE sample (id BIGINT NOT NULL PRIMARY KEY, flag BOOLEAN, name TEXT UNIQUE, body BYTEA, key UUID);
             CREATE TABLE counter (id BIGINT NOT NULL PRIMARY KEY, n BIGINT NOT NULL);
             CREATE TABLE entry (n BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word TEXT NOT NULL);
             INSERT INTO counter (id, n) VALUES (1, 0);",
        down: "DROP TABLE entry; DROP TABLE counter; DROP TABLE sample;",
    },
    Migration {
        version: 2,
        name: "0002_create_pair",
        up: "CREATE TABLE pair (a BIGINT NOT NULL REFERENCES sample (id), b BIGINT NOT NULL, UNIQUE (a, b))",
        down: "DROP TABLE pair",
    },
];

const SAMPLE: Migrations = Migrations {
    sqlite: SQLITE,
    postgres: POSTGRES,
};

/// A store of each engine with the tables above.
async fn both() -> Vec<testing::TestDb> {
    testing::both("sample", &SAMPLE).await
}

async fn insert(tx: &mut Tx, id: i64, name: &str) -> Result<u64, sql::Error> {
    tx.execute(
        "INSERT INTO sample (id, name) VALUES ($1, $2)",
        args![id, name],
    )
    .await
}

async fn count(db: &Db) -> i64 {
    let row = db
        .fetch_optional("SELECT COUNT(*) AS n FROM sample", Args::none())
        .await
        .unwrap();
    row.unwrap().get("n").unwrap()
}
