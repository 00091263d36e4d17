//! Start, logs and stop.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::installation::Installation;

/// row:G12: SIGTERM ends an idle process at once, with 0, and its folder can be opened again.
#[test]
fn a_stop_signal_ends_the_process_and_leaves_everything_in_order() {
    let here = Installation::new();
    for _ in 0..2 {
        let running = here.run();
        assert_eq!(running.private_get("/readyz").0, 200);
        let (status, took, _) = running.stop();
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    assert!(
        here.prints(&["migrate", "up"])
            .lines()
            .all(|line| line.ends_with("nothing to do"))
    );
}

/// threat:T52: behind a proxy that is named in the settings limits count its clients; what others say counts for nothing.
#[test]
fn limits_count_the_clients_of_trusted_proxies() {
    let here = Installation::new();
    for (trusted, is_believed) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let running = here.run_with(&[("MESSENGER_HTTP__TRUSTED_PROXIES", trusted)]);
        let login = serde_json::json!({ "login": "nobody", "password": "wrong-password" });
        let statuses: Vec<_> = (0..6)
            .map(|n| {
                let client = format!("X-Forwarded-For: 198.51.100.{n}");
                running
                    .post_with("/api/login", &login, Some(&client))
                    .status
            })
            .collect();
        let last = if is_believed { 401 } else { 429 };
        assert_eq!((statuses[4], statuses[5]), (401, last), "{trusted}");
    }
}

/// row:G22: every line on standard output is a JSON object with time, level and message.
#[test]
fn every_line_of_the_log_is_json() {
    let here = Installation::new();
    let running = here.run();
    running.post(
        "/api/login",
        &serde_json::json!({ "login": "nobody", "password": "wrong-password" }),
        None,
    );
    let (_, _, log) = running.stop();
    assert!(log.len() >= 3, "{log:?}");
    for line in &log {
        let record: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "message", "target"] {
            assert!(record[field].is_string(), "{field}: {line}");
        }
        assert!(!line.contains("wrong-password"), "{line}");
    }
}

/// row:G05: on an empty folder and on one that was used before, the program finds or makes its tables by itself.
/// row:G14: and serves its metrics on the private listener.
#[test]
fn an_empty_folder_and_a_used_one_both_start() {
    let here = Installation::new();
    for _ in 0..2 {
        let running = here.run();
        let (status, metrics) = running.private_get("/metrics");
        assert!(status == 200 && metrics.contains("# TYPE"), "{metrics}");
        assert_eq!(running.private_get("/healthz").0, 200);
        assert_ne!(running.public(), "127.0.0.1:0");
        assert!(running.stop().0.success());
    }
}

/// row:C26: as many workers store messages as the well-known variable says.
#[test]
fn the_configured_number_of_workers_runs() {
    for (variables, workers) in [
        (&[][..], "message_persist_workers 1\n"),
        (
            &[("CHAT_MESSAGE_PERSIST_WORKER_COUNT", "3")],
            "message_persist_workers 3\n",
        ),
    ] {
        let here = Installation::new();
        let running = here.run_with(variables);
        let (_, metrics) = running.private_get("/metrics");
        assert!(metrics.contains(workers), "{workers}{metrics}");
    }
}

/// row:G23: the id of a request is in its answer and in the log, the client's own or one of ours.
#[test]
fn a_request_is_found_in_the_log_by_its_id() {
    let here = Installation::new();
    let running = here.run_with(&[("MESSENGER_LOG_FILTER", "info,kit=debug")]);
    let answer = running.post("/api/login", &serde_json::json!({}), None);
    let id = answer.json()["request_id"].as_str().unwrap().to_owned();
    assert!(
        answer.text.contains(&format!("x-request-id: {id}")),
        "{}",
        answer.text
    );
    let (_, _, log) = running.stop();
    let lines: Vec<_> = log.iter().filter(|line| line.contains(&id)).collect();
    assert!(!lines.is_empty(), "{id}: {log:?}");
    assert!(
        lines.iter().any(|line| line.contains("/api/login")),
        "{lines:?}"
    );
}

/// threat:T13: what people wrote is for the owner of the process alone.
#[test]
fn the_data_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let here = Installation::new();
    let running = here.run_with(&[
        ("MESSENGER_DATA", "deep/data"),
        ("MESSENGER_LOG", "embedded:other/log.db"),
    ]);
    let folder = here.path("deep/data");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for folder in [&folder, &here.path("deep"), &here.path("other")] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    let entries = std::fs::read_dir(&folder).unwrap();
    let files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 8, "{files:?}");
    for file in files {
        assert_eq!(mode(&file) & 0o077, 0, "{}", file.display());
    }
    drop(running);
}

/// row:G12: a stop does not wait for work that nobody waits for any more.
#[test]
fn a_hash_whose_caller_is_gone_does_not_hold_up_the_end() {
    let here = Installation::new();
    let running = here.run();
    let body = serde_json::json!({
        "username": "ann", "email": "ann@example.org", "password": "a-long-enough-password", "cookie": false,
    });
    assert_eq!(running.post("/api/register", &body, None).status, 201);
    assert!(running.stop().0.success());
    // To check this hash takes half a minute at least.
    make_hashes_slow(&here.path("data"));

    let running = here.run();
    let login = serde_json::json!({ "login": "ann", "password": "a-long-enough-password" });
    let asked = running.begin_post("/api/login", &login);
    let deadline = Instant::now() + Duration::from_secs(30);
    let has_begun = "auth_password_wait_seconds_count 1";
    while !running.private_get("/metrics").1.contains(has_begun) {
        assert!(Instant::now() < deadline, "the hash does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(asked);
    let (status, took, log) = running.stop();
    assert_eq!(status.code(), Some(0));
    assert!(log.last().unwrap().contains("stopped"), "{log:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

fn make_hashes_slow(data: &Path) {
    let url = format!("sqlite:{}", data.display());
    let change = async {
        let db = sql::open(&url, "user", &sql::PoolConfig::default())
            .await
            .unwrap();
        let mut tx = db.write_tx().await.unwrap();
        let sql = "UPDATE account SET password_hash = replace(password_hash, 't=2,', 't=5000,')";
        assert_eq!(tx.execute(sql, sql::args![]).await.unwrap(), 1);
        tx.commit().await.unwrap();
        db.close().await;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(change);
}
