//! What a server does for its services.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use kit::{Call, Code, Fault, Node};
use rpc::{ANSWER_LIMIT, Config, REQUEST_LIMIT, Remote, Server};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tonic::{Request, transport::Endpoint};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::{
    v1::{self, server_reflection_client::ServerReflectionClient},
    v1alpha,
};

use crate::process::{
    Client, Echo, Process, SECRET, anywhere, channel, config, descriptors, eventually, metric,
    remote,
};

/// Without any credential, as a stranger comes.
fn stranger(process: &Process) -> tonic::transport::Channel {
    let address = format!("http://{}", process.address);
    Endpoint::from_shared(address).unwrap().connect_lazy()
}

/// row:A19: whoever does not know the secret is refused before any method runs.
#[tokio::test]
async fn strangers_are_refused() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let process = Process::start(Echo::new(move |_, text| {
        counted.fetch_add(1, SeqCst);
        async { Ok(text) }
    }))
    .await;
    let address = process.address.to_string();
    let almost = format!("{}!", &SECRET[..SECRET.len() - 1]);
    let wrong = Config {
        secret: Some(almost.into()),
        ..Config::default()
    };
    for channel in [
        stranger(&process).into(),
        wrong.channel(&address).unwrap(),
        Config {
            secret: Some(format!("{SECRET}{SECRET}").into()),
            ..Config::default()
        }
        .channel(&address)
        .unwrap(),
    ] {
        let mut client = Client::new(channel.clone());
        let status = client.say(Request::new("hello".into())).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
        let mut reflection = ServerReflectionClient::new(channel);
        let status = reflection.server_reflection_info(list()).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    }
    assert_eq!(calls.load(SeqCst), 0);
    assert!(metric("rpc_refused_total{reason=\"credential\"}") >= 6.0);

    let mut client = Client::new(channel(&address));
    let answer = client.say(Request::new("hello".into())).await.unwrap();
    assert_eq!(
        (answer.into_inner().as_str(), calls.load(SeqCst)),
        ("hello", 1)
    );
}

/// row:A19: nothing of what a stranger sends is waited for; of one of ours, not for ever.
#[tokio::test]
async fn a_message_that_never_comes_is_not_waited_for() {
    let process = Process::start(Echo::named("a")).await;
    for (channel, code) in [
        (stranger(&process).into(), tonic::Code::Unauthenticated),
        (
            channel(&process.address.to_string()),
            tonic::Code::DeadlineExceeded,
        ),
    ] {
        let mut client = Client::new(channel);
        client.0.ready().await.unwrap();
        // It would wait for ever; the server does not.
        let request = Request::new(tokio_stream::pending::<String>());
        let codec = ProstCodec::<String, String>::default();
        let asked = client.0.client_streaming(request, Client::SAY, codec);
        let status = asked.await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
    }
}

/// row:A19: a wrong secret is our mistake; the person who asked is not told to log in.
#[tokio::test]
async fn a_wrong_secret_is_a_defect_and_not_a_missing_login() {
    let process = Process::start(Echo::named("a")).await;
    let client = Client::new(stranger(&process).into());
    let fault = rpc::read!(
        Remote::new("strange", client),
        &Call::internal("test"),
        say,
        String::new()
    )
    .await
    .unwrap_err();
    assert_eq!(fault.code(), Code::Internal);
}

/// row:F08: the caller learns that it failed, everybody else nothing.
#[tokio::test]
async fn a_panic_ends_one_call_and_nothing_else() {
    let process = Process::start(Echo::new(|_, text| async move {
        assert_ne!(text, "panic", "as it was told");
        Ok(text)
    }))
    .await;
    let remote = remote("panic", &process.address.to_string());
    let call = Call::internal("test");
    let fault = rpc::write!(remote, &call, say, "panic".to_owned())
        .await
        .unwrap_err();
    assert_eq!((fault.code(), fault.word()), (Code::Internal, "internal"));
    assert!(!fault.public().contains("told"), "{fault}");
    assert_eq!(
        rpc::write!(remote, &call, say, "hello".to_owned())
            .await
            .unwrap(),
        "hello"
    );
    assert!(metric("rpc_panics_total") >= 1.0);
}

#[tokio::test]
async fn a_fault_comes_back_as_it_was() {
    let process = Process::start(Echo::new(|_, _| async move {
        Err(Fault::new(Code::Conflict, "somebody has this name").reason("username_taken"))
    }))
    .await;
    let remote = remote("fault", &process.address.to_string());
    let fault = rpc::read!(remote, &Call::internal("test"), say, String::new())
        .await
        .unwrap_err();
    let told = (fault.code(), fault.word(), fault.public());
    assert_eq!(
        told,
        (Code::Conflict, "username_taken", "somebody has this name")
    );
    assert!(metric("rpc_calls_total{service=\"fault\",method=\"say\",code=\"conflict\"}") >= 1.0);
}

#[tokio::test]
async fn the_deadline_and_the_request_id_go_along() {
    let process = Process::start(Echo::new(|call, _| async move {
        Ok(format!(
            "{} {}",
            call.remaining().as_millis(),
            call.request_id()
        ))
    }))
    .await;
    let remote = remote("deadline", &process.address.to_string());
    for (given, at_most) in [(800, 800), (3_600_000, Call::DEFAULT_TIMEOUT.as_millis())] {
        let call = Call::new("request-7", Duration::from_millis(given));
        let answer = rpc::read!(remote, &call, say, String::new()).await.unwrap();
        let (left, id) = answer.split_once(' ').unwrap();
        let left: u128 = left.parse().unwrap();
        assert!(
            left <= at_most && left + 700 > at_most,
            "{left} of {at_most}"
        );
        assert_eq!(id, "request-7");
    }
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[tokio::test]
async fn after_the_deadline_nobody_works_on() {
    let is_dropped = Arc::new(AtomicBool::new(false));
    let flag = is_dropped.clone();
    let process = Process::start(Echo::new(move |_, _| {
        let dropped = Dropped(flag.clone());
        async move {
            let _dropped = dropped;
            std::future::pending().await
        }
    }))
    .await;
    let remote = remote("endless", &process.address.to_string());
    let call = Call::new("test", Duration::from_millis(200));
    let began = Instant::now();
    let fault = rpc::read!(remote, &call, say, String::new())
        .await
        .unwrap_err();
    assert_eq!(fault.code(), Code::Timeout);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    eventually("the method is dropped", || async {
        is_dropped.load(SeqCst)
    })
    .await;
}

#[tokio::test]
async fn a_request_or_an_answer_that_is_too_large_is_told_as_one() {
    // A number is answered with so many bytes, anything else with how many there were.
    let process = Process::start(Echo::new(|_, text| async move {
        let wanted = text.parse().map(|size| "y".repeat(size));
        Ok(wanted.unwrap_or_else(|_| text.len().to_string()))
    }))
    .await;
    let remote = remote("large", &process.address.to_string());
    let asked = async |text: String| rpc::write!(remote, &Call::internal("test"), say, text).await;
    // A tag and the length stand before a text.
    let (sent, answered) = (REQUEST_LIMIT - 5, ANSWER_LIMIT - 5);
    assert_eq!(asked("x".repeat(sent)).await.unwrap(), sent.to_string());
    assert_eq!(asked(answered.to_string()).await.unwrap().len(), answered);
    for text in ["x".repeat(sent + 1), (answered + 1).to_string()] {
        let size = asked(text).await.map(|text| text.len());
        assert_eq!(size.unwrap_err().code(), Code::TooLarge);
    }
    assert_eq!(asked("x".to_owned()).await.unwrap(), "1");
}

/// A thousand at once: all are answered, no more at a time than there is room for.
#[tokio::test]
async fn calls_that_find_no_room_wait_for_it() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let echo = Echo::new(move |_, text| {
        let (open, seen) = (open.clone(), seen.clone());
        async move {
            seen.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            open.fetch_sub(1, SeqCst);
            Ok(text)
        }
    });
    let few = Config {
        calls: 20,
        ..config(anywhere())
    };
    let process = Process::start_with(few, echo).await;
    let remote = remote("many", &process.address.to_string());
    let call = Call::internal("test");
    let calls = (0..1000).map(|n| rpc::write!(remote, &call, say, n.to_string()));
    for (n, answer) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), n.to_string());
    }
    assert_eq!(most.load(SeqCst), 20);
}

fn list() -> impl tonic::IntoStreamingRequest<Message = v1::ServerReflectionRequest> {
    ask(v1::server_reflection_request::MessageRequest::ListServices(
        String::new(),
    ))
}

fn ask(
    message: v1::server_reflection_request::MessageRequest,
) -> impl tonic::IntoStreamingRequest<Message = v1::ServerReflectionRequest> {
    tokio_stream::once(v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    })
}

/// row:F05: what is offered can be found out, in both versions of the protocol.
#[tokio::test]
async fn reflection_lists_what_is_offered() {
    let process = Process::start(Echo::named("a")).await;
    let channel = channel(&process.address.to_string());
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(list()).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(listed)) =
        answer.message_response
    else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(names.contains(&"test.v1.Echo".to_owned()), "{names:?}");

    let symbol = "test.v1.Echo".to_owned();
    let described = v1::server_reflection_request::MessageRequest::FileContainingSymbol(symbol);
    let answers = client.server_reflection_info(ask(described)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    assert!(matches!(
        answer.message_response,
        Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
    ));

    let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let answers = older
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let answer = answers
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    assert!(format!("{answer:?}").contains("test.v1.Echo"), "{answer:?}");
}

#[tokio::test]
async fn without_a_secret_there_is_no_door() {
    let bound = Server::new(descriptors()).bind(&Config::default()).await;
    assert!(bound.unwrap().is_none());
}

#[tokio::test]
async fn a_port_in_use_is_told_by_its_address() {
    let taken = TcpListener::bind(anywhere()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let bound = Server::new(descriptors()).bind(&config(address)).await;
    let error = bound.err().unwrap().to_string();
    assert!(
        error.contains(&format!("cannot listen on {address}")),
        "{error}"
    );
}

/// Nobody who says nothing keeps a connection.
#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let node = Node::new();
    let server = Server::new(descriptors()).bind(&config(anywhere())).await;
    let server = server.unwrap().unwrap();
    let address = server.address().unwrap();
    server.serve(&node);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut heard = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(11), stream.read_to_end(&mut heard));
    assert!(closed.await.is_ok());
}
