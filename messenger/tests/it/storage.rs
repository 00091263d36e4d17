//! A disk that does not keep what was written.

use std::{io::SeekFrom, path::Path, time::Duration};

use serde_json::json;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use crate::installation::Installation;

/// fault:F19: a write that fails for good ends the process with 1; it does not go on without its store.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_for_good_ends_the_process() {
    let here = Installation::new();
    assert!(here.run().stop().0.success());
    damage(&here.path("data"), "user", "account").await;
    let running = here.run();
    let person = json!({
        "username": "ann", "email": "ann@example.org", "password": "a-long-enough-password", "cookie": false,
    });
    assert_eq!(running.post("/api/register", &person, None).status, 500);
    let (status, log) = running.ended(Duration::from_secs(30));
    assert_eq!(status.code(), Some(1), "{log:?}");
    assert!(
        log.iter()
            .any(|line| line.contains("the store of user failed for good")),
        "{log:?}"
    );
}

/// Overwrites the page of the file at which `table` begins.
async fn damage(data: &Path, service: &str, table: &'static str) {
    let db = sql::open(
        &format!("sqlite:{}", data.display()),
        service,
        &sql::PoolConfig::default(),
    )
    .await
    .unwrap();
    let row = db
        .fetch_optional(
            "SELECT rootpage AS page, page_size AS size FROM sqlite_schema, pragma_page_size WHERE name = $1",
            sql::args![table],
        )
        .await
        .unwrap()
        .unwrap();
    let (page, size): (i64, i64) = (row.get("page").unwrap(), row.get("size").unwrap());
    db.close().await;
    let mut file = tokio::fs::File::options()
        .write(true)
        .open(data.join(format!("{service}.db")))
        .await
        .unwrap();
    let at = u64::try_from((page - 1) * size).unwrap();
    file.seek(SeekFrom::Start(at)).await.unwrap();
    file.write_all(&vec![0xff; usize::try_from(size).unwrap()])
        .await
        .unwrap();
    file.sync_all().await.unwrap();
}
