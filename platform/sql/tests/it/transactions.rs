use std::time::Duration;

use kit::{Code, Fault};
use sql::{Args, Db, Engine, Error, args};
use tokio::task::JoinSet;

use crate::{both, count, insert};

#[tokio::test]
async fn a_second_row_with_a_unique_value_is_a_conflict_of_that_rule() {
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        insert(&mut tx, 1, "anna").await.unwrap();
        tx.commit().await.unwrap();
        for (id, name, rule) in [(2, "anna", "sample_name_key"), (1, "ben", "sample_pkey")] {
            let mut tx = db.write_tx().await.unwrap();
            let error = insert(&mut tx, id, name).await.unwrap_err();
            assert!(
                matches!(&error, Error::Conflict { constraint: Some(found) } if found == rule),
                "{}: {error:?}",
                db.engine()
            );
            assert!(!error.is_retryable());
            assert!(Fault::from(error).is(Code::Conflict));
        }
        assert_eq!(count(&db).await, 1);
    }
}

#[tokio::test]
async fn a_row_that_points_at_nothing_is_refused_on_both_engines() {
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        let error = tx
            .execute("INSERT INTO pair (a, b) VALUES ($1, $1)", args![1_i64])
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Values(_)),
            "{}: {error:?}",
            db.engine()
        );
    }
}

#[tokio::test]
async fn nothing_runs_in_a_transaction_after_its_first_error() {
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        insert(&mut tx, 1, "anna").await.unwrap();
        insert(&mut tx, 1, "anna").await.unwrap_err();
        assert!(insert(&mut tx, 2, "ben").await.is_err());
        assert!(
            tx.fetch_all("SELECT id FROM sample", Args::none())
                .await
                .is_err()
        );
        assert!(tx.commit().await.is_err());
        assert_eq!(count(&db).await, 0, "{}", db.engine());
        let mut tx = db.write_tx().await.unwrap();
        insert(&mut tx, 2, "ben").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count(&db).await, 1);
    }
}

#[tokio::test]
async fn a_dropped_transaction_is_undone_before_the_next_one_begins() {
    for db in both().await {
        for round in 0..20 {
            let mut tx = db.write_tx().await.unwrap();
            insert(&mut tx, 1, "anna")
                .await
                .unwrap_or_else(|error| panic!("{} {round}: {error:?}", db.engine()));
            drop(tx);
        }
        assert_eq!(count(&db).await, 0, "{}", db.engine());
    }
}

#[tokio::test]
async fn a_statement_whose_future_is_dropped_half_way_ends_its_transaction() {
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        insert(&mut tx, 1, "anna").await.unwrap();
        let slow = match db.engine() {
            Engine::Postgres => "SELECT CAST(pg_sleep(1) AS TEXT) AS n",
            Engine::Sqlite => {
                "WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 3000000) SELECT MAX(n) AS n FROM count"
            }
        };
        let cut =
            tokio::time::timeout(Duration::from_millis(20), tx.fetch_all(slow, Args::none())).await;
        assert!(cut.is_err(), "the statement was meant to be slow");
        assert!(tx.commit().await.is_err());
        let mut tx = db.write_tx().await.unwrap();
        insert(&mut tx, 1, "anna").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count(&db).await, 1);
    }
}

async fn increment(db: Db) -> Result<(), Error> {
    let mut tx = db.write_tx().await?;
    let lock = match tx.engine() {
        Engine::Postgres => "SELECT n FROM counter WHERE id = 1 FOR UPDATE",
        Engine::Sqlite => "SELECT n FROM counter WHERE id = 1",
    };
    let n: i64 = tx
        .fetch_optional(lock, Args::none())
        .await?
        .expect("the row is there")
        .get("n")?;
    tx.execute("UPDATE counter SET n = $1 WHERE id = 1", args![n + 1])
        .await?;
    tx.commit().await
}

/// Shows fault:F12 and fault:F15 for the embedded store: one writer, nobody fails, nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_writers_at_once_lose_no_increment() {
    for db in both().await {
        let mut writers = JoinSet::new();
        for _ in 0..100 {
            writers.spawn(increment(db.clone()));
        }
        for result in writers.join_all().await {
            result.unwrap_or_else(|error| panic!("{}: {error:?}", db.engine()));
        }
        let row = db
            .fetch_optional("SELECT n FROM counter", Args::none())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.get::<i64>("n").unwrap(), 100, "{}", db.engine());
    }
}

#[tokio::test]
async fn a_reading_transaction_sees_one_state_while_others_write() {
    for db in both().await {
        let mut reader = db.read_tx().await.unwrap();
        let sql = "SELECT COUNT(*) AS n FROM sample";
        let before: i64 = reader
            .fetch_optional(sql, Args::none())
            .await
            .unwrap()
            .unwrap()
            .get("n")
            .unwrap();
        let mut tx = db.write_tx().await.unwrap();
        insert(&mut tx, 1, "anna").await.unwrap();
        tx.commit().await.unwrap();
        let after: i64 = reader
            .fetch_optional(sql, Args::none())
            .await
            .unwrap()
            .unwrap()
            .get("n")
            .unwrap();
        assert_eq!((before, after), (0, 0), "{}", db.engine());
        reader.commit().await.unwrap();
        assert_eq!(count(&db).await, 1);
    }
}

#[tokio::test]
async fn a_reading_transaction_cannot_write() {
    for db in both().await {
        let mut reader = db.read_tx().await.unwrap();
        insert(&mut reader, 1, "anna").await.unwrap_err();
        drop(reader);
        assert_eq!(count(&db).await, 0, "{}", db.engine());
    }
}
