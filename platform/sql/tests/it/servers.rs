use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use kit::{Code, Fault};
use sql::{Args, Db, Error, PoolConfig, args, testing};

use crate::{SAMPLE, count, insert};

fn impatient() -> PoolConfig {
    PoolConfig {
        acquire_timeout: Duration::from_millis(300),
        ..PoolConfig::default()
    }
}

/// Shows row:G11: the process starts without its database and says so.
#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_not_a_reason_to_fail_at_start() {
    // A port that was free a moment ago refuses connections.
    let free = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let url = format!("postgres://nobody@127.0.0.1:{port}/nothing");
    let db = sql::open(&url, "sample", &impatient()).await.unwrap();
    let error = db.check().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(Fault::from(error).is(Code::Unavailable));
    let waited = sql::wait_for(&db, &SAMPLE, Duration::from_millis(400)).await;
    assert!(matches!(waited, Err(Error::Unavailable(_))), "{waited:?}");
}

/// row:F10: while the server is away calls soon fail at once, and when it is back one goes through and closes the breaker.
#[tokio::test]
async fn the_breaker_opens_when_the_server_is_away_and_closes_when_it_is_back() {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let real = testing::database_url();
    let place = real.split(['@', '/']).nth(3).unwrap().to_owned();
    let url = real.replace(&place, &address.to_string());
    let db = sql::open(&url, "breaker", &impatient()).await.unwrap();
    let state = || gauge("breaker_open{name=\"postgres:breaker\"}");
    assert_eq!(state(), "0");
    for _ in 0..5 {
        assert!(matches!(db.check().await, Err(Error::Unavailable(_))));
    }
    assert_eq!(state(), "1");
    let started = Instant::now();
    for _ in 0..100 {
        let refused = Fault::from(db.write_tx().await.map(drop).unwrap_err());
        assert!(refused.is(Code::Unavailable));
    }
    assert!(started.elapsed() < Duration::from_millis(200));

    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let forwarding = async {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(&place).await.unwrap();
            // The store has one connection at a time here.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
    };
    let healing = async {
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(error) = db.check().await {
            assert!(Instant::now() < deadline, "{error:?}");
            tokio::task::yield_now().await;
        }
        assert_eq!(state(), "0");
    };
    tokio::select! {
        () = forwarding => {}
        () = healing => {}
    }
}

/// The value of a gauge, as Prometheus would read it.
fn gauge(name: &str) -> String {
    let page = kit::telemetry::metrics().render();
    let line = page.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value
        .unwrap_or_else(|| panic!("no {name}"))
        .parse()
        .unwrap()
}

/// A server that accepts and never answers, as one that is stopped or behind a broken network.
#[tokio::test]
async fn a_server_that_hangs_is_unavailable_within_the_time_limit() {
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let url = format!("postgres://nobody@{}/nothing", silent.local_addr().unwrap());
    let db = sql::open(&url, "sample", &impatient()).await.unwrap();
    let started = Instant::now();
    assert!(matches!(db.write_tx().await, Err(Error::Unavailable(_))));
    assert!(started.elapsed() < Duration::from_secs(3));
}

/// Shows row:F12: there are never more sessions than configured; who finds none free is told so.
#[tokio::test]
async fn the_configured_number_of_connections_is_the_limit() {
    let config = PoolConfig {
        max_connections: 2,
        ..impatient()
    };
    let db = sql::open(&testing::database_url(), "sample", &config)
        .await
        .unwrap();
    let first = db.write_tx().await.unwrap();
    let second = db.read_tx().await.unwrap();
    assert!(matches!(db.write_tx().await, Err(Error::Unavailable(_))));
    drop(first);
    let third = db.write_tx().await.unwrap();
    drop((second, third));
    db.close().await;
}

async fn end_all_sessions(db: &Db) {
    let sql = "SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
               WHERE pid <> pg_backend_pid() AND application_name LIKE 'messenger test_cutoff_%'";
    db.fetch_all(sql, Args::none()).await.unwrap();
}

/// Shows row:C17 for the store: a cut connection is an error that may be retried, and the next attempts succeed.
#[tokio::test]
async fn a_store_heals_after_its_connections_were_cut() {
    let db = testing::postgres("cutoff", &SAMPLE).await;
    let other = testing::postgres("other", &SAMPLE).await;
    let mut tx = db.write_tx().await.unwrap();
    insert(&mut tx, 1, "anna").await.unwrap();
    end_all_sessions(&other).await;
    let error = insert(&mut tx, 2, "ben").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    drop(tx);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match db.write_tx().await {
            Ok(mut tx) => {
                insert(&mut tx, 1, "anna").await.unwrap();
                tx.commit().await.unwrap();
                break;
            }
            Err(error) => assert!(
                error.is_retryable() && Instant::now() < deadline,
                "{error:?}"
            ),
        }
    }
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn a_deadlock_is_busy_for_one_and_success_for_the_other() {
    let db = testing::postgres("sample", &SAMPLE).await;
    let mut tx = db.write_tx().await.unwrap();
    insert(&mut tx, 1, "anna").await.unwrap();
    insert(&mut tx, 2, "ben").await.unwrap();
    tx.commit().await.unwrap();
    let update = "UPDATE sample SET flag = TRUE WHERE id = $1";
    let (mut one, mut two) = (db.write_tx().await.unwrap(), db.write_tx().await.unwrap());
    one.execute(update, args![1_i64]).await.unwrap();
    two.execute(update, args![2_i64]).await.unwrap();
    // Who loses gives its locks back at once, by being dropped.
    let cross = async |mut tx: sql::Tx, id: i64| match tx.execute(update, args![id]).await {
        Ok(_) => tx.commit().await,
        Err(error) => Err(error),
    };
    let (one, two) = tokio::join!(cross(one, 2), cross(two, 1));
    let failed = [one.err(), two.err()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    assert_eq!(failed.len(), 1);
    assert!(
        matches!(&failed[0], Error::Busy(_)) && failed[0].is_retryable(),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_statement_over_its_time_limit_is_cut_off_by_the_server() {
    let config = PoolConfig {
        statement_timeout: Duration::from_millis(100),
        ..PoolConfig::default()
    };
    let db = sql::open(&testing::database_url(), "sample", &config)
        .await
        .unwrap();
    let cut = db
        .fetch_all("SELECT CAST(pg_sleep(20) AS TEXT) AS n", Args::none())
        .await;
    assert!(matches!(cut, Err(Error::Busy(_))));
    db.check().await.unwrap();
    db.close().await;
}
