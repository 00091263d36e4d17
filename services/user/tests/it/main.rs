//! One suite of behaviour, run on the object itself and over gRPC, on both engines.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod suite;
mod surface;

use std::sync::Arc;

use contracts::user::UserClient;
use hyper_util::rt::TokioIo;
use kit::{ManualClock, Node, RandomIds};
use tonic::transport::{Channel, Endpoint, Server};

/// One way to reach the service.
struct World {
    name: String,
    user: UserClient,
    clock: Arc<ManualClock>,
    /// What a gRPC client without our port would use.
    channel: Option<Channel>,
    db: sql::testing::TestDb,
}

/// The service on each engine, itself and over gRPC, each with tables of its own.
async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for is_remote in [false, true] {
        for db in sql::testing::both("user", &user::MIGRATIONS).await {
            let clock = Arc::new(ManualClock::at(1_800_000_000_000));
            let deps = user::Deps {
                db: db.clone(),
                clock: clock.clone(),
                ids: Arc::new(RandomIds),
            };
            let local = user::build(deps, &mut Node::new());
            let channel = if is_remote {
                Some(serve(local.clone()).await)
            } else {
                None
            };
            let user = channel.clone().map_or(local, contracts::user::connect);
            let name = format!(
                "{} {}",
                db.engine(),
                if is_remote { "over gRPC" } else { "itself" }
            );
            worlds.push(World {
                name,
                user,
                clock,
                channel,
                db,
            });
        }
    }
    worlds
}

/// Serves the contract on one end of a pipe and connects to the other.
async fn serve(user: UserClient) -> Channel {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(server));
    let routes = contracts::user::serve(user).into_routes();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(incoming),
    );
    let mut client = Some(client);
    let connector = tower::service_fn(move |_| {
        let client = client
            .take()
            .ok_or_else(|| std::io::Error::other("there is one pipe"));
        async move { client.map(TokioIo::new) }
    });
    Endpoint::from_static("http://user")
        .connect_with_connector(connector)
        .await
        .unwrap()
}

/// Every step of the schema can be undone and taken again.
#[tokio::test]
async fn the_tables_go_and_come_back() {
    for db in sql::testing::both("user", &user::MIGRATIONS).await {
        let undone = sql::migrate_down(&db, &user::MIGRATIONS, 1).await.unwrap();
        let taken = sql::migrate_up(&db, &user::MIGRATIONS).await.unwrap();
        assert_eq!(undone, taken);
        assert_eq!(
            sql::schema_version(&db).await.unwrap(),
            user::MIGRATIONS.latest()
        );
    }
}
