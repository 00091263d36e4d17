//! Who may open which file.

use crate::{Error, EventLog, OpenError};

use super::*;

/// fault:F12: one process at a time.
#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_closes() {
    let home = Home::new();
    let first = home.open().await;
    let refused = home.try_open().await.err().unwrap();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    assert!(refused.to_string().contains("in use") && !refused.to_string().contains('\n'));
    first.close().await;
    home.try_open().await.unwrap();
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_stays_as_it_was() {
    let home = Home::new();
    std::fs::write(home.path(), "these are my notes, ".repeat(20)).unwrap();
    let refused = home.try_open().await.err().unwrap();
    assert!(
        refused.to_string().contains("no SQLite database"),
        "{refused}"
    );

    std::fs::write(home.path(), "").unwrap();
    assert!(matches!(
        home.try_open().await,
        Err(OpenError::Foreign { .. })
    ));

    std::fs::remove_file(home.path()).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(home.path())
        .create_if_missing(true);
    let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query("CREATE TABLE diary (day TEXT)")
        .execute(&mut other)
        .await
        .unwrap();
    sqlx::Connection::close(other).await.unwrap();
    let before = std::fs::read(home.path()).unwrap();
    let refused = home.try_open().await.err().unwrap();
    assert!(
        refused.to_string().contains("another SQLite database"),
        "{refused}"
    );
    assert_eq!(std::fs::read(home.path()).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    let home = Home::new();
    home.open().await.close().await;
    let mut bytes = std::fs::read(home.path()).unwrap();
    bytes[63] = 9;
    std::fs::write(home.path(), bytes).unwrap();
    let refused = home.try_open().await.err().unwrap();
    assert!(refused.to_string().contains("version 9"), "{refused}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let home = Home::new();
    let path = home.folder.path().join("nowhere/log.db");
    let refused = open(&path, home.config.clone(), home.clock.clone())
        .await
        .err()
        .unwrap();
    assert!(refused.to_string().contains("nowhere"), "{refused}");
}

#[tokio::test]
async fn bounds_that_cannot_work_are_refused() {
    let mut home = Home::new();
    home.config.backlog_bytes = 1024;
    assert!(matches!(home.try_open().await, Err(OpenError::Config(_))));
}

#[tokio::test]
async fn after_the_close_nothing_is_taken() {
    let home = Home::new();
    let log = home.open().await;
    topic(&log, 1).await;
    log.append("topic", numbered(0..10, 10)).await.unwrap();
    log.close().await;
    assert!(matches!(
        log.append("topic", numbered(10..11, 10)).await,
        Err(Error::Unavailable(_))
    ));
    assert!(matches!(log.flush().await, Err(Error::Unavailable(_))));
    assert!(log.check().await.is_err());
    assert_eq!(
        numbers_in_order(&home.open().await).await,
        (0..10).collect::<Vec<_>>()
    );
}

/// The URL of a configuration leads here.
#[tokio::test]
async fn a_url_opens_the_embedded_log() {
    let home = Home::new();
    let url = format!("embedded:{}", home.path().display());
    let spawner = kit::Node::new().spawner();
    let log = crate::open(
        &url,
        home.config.clone(),
        home.clock.clone(),
        Arc::new(RandomIds),
        spawner,
    );
    let log = log.await.unwrap();
    log.ensure(&[TopicSpec {
        name: "topic".into(),
        partitions: 2,
    }])
    .await
    .unwrap();
    log.close().await;
}
