//! gRPC as somebody meets it who runs beside the program; what every rpc answers is asked by e2e/foreign.

use std::net::SocketAddr;

use contracts::r#gen::{
    message::{
        SendMessageRequest, Stored, message_service_client::MessageServiceClient,
        send_message_request::To,
    },
    user::{GetUserByIdRequest, RegisterUserRequest, user_service_client::UserServiceClient},
};
use e2e::{Cluster, Engine, Person, SECRET, World, key, message_of};
use tonic::{Code, Request, Status, transport::Channel};

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// A request of somebody who knows the secret.
fn ours<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let secret = format!("Bearer {SECRET}").parse().unwrap();
    request.metadata_mut().insert("authorization", secret);
    request
}

/// row:C09: a message that is sent over gRPC reaches the receiver's socket; who is unknown and what is no id are told apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_grpc_reaches_a_socket() {
    let world = World::start(Engine::Split).await;
    let (ann, bob, eve) = tokio::join!(
        Person::register(&world, "ann"),
        Person::register(&world, "bob"),
        Person::register(&world, "eve")
    );
    let chat = ann.chat_with(&bob).await;
    let mut at_bob = bob.connect().await;
    at_bob.watch(&chat).await;
    let client = MessageServiceClient::new(channel(world.rpc("message", 1)).await);
    let send = async |to: &str| -> Result<Stored, Status> {
        let request = SendMessageRequest {
            author_id: ann.id.clone(),
            to: Some(To::UserId(to.to_owned())),
            key: key(),
            text: "over gRPC".to_owned(),
            ..SendMessageRequest::default()
        };
        let answer = client.clone().send_message(ours(request)).await;
        answer.map(tonic::Response::into_inner)
    };
    let stored = send(&bob.id).await.unwrap();
    let heard = message_of(&at_bob.message().await);
    assert_eq!(
        (heard.id.to_string(), heard.ts),
        (stored.message_id, stored.ts)
    );
    assert_eq!((heard.seq, heard.o), (stored.seq, stored.o));
    assert_eq!(
        (heard.author.to_string(), heard.text.as_str()),
        (ann.id.clone(), "over gRPC")
    );
    assert_eq!(bob.texts(&chat).await, ["over gRPC"]);
    for (to, code) in [
        (&*eve.id, Code::NotFound),
        (&*key(), Code::NotFound),
        ("bob", Code::InvalidArgument),
    ] {
        assert_eq!(send(to).await.unwrap_err().code(), code, "{to}");
    }
    world.stop().await;
}

/// row:F08: a method that panics is `Internal` and says no more; the next call, the other doors and the process live on.
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_panics_is_internal_and_the_process_lives() {
    let mut cluster = Cluster::prepare(Engine::Embedded, |_| {}).await;
    cluster.set("MESSENGER_RPC__SECRET", SECRET);
    cluster.run(cluster.all(), Some("rpc.call!2")).await;
    let mut users = UserServiceClient::new(channel(cluster.config.rpc.listen).await);
    let username = format!("ann-{}", &key()[24..]);
    let made = users
        .register_user(ours(RegisterUserRequest { username }))
        .await;
    let made = made.unwrap().into_inner();
    let mut read = async || {
        let id = made.id.clone();
        users.get_user_by_id(ours(GetUserByIdRequest { id })).await
    };
    let status = read().await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("fail-point"), "{status}");
    assert_eq!(read().await.unwrap().into_inner(), made);
    assert_eq!(
        e2e::metric(cluster.private(), "rpc_panics_total", "")
            .await
            .to_string(),
        "1"
    );
    Person::register_at(cluster.public(), "bob").await;
    cluster.stop(cluster.all()).await;
}
