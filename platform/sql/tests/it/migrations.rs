use std::time::Duration;

use sql::{
    Args, Db, Error, Migration, Migrations, migrate_down, migrate_up, schema_version, testing,
    wait_for,
};

use crate::{POSTGRES, SAMPLE, SQLITE, both, count, insert};

/// The first version of the program, before `0002_create_pair`.
fn older() -> Migrations {
    Migrations {
        sqlite: &SQLITE[..1],
        postgres: &POSTGRES[..1],
    }
}

/// A program whose first step says something else than it did when it was taken.
fn edited() -> Migrations {
    let edit = |steps: &[Migration]| -> &'static [Migration] {
        let mut steps = steps.to_vec();
        steps[0].up = "CREATE TABLE sample (id BIGINT)";
        steps.leak()
    };
    Migrations {
        sqlite: edit(SQLITE),
        postgres: edit(POSTGRES),
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Refused(text)) => text,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Shows row:G04 and row:G05: up on an empty store, down, up again; a repeat does nothing.
#[tokio::test]
async fn a_store_goes_up_and_down_and_up_and_a_repeat_does_nothing() {
    for db in both().await {
        assert_eq!(schema_version(&db).await.unwrap(), 2);
        assert!(migrate_up(&db, &SAMPLE).await.unwrap().is_empty());
        assert_eq!(
            migrate_down(&db, &SAMPLE, 1).await.unwrap(),
            ["0002_create_pair"]
        );
        assert_eq!(schema_version(&db).await.unwrap(), 1);
        assert_eq!(
            migrate_down(&db, &SAMPLE, 9).await.unwrap(),
            ["0001_create_sample"]
        );
        assert_eq!(schema_version(&db).await.unwrap(), 0);
        assert!(
            db.fetch_all("SELECT id FROM sample", Args::none())
                .await
                .is_err()
        );
        assert_eq!(
            migrate_up(&db, &SAMPLE).await.unwrap(),
            ["0001_create_sample", "0002_create_pair"]
        );
        assert_eq!(count(&db).await, 0);
    }
}

/// Shows row:G05: an old store with rows ends at the newest version and keeps them.
#[tokio::test]
async fn an_older_store_keeps_its_rows_on_the_way_up() {
    for db in testing::both("sample", &older()).await {
        let mut tx = db.write_tx().await.unwrap();
        insert(&mut tx, 1, "anna").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(
            migrate_up(&db, &SAMPLE).await.unwrap(),
            ["0002_create_pair"]
        );
        assert_eq!(
            (schema_version(&db).await.unwrap(), count(&db).await),
            (2, 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_migrators_at_once_one_works_and_the_other_finds_it_done() {
    let nothing = Migrations {
        sqlite: &[],
        postgres: &[],
    };
    for db in testing::both("sample", &nothing).await {
        let (first, second) = tokio::join!(migrate_up(&db, &SAMPLE), migrate_up(&db, &SAMPLE));
        let mut taken = [first.unwrap().len(), second.unwrap().len()];
        taken.sort_unstable();
        assert_eq!(taken, [0, 2], "{}", db.engine());
        assert_eq!(schema_version(&db).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_step_that_was_edited_after_it_was_taken_is_refused() {
    for db in both().await {
        let refused = refusal(migrate_up(&db, &edited()).await);
        assert!(
            refused.contains("0001_create_sample") && refused.contains("edited"),
            "{refused}"
        );
        refusal(migrate_down(&db, &edited(), 1).await);
        refusal(wait_for(&db, &edited(), Duration::from_secs(30)).await);
        assert_eq!(schema_version(&db).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_store_newer_than_the_program_is_refused_with_both_versions() {
    for db in both().await {
        for refused in [
            refusal(migrate_up(&db, &older()).await),
            refusal(migrate_down(&db, &older(), 1).await),
            refusal(wait_for(&db, &older(), Duration::from_secs(30)).await),
        ] {
            assert!(
                refused.contains("version 2") && refused.contains("knows 1"),
                "{refused}"
            );
        }
    }
}

#[tokio::test]
async fn who_waits_goes_on_as_soon_as_the_store_has_the_version() {
    for db in testing::both("sample", &older()).await {
        let refused = refusal(wait_for(&db, &SAMPLE, Duration::ZERO).await);
        assert!(
            refused.contains("version 1") && refused.contains("needs 2"),
            "{refused}"
        );
        let migrate = async |db: &Db| migrate_up(db, &SAMPLE).await;
        let (waited, migrated) = tokio::join!(
            wait_for(&db, &SAMPLE, Duration::from_secs(30)),
            migrate(&db)
        );
        waited.unwrap();
        migrated.unwrap();
    }
}

#[tokio::test]
async fn a_step_that_fails_leaves_the_store_as_it_was() {
    let broken = |steps: &[Migration]| -> &'static [Migration] {
        let bad = Migration {
            version: 3,
            name: "0003_bad",
            up: "CREATE TABLE third (id BIGINT); CREATE TABLE sample (id BIGINT);",
            down: "",
        };
        [steps, &[bad]].concat().leak()
    };
    let broken = Migrations {
        sqlite: broken(SQLITE),
        postgres: broken(POSTGRES),
    };
    for db in both().await {
        let error = migrate_up(&db, &broken).await.unwrap_err();
        assert!(format!("{error:?}").contains("0003_bad"), "{error:?}");
        assert_eq!(schema_version(&db).await.unwrap(), 2);
        assert!(
            db.fetch_all("SELECT id FROM third", Args::none())
                .await
                .is_err()
        );
        assert!(migrate_up(&db, &SAMPLE).await.unwrap().is_empty());
    }
}
