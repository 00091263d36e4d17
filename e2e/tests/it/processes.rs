//! Every service apart, some of them twice: what only then can be seen.

use std::time::{Duration, Instant};

use contracts::r#gen::messenger::auth::v1::{
    ValidateTokenRequest, auth_service_client::AuthServiceClient,
};
use e2e::{Cluster, Engine, Line, Person, Proxy, SECRET, World, eventually, key, message_of};
use serde_json::{Value, json};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

async fn channel(address: std::net::SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// row:A06, row:A19, row:F05: every process tells anybody over gRPC whether it is well, and answers nothing else to those who
/// do not know the secret.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_nothing_but_health() {
    let world = World::start(Engine::Split).await;
    let ann = Person::register(&world, "ann").await;
    for (service, _) in world.services() {
        let health = HealthClient::new(channel(world.rpc(service, 0)).await);
        eventually("it says that it serves", async || {
            let answer = health.clone().check(HealthCheckRequest::default()).await;
            answer.unwrap().into_inner().status == i32::from(ServingStatus::Serving)
        })
        .await;
    }
    let mut auth = AuthServiceClient::new(channel(world.rpc("auth", 0)).await);
    let token = ValidateTokenRequest {
        token: ann.token.clone(),
    };
    let refused = auth.validate_token(token.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut request = Request::new(token);
    let secret = format!("Bearer {SECRET}").parse().unwrap();
    request.metadata_mut().insert("authorization", secret);
    let answer = auth.validate_token(request).await.unwrap().into_inner();
    assert_eq!(
        (answer.user_id, answer.username),
        (ann.id.clone(), ann.name.clone())
    );
    world.stop().await;
}

/// row:D08, row:G08, row:E15: people at different gateways hear each other, and a person hears on both what concerns them.
#[tokio::test(flavor = "multi_thread")]
async fn people_at_two_gateways_hear_each_other() {
    let world = World::start(Engine::Split).await;
    let (mut ann, mut bob) = tokio::join!(
        Person::register(&world, "ann"),
        Person::register(&world, "bob")
    );
    let chat = ann.chat_with(&bob).await;
    (ann.server, bob.server) = (world.http("ws-gateway", 0), world.http("ws-gateway", 1));
    let (mut at_ann, mut at_bob) = tokio::join!(ann.connect(), bob.connect());
    at_ann.watch(&chat).await;
    at_bob.watch(&chat).await;
    for n in 0..20 {
        let (from, to, text) = if n % 2 == 0 {
            (&mut at_ann, &mut at_bob, format!("ann {n}"))
        } else {
            (&mut at_bob, &mut at_ann, format!("bob {n}"))
        };
        let send = json!({ "chat": chat, "key": key(), "text": text });
        from.command("msg.send", send).await;
        loop {
            let heard = to.message().await;
            if message_of(&heard).text == text {
                break;
            }
        }
    }
    // Whichever process is asked answers for all of them.
    assert_eq!(ann.texts(&chat).await.len(), 20);
    world.stop().await;
}

/// row:A08: what one address may do in a minute is the same, however many instances it asks in turn.
#[tokio::test(flavor = "multi_thread")]
async fn limits_of_an_address_hold_across_instances() {
    let world = World::start(Engine::Split).await;
    let http = e2e::client();
    let ask = async |n: usize, path: &str, body: Value| {
        let server = world.http("auth", n % 2);
        let request = http.post(format!("http://{server}{path}")).json(&body);
        let answer = request.send().await.unwrap();
        let waits = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), waits)
    };
    let name = format!("many-{}", &key()[24..]);
    for n in 0..4 {
        let body = json!({ "username": format!("{name}{n}"), "email": format!("{name}{n}@example.org"), "password": "long enough 1" });
        let wanted = if n < 3 { (201, false) } else { (429, true) };
        assert_eq!(
            ask(n, "/api/register", body).await,
            wanted,
            "registration {n}"
        );
    }
    for n in 0..6 {
        let body = json!({ "login": format!("{name}0"), "password": "wrong password" });
        let wanted = if n < 5 { (401, false) } else { (429, true) };
        assert_eq!(ask(n, "/api/login", body).await, wanted, "login {n}");
    }
    world.stop().await;
}

/// row:G30: people connect, one sends, it is stored once, each device of everybody in the chat has an event of it, pushed, whichever
/// gateway it is at and whether it watches the chat or not; nobody else has one.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_and_pushed_to_every_recipient() {
    let world = World::start(Engine::Split).await;
    let (ann, mut bob, eve) = tokio::join!(
        Person::register(&world, "ann"),
        Person::register(&world, "bob"),
        Person::register(&world, "eve")
    );
    let chat = ann.chat_with(&bob).await;
    let (mut laptop, mut elsewhere) = (ann.another_device().await, bob.another_device().await);
    (laptop.server, bob.server) = (world.http("ws-gateway", 1), world.http("ws-gateway", 0));
    elsewhere.server = world.http("ws-gateway", 1);
    let (mut sender, mut others) = (
        ann.connect().await,
        [laptop.connect().await, bob.connect().await],
    );
    let (mut hinted, mut stranger) = (elsewhere.connect().await, eve.connect().await);
    for socket in &mut others {
        socket.watch(&chat).await;
    }
    let stored = sender.say(&chat, "once").await;
    for socket in &mut others {
        let heard = socket.message().await;
        let message = message_of(&heard);
        assert_eq!(
            (&heard["d"]["id"], &heard["o"]),
            (&stored["msg"], &stored["o"])
        );
        assert_eq!(
            (message.text.as_str(), message.author.to_string()),
            ("once", ann.id.clone())
        );
    }
    // The chat itself may be the first hint.
    hinted
        .wait(|frame| {
            frame["t"] == "chat.hint"
                && (&frame["d"]["chat"], &frame["d"]["o"]) == (&json!(chat), &stored["o"])
        })
        .await;
    let rows = format!(
        "SELECT count(*) FROM message.event WHERE id = '{}'",
        stored["msg"].as_str().unwrap()
    );
    assert_eq!(e2e::psql(&world.config.sql, &rows).await, "1");
    assert_eq!(bob.texts(&chat).await, ["once"]);
    let leaked = stranger.during(Duration::from_millis(300)).await;
    assert!(
        leaked
            .iter()
            .all(|frame| !frame.to_string().contains(&chat)),
        "{leaked:?}"
    );
    world.stop().await;
}

/// row:D09, guarantee:G8: a gateway that stops sends its clients to another, where they go on without a loss.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_is_survived() {
    let mut world = World::start(Engine::Split).await;
    let (ann, mut bob) = tokio::join!(
        Person::register(&world, "ann"),
        Person::register(&world, "bob")
    );
    let chat = ann.chat_with(&bob).await;
    bob.server = world.http("ws-gateway", 0);
    let mut at_first = bob.connect().await;
    at_first.watch(&chat).await;
    ann.say(&chat, "one").await;
    assert_eq!(message_of(&at_first.message().await).text, "one");
    world.stop_one("ws-gateway", 0).await;
    assert_eq!(at_first.close_code().await, 4001);
    ann.say(&chat, "two").await;
    // The one that was the second is the only one now.
    bob.server = world.http("ws-gateway", 0);
    let mut at_second = bob.connect().await;
    at_second.watch(&chat).await;
    ann.say(&chat, "three").await;
    let heard = tokio::time::timeout(Duration::from_secs(15), async {
        loop {
            let text = message_of(&at_second.message().await).text;
            if text == "three" {
                break;
            }
        }
    });
    heard.await.unwrap();
    assert_eq!(bob.texts(&chat).await, ["one", "two", "three"]);
    // Whoever knocks at the front door is led to the one that is left.
    eventually("the front door knows", async || {
        e2e::Socket::open(ann.server, "127.0.0.1", &[])
            .await
            .is_ok()
    })
    .await;
    world.stop().await;
}

/// row:D09: a front door that stops does not wait for the sockets that lead through it.
#[tokio::test(flavor = "multi_thread")]
async fn a_front_door_that_stops_lets_its_sockets_go() {
    let mut world = World::start(Engine::Split).await;
    let mut ann = Person::register(&world, "ann").await;
    ann.server = world.http("user", 0);
    let mut through = ann.connect().await;
    let began = Instant::now();
    world.stop_one("user", 0).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(through.close_code().await, 1006);
    ann.server = world.http("ws-gateway", 1);
    ann.connect().await;
    world.stop().await;
}

/// What all processes of a service have counted together.
async fn total(cluster: &Cluster, service: &str, name: &str, labels: &str) -> f64 {
    let mut total = 0.0;
    for at in cluster.of(service) {
        total += e2e::metric(cluster.private_of(at), name, labels).await;
    }
    total
}

/// row:E25: a reply that `ai` has let go finds its binding gone where messages are stored, and is not said.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_on_its_way_dies_with_its_binding() {
    let delay = Duration::from_secs(3);
    let mut cluster = Cluster::start(Engine::Split, |config| {
        (config.ai.limits.delay_min, config.ai.limits.delay_max) = (delay, delay);
    })
    .await;
    let (ann, bob) = tokio::join!(
        Person::register_at(cluster.public(), "ann"),
        Person::register_at(cluster.public(), "bob")
    );
    let chat = ann.chat_with(&bob).await;
    ann.bind(&chat, "autoreply").await;
    let settings = json!({ "release": "immediate", "advice_on_message": false });
    let path = format!("/api/ai/settings/{chat}");
    ann.put(&path, settings).await.ok();
    bob.say(&chat, "hello?").await;
    eventually("the delay", async || {
        let runs = ann.get("/api/ai/runs?open=true").await.ok();
        let mut runs = runs["runs"].as_array().unwrap().iter();
        runs.any(|run| run["state"] == "sending")
    })
    .await;
    cluster.kill(cluster.of("message")).await;
    let replies = format!(r#"topic="{}""#, cluster.config.topics.ai_autoreply);
    eventually("the reply is let go", async || {
        total(&cluster, "ai", "eventlog_appended_records_total", &replies).await > 0.0
    })
    .await;
    let removed = ann.delete(&format!("/api/chats/{chat}/binding")).await;
    assert_eq!(removed.status, 503, "decided, and not yet in effect");
    cluster.run(cluster.of("message"), None).await;
    let refused = r#"code="binding_gone""#;
    // It is refused where it would be stored, or before that when the binding is gone already.
    eventually("the reply is refused", async || {
        total(&cluster, "message", "message_answered_total", refused).await > 0.0
            || cluster.log().contains("came after its binding had gone")
    })
    .await;
    assert_eq!(bob.texts(&chat).await, ["hello?"]);
    cluster.stop(cluster.all()).await;
}

/// row:F09: a service that cannot be reached for 300 ms is asked again until it can; nobody notices, and the tries are counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_for_a_moment_is_not_missed() {
    let mut cluster = Cluster::prepare(Engine::Split, |_| {}).await;
    let user = cluster.rpc_of(cluster.of("user")[0]).to_string();
    let line = Proxy::start(user).await;
    cluster.set("MESSENGER_SERVICES__USER__RPC", &line.address.to_string());
    cluster.run(cluster.all(), None).await;
    let (ann, bob) = tokio::join!(
        Person::register_at(cluster.public(), "ann"),
        Person::register_at(cluster.public(), "bob")
    );
    let to_user = r#"service="user""#;
    let before = total(&cluster, "chat", "rpc_retries_total", to_user).await;
    line.set(Line::Cut);
    let outage = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        eventually("it is asked again", async || {
            total(&cluster, "chat", "rpc_retries_total", to_user).await > before
        })
        .await;
        line.set(Line::Open);
    };
    let (chat, ()) = tokio::join!(ann.chat_with(&bob), outage);
    ann.say(&chat, "nobody noticed").await;
    cluster.stop(cluster.all()).await;
}

/// guarantee:G8: a worker that dies between its commit and the log leaves what is to be said in its outbox; whoever
/// takes over says it, and those who stay connected hear it although nothing else happens.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_and_not_said_is_said_by_the_next_worker() {
    let mut cluster = Cluster::start(Engine::Split, |_| {}).await;
    let (ann, bob) = tokio::join!(
        Person::register_at(cluster.public(), "ann"),
        Person::register_at(cluster.public(), "bob")
    );
    let bob = Person {
        server: cluster.doors()[0],
        ..bob
    };
    let chat = ann.chat_with(&bob).await;
    let mut socket = bob.connect().await;
    socket.watch(&chat).await;
    let workers = cluster.of("message");
    cluster.kill(workers.clone()).await;
    let dies = Some("message.publish.before:1");
    cluster.run(workers.clone(), dies).await;
    let send = json!({ "key": key(), "text": "with a last breath" });
    let path = format!("/api/messages/{chat}");
    let saying = ann.post(&path, send);
    let dying = cluster.ended(&workers);
    let (answer, dead) = tokio::join!(saying, dying);
    let heard = tokio::time::timeout(Duration::from_secs(20), socket.message()).await;
    let heard = message_of(&heard.expect("the other worker says it"));
    assert_eq!(heard.text, "with a last breath");
    assert!([201, 503].contains(&answer.status), "{}", answer.status);
    assert_eq!(bob.texts(&chat).await, ["with a last breath"]);
    cluster.run(vec![dead], None).await;
    cluster.stop(cluster.all()).await;
}
