//! `user` runs elsewhere and goes away.

use std::{net::SocketAddr, time::Duration};

use kit::Node;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};

use super::{World, config, deps, door::password, worlds};

/// A process of its own, as far as sockets are concerned: when it goes, its connections go.
fn serve(user: contracts::user::UserClient, address: SocketAddr) -> (SocketAddr, Runtime) {
    let process = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    process.spawn(async move {
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
        Server::builder()
            .add_routes(contracts::user::serve(user).into_routes())
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
    (address, process)
}

/// row:A10: 503, not 401 and not 409, for as long as it lasts; then it works again without a restart. The refresh
/// token that was presented meanwhile is still good.
#[tokio::test]
async fn an_outage_is_told_as_one() {
    let worlds = worlds(&config()).await;
    tokio::join!(outage(&worlds[0]), outage(&worlds[1]));
}

async fn outage(world: &World) {
    let (address, process) = serve(world.user.clone(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    let remote = contracts::user::connect(channel);
    let mut node = Node::new();
    let remote_deps = deps(&world.auth_db, &world.clock, &remote, &world.cache);
    let auth = auth::build(&config(), remote_deps, &mut node)
        .await
        .unwrap();
    let door = world
        .door()
        .with_app(super::app(&auth, &remote, &world.cache, &world.clock, &node).1);
    let made = door.register("ann").await;
    assert_eq!(made.status, 201, "{} {made:?}", world.engine);

    process.shutdown_background();
    assert_eq!(
        door.login("ann", &password("ann")).await.code(),
        (503, "unavailable"),
        "{}",
        world.engine
    );
    assert_eq!(
        door.register("bob").await.code(),
        (503, "unavailable"),
        "{}",
        world.engine
    );
    assert_eq!(
        door.refresh(&made.refresh_token()).await.code(),
        (503, "unavailable"),
        "{}",
        world.engine
    );
    let token = made.text("access_token");
    assert_eq!(
        door.with(&token, "GET", "/api/sessions", None).await.status,
        200,
        "what needs no account goes on"
    );

    let (_, process) = serve(world.user.clone(), address);
    let recovered = tokio::time::timeout(Duration::from_secs(15), async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            let answer = door.refresh(&made.refresh_token()).await;
            match answer.status.as_u16() {
                200 => break,
                503 => {}
                other => panic!("{} {other}", world.engine),
            }
        }
    });
    recovered.await.expect("it recovers by itself");
    assert_eq!(
        door.login("ann", &password("ann")).await.status,
        200,
        "{}",
        world.engine
    );
    process.shutdown_background();
}
