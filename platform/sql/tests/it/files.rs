use std::{fs, path::Path};

use kit::{Code, Fault};
use sql::{Args, Db, Error, PoolConfig, args, testing};

use crate::{SAMPLE, count, insert};

async fn open(folder: &Path) -> Result<Db, Error> {
    sql::open(
        &format!("sqlite:{}", folder.display()),
        "sample",
        &PoolConfig::default(),
    )
    .await
}

fn refusal(result: Result<Db, Error>) -> String {
    match result {
        Err(Error::Refused(text)) => {
            assert!(!text.contains('\n'), "one line for people: {text}");
            text
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn a_store_is_there_again_after_it_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("new/data");
    let db = open(&inside).await.unwrap();
    sql::migrate_up(&db, &SAMPLE).await.unwrap();
    let mut tx = db.write_tx().await.unwrap();
    insert(&mut tx, 1, "anna").await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    assert!(matches!(db.write_tx().await, Err(Error::Unavailable(_))));
    let again = open(&inside).await.unwrap();
    assert_eq!(count(&again).await, 1);
}

#[tokio::test]
async fn a_second_process_cannot_open_a_store_that_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).await.unwrap();
    assert!(refusal(open(folder.path()).await).contains("in use by another running messenger"));
    first.check().await.unwrap();
    first.close().await;
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.db");
    let text = "dear diary, ".repeat(1000);
    fs::write(&path, &text).unwrap();
    assert!(refusal(open(folder.path()).await).contains("sample.db is not a store of messenger"));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let mut other = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options)
        .await
        .unwrap();
    sqlx::raw_sql("CREATE TABLE theirs (id INTEGER)")
        .execute(&mut other)
        .await
        .unwrap();
    sqlx::Connection::close(other).await.unwrap();
    let before = fs::read(&path).unwrap();
    assert!(refusal(open(folder.path()).await).contains("not a store of messenger"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_or_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = refusal(open(&file.join("data")).await);
    assert!(
        refused.contains("cannot make the folder") && refused.contains("file/data"),
        "{refused}"
    );
    // A folder in which no file can be made, whoever asks.
    let refused = refusal(open(Path::new("/proc/self")).await);
    assert!(refused.contains("/proc/self is not writable"), "{refused}");
}

#[tokio::test]
async fn an_address_without_a_folder_or_with_another_scheme_is_refused_without_repeating_it() {
    for url in [
        "sqlite:",
        "sqlite::memory:",
        "mysql://root:secret@host/db",
        "postgres://root:secret@host:port/db",
        "",
    ] {
        let refused = refusal(sql::open(url, "sample", &PoolConfig::default()).await);
        assert!(!refused.contains("secret"), "{refused}");
    }
    for name in ["", "../etc", "a b", "a\"b"] {
        refusal(sql::open("sqlite:/tmp", name, &PoolConfig::default()).await);
    }
}

/// Shows row:G11: a store whose file is gone or was replaced is not ready.
#[tokio::test]
async fn a_store_whose_file_is_gone_does_not_count_as_well() {
    let db = testing::sqlite("sample", &SAMPLE).await;
    db.check().await.unwrap();
    let row = db
        .fetch_optional("PRAGMA database_list", Args::none())
        .await
        .unwrap()
        .unwrap();
    let path: String = row.get("file").unwrap();
    fs::rename(&path, format!("{path}.moved")).unwrap();
    assert!(matches!(db.check().await, Err(Error::Unavailable(_))));
    fs::write(&path, "").unwrap();
    assert!(
        matches!(db.check().await, Err(Error::Unavailable(_))),
        "another file has the name"
    );
    fs::rename(format!("{path}.moved"), &path).unwrap();
    db.check().await.unwrap();
}

/// Shows fault:F18: no room is `storage_full`, reads go on, and writes do when there is room again.
#[tokio::test]
async fn a_full_storage_is_told_apart_and_heals_without_a_restart() {
    let db = testing::sqlite("sample", &SAMPLE).await;
    let mut tx = db.write_tx().await.unwrap();
    insert(&mut tx, 1, "anna").await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = db.write_tx().await.unwrap();
    tx.fetch_all("PRAGMA max_page_count = 1", Args::none())
        .await
        .unwrap();
    let big = vec![7_u8; 1 << 20];
    let error = tx
        .execute(
            "INSERT INTO sample (id, body) VALUES ($1, $2)",
            args![2_i64, big.clone()],
        )
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Full(_)), "{error:?}");
    assert!(error.is_retryable() && !error.is_fatal());
    let fault = Fault::from(error);
    assert!(fault.is(Code::Unavailable) && fault.word() == "storage_full");
    drop(tx);
    assert_eq!(count(&db).await, 1);
    db.check().await.unwrap();

    let mut tx = db.write_tx().await.unwrap();
    tx.fetch_all("PRAGMA max_page_count = 1000000", Args::none())
        .await
        .unwrap();
    tx.execute(
        "INSERT INTO sample (id, body) VALUES ($1, $2)",
        args![2_i64, big],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&db).await, 2);
}

/// fault:F19: after a write that failed for good the store takes no more of them and tells whoever can stop the process.
#[tokio::test]
async fn a_write_that_failed_for_good_is_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path()).await.unwrap();
    sql::migrate_up(&db, &SAMPLE).await.unwrap();
    let query = "SELECT rootpage AS page, page_size AS size FROM sqlite_schema, pragma_page_size WHERE name = 'sample'";
    let row = db.fetch_optional(query, Args::none()).await.unwrap();
    let row = row.unwrap();
    let (page, size): (i64, i64) = (row.get("page").unwrap(), row.get("size").unwrap());
    db.close().await;
    let path = folder.path().join("sample.db");
    let mut file = fs::read(&path).unwrap();
    let start = usize::try_from((page - 1) * size).unwrap();
    file[start..start + usize::try_from(size).unwrap()].fill(0xff);
    fs::write(&path, file).unwrap();

    let db = open(folder.path()).await.unwrap();
    let mut tx = db.write_tx().await.unwrap();
    let error = insert(&mut tx, 1, "anna").await.unwrap_err();
    assert!(error.is_fatal(), "{error:?}");
    drop(tx);
    tokio::time::timeout(std::time::Duration::from_secs(5), db.broken())
        .await
        .expect("it is told");
    assert!(matches!(db.write_tx().await, Err(Error::Fatal(_))));
    assert!(matches!(db.check().await, Err(Error::Fatal(_))));
}
