//! Against real HTTP servers that behave well, oddly and badly.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use kit::{Breaker, BreakerConfig};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::{
    app::writer::{Meter, Writer},
    config::Timeouts,
    domain::prompt::{Bounds, Quote, Role, Task},
};

/// A server on a port of its own that answers every call with what `answer` makes.
struct Stub {
    base_url: String,
    calls: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<Value>>>,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    async fn start(answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let keys = Arc::new(Mutex::new(Vec::new()));
        let (counter, seen, sent) = (calls.clone(), bodies.clone(), keys.clone());
        let handler = move |headers: header::HeaderMap, axum::Json(body): axum::Json<Value>| {
            let call = counter.fetch_add(1, Ordering::SeqCst);
            let key = headers
                .get(header::AUTHORIZATION)
                .map(|key| key.to_str().expect("text").to_owned());
            sent.lock().extend(key);
            seen.lock().push(body);
            let answer = answer.clone();
            async move { answer(call) }
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/v1/chat/completions", post(handler));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            base_url,
            calls,
            bodies,
            keys,
        }
    }

    fn writer(&self, timeouts: Timeouts) -> Writer {
        self.writer_with(timeouts, BreakerConfig::default())
    }

    fn writer_with(&self, timeouts: Timeouts, breaker: BreakerConfig) -> Writer {
        let settings = Settings {
            base_url: self.base_url.clone(),
            api_key: Some("sk-test-key".into()),
            model: "small".to_owned(),
            connect_timeout: Duration::from_secs(2),
            max_tokens: 100,
            proxy: None,
        };
        let provider = ChatCompletions::new(&settings).expect("a client");
        Writer::new(Arc::new(provider), Breaker::new("stub", breaker), timeouts)
    }

    async fn write(&self) -> Result<String, Failure> {
        self.written().await.0
    }

    /// What came, and what it cost.
    async fn written(&self) -> (Result<String, Failure>, i64) {
        let meter = Meter::default();
        let text = self.writer(quick()).write(&prompt(), &meter, |_| {}).await;
        (text, meter.tokens())
    }
}

fn quick() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(2),
        first_token: Duration::from_millis(200),
        between_tokens: Duration::from_millis(200),
        total: Duration::from_secs(5),
        retry: Duration::from_millis(1),
    }
}

fn prompt() -> Prompt {
    let quotes = vec![Quote {
        role: Role::Member,
        name: "bob".to_owned(),
        text: "hi".to_owned(),
    }];
    Prompt::new(
        Task::Reply,
        "ann",
        quotes,
        Bounds {
            messages: 9,
            bytes: 999,
        },
        "nonce".to_owned(),
    )
}

fn events(list: &[&str]) -> Response {
    let text = list
        .iter()
        .fold(String::new(), |text, data| text + "data: " + data + "\n\n");
    (
        [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")],
        text,
    )
        .into_response()
}

fn delta(text: &str) -> String {
    json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] })
        .to_string()
}

fn whole_answer(body: &Value) -> Response {
    axum::Json(body.clone()).into_response()
}

/// row:E29: the configured address gets the call, with the key, the model and the chat as quoted data.
#[tokio::test]
async fn a_streamed_answer_is_read_piece_by_piece() {
    let stub = Stub::start(|_| {
        let end = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }).to_string();
        let usage = json!({ "choices": [], "usage": { "total_tokens": 42 } }).to_string();
        events(&[
            &delta("Hel"),
            &delta("lo "),
            &delta("Bob"),
            &end,
            &usage,
            "[DONE]",
        ])
    })
    .await;
    let (mut pieces, meter) = (Vec::new(), Meter::default());
    let written = stub
        .writer(quick())
        .write(&prompt(), &meter, |piece| pieces.push(piece.to_owned()))
        .await;
    assert_eq!((written, meter.tokens()), (Ok("Hello Bob".to_owned()), 42));
    assert_eq!(pieces, ["Hel", "lo ", "Bob"]);
    let body = stub.bodies.lock()[0].clone();
    assert_eq!(
        (body["model"].as_str(), body["stream"].as_bool()),
        (Some("small"), Some(true))
    );
    assert_eq!(body["messages"][0]["role"], "system");
    assert_eq!(body["messages"][1]["role"], "user");
    assert!(
        !body["messages"][0]["content"]
            .as_str()
            .expect("text")
            .contains("hi\"")
    );
    assert_eq!(*stub.keys.lock(), ["Bearer sk-test-key"]);
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let stub = Stub::start(|_| {
        whole_answer(&json!({
            "choices": [{ "message": { "role": "assistant", "content": "Hello" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 3, "completion_tokens": "4" }
        }))
    })
    .await;
    assert_eq!(stub.written().await, (Ok("Hello".to_owned()), 7));
}

/// Odd but harmless: parts, empty reasons, missing and null usage, comments, no end mark.
#[tokio::test]
async fn small_differences_between_servers_do_not_matter() {
    let parts = json!({ "choices": [{ "delta": { "content": [{ "type": "text", "text": "one " }] }, "finish_reason": "" }] });
    let null = json!({ "choices": [{ "delta": { "content": null }, "finish_reason": "" }], "usage": null });
    let end = json!({ "choices": [{ "delta": { "content": "two" }, "finish_reason": "stop" }], "usage": {} });
    let (parts, null, end) = (parts.to_string(), null.to_string(), end.to_string());
    let odd =
        format!(": hello\n\ndata: {parts}\n\ndata:\n\nevent: x\ndata: {null}\n\ndata: {end}\n\n");
    let stub = Stub::start(move |_| {
        ([(header::CONTENT_TYPE, "text/event-stream")], odd.clone()).into_response()
    })
    .await;
    let (written, tokens) = stub.written().await;
    assert_eq!(written.as_deref(), Ok("one two"));
    assert!(tokens > 0, "without usage the cost is guessed");
}

/// row:E27, threat:T104: a server that hangs costs its deadline, three tries, and no more.
#[tokio::test]
async fn a_hanging_server_is_given_up_after_three_tries() {
    let silent = || Body::from_stream(stream::pending::<Result<String, Infallible>>());
    let stub = Stub::start(move |_| {
        ([(header::CONTENT_TYPE, "text/event-stream")], silent()).into_response()
    })
    .await;
    assert_eq!(stub.write().await, Err(Failure::Timeout));
    assert_eq!(stub.calls.load(Ordering::SeqCst), 3);
}

/// threat:T91: a provider's own words about an error do not travel on.
#[tokio::test]
async fn refusals_and_outages_are_told_apart() {
    for (status, failure, calls) in [
        (500, Failure::Unavailable, 3),
        (429, Failure::RateLimited, 3),
        (401, Failure::Refused, 1),
        (404, Failure::Refused, 1),
        (302, Failure::Refused, 1),
    ] {
        let stub = Stub::start(move |_| {
            let status = StatusCode::from_u16(status).expect("a status");
            (
                status,
                [(header::LOCATION, "http://127.0.0.1:1/elsewhere")],
                "invalid key sk-test-key",
            )
                .into_response()
        })
        .await;
        assert_eq!(stub.write().await, Err(failure), "{status}");
        assert_eq!(stub.calls.load(Ordering::SeqCst), calls, "{status}");
    }
    let gone = Stub {
        base_url: "http://127.0.0.1:9".to_owned(),
        ..Stub::start(|_| StatusCode::OK.into_response()).await
    };
    assert_eq!(gone.write().await, Err(Failure::Unavailable));
}

#[tokio::test]
async fn a_server_that_recovers_is_tried_again_before_the_first_word() {
    let stub = Stub::start(|call| match call {
        0 | 1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => events(&[&delta("back"), "[DONE]"]),
    })
    .await;
    assert_eq!(stub.write().await, Ok("back".to_owned()));
}

#[tokio::test]
async fn nothing_is_tried_again_after_the_first_word() {
    let stub = Stub::start(|_| events(&[&delta("half a sen")])).await;
    assert_eq!(stub.write().await, Err(Failure::CutOff));
    assert_eq!(stub.calls.load(Ordering::SeqCst), 1);
}

/// What failed is paid for all the same: as the provider says, else by a guess; what was never taken costs nothing.
#[tokio::test]
async fn a_failed_call_is_counted() {
    let input = i64::try_from(prompt().instructions().len() + prompt().data().len())
        .expect("a short prompt")
        / 4;
    let cut = Stub::start(|_| events(&[&delta(&"half ".repeat(100))])).await;
    let (text, tokens) = cut.written().await;
    assert_eq!(text, Err(Failure::CutOff));
    assert!((input + 125..=input + 126).contains(&tokens), "{tokens}");
    let long = json!({ "choices": [{ "message": { "content": "half" }, "finish_reason": "length" }], "usage": { "total_tokens": 1030 } });
    let long = Stub::start(move |_| whole_answer(&long)).await;
    assert_eq!(long.written().await, (Err(Failure::TooLong), 1030));
    let busy = Stub::start(|_| StatusCode::TOO_MANY_REQUESTS.into_response()).await;
    assert_eq!(busy.written().await, (Err(Failure::RateLimited), 0));
    let silent = || Body::from_stream(stream::pending::<Result<String, Infallible>>());
    let hanging = Stub::start(move |_| {
        ([(header::CONTENT_TYPE, "text/event-stream")], silent()).into_response()
    })
    .await;
    let (text, tokens) = hanging.written().await;
    assert_eq!(text, Err(Failure::Timeout));
    assert!(
        tokens >= 3 * input,
        "each of the three tries was read: {tokens}"
    );
}

/// A proxy is used when it is configured; what stands in the environment is not asked for.
#[tokio::test]
async fn calls_go_through_the_configured_proxy() {
    let proxy = Stub::start(|_| events(&[&delta("through"), "[DONE]"])).await;
    let settings = Settings {
        base_url: "http://provider.invalid".to_owned(),
        proxy: Some(proxy.base_url.as_str().into()),
        api_key: None,
        model: "small".to_owned(),
        connect_timeout: Duration::from_secs(2),
        max_tokens: 100,
    };
    let provider = ChatCompletions::new(&settings).expect("a client");
    let pieces: Vec<_> = provider
        .write(&prompt())
        .await
        .expect("an answer")
        .collect()
        .await;
    assert_eq!(pieces, [Ok(Piece::Text("through".to_owned()))]);
}

/// threat:T89: what is no answer is a failure and never a text.
#[tokio::test]
async fn garbage_is_refused() {
    let sse = |text: &'static str| {
        move |_: usize| ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
    };
    let json = |text: &'static str| {
        move |_: usize| ([(header::CONTENT_TYPE, "application/json")], text).into_response()
    };
    let error = r#"{"error":{"message":"quota of sk-test-key"}}"#;
    let call = r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"1"}]},"finish_reason":"tool_calls"}]}"#;
    let cut = r#"{"choices":[{"message":{"content":"half"},"finish_reason":"length"}]}"#;
    assert_eq!(
        Stub::start(sse("data: {not json\n\n")).await.write().await,
        Err(Failure::Malformed)
    );
    assert_eq!(
        Stub::start(sse("data: [1,2]\n\n")).await.write().await,
        Err(Failure::Malformed)
    );
    assert_eq!(
        Stub::start(sse("data: [DONE]\n\n")).await.write().await,
        Err(Failure::Empty)
    );
    assert_eq!(
        Stub::start(json(r#"{"hello":"world"}"#))
            .await
            .write()
            .await,
        Err(Failure::Malformed)
    );
    assert_eq!(
        Stub::start(json("<html>")).await.write().await,
        Err(Failure::Malformed)
    );
    assert_eq!(
        Stub::start(json(error)).await.write().await,
        Err(Failure::Unavailable)
    );
    assert_eq!(
        Stub::start(json(call)).await.write().await,
        Err(Failure::Empty)
    );
    assert_eq!(
        Stub::start(json(cut)).await.write().await,
        Err(Failure::TooLong)
    );
}

/// threat:T88: ten megabytes, or more text than fits a message of the AI, are not taken.
#[tokio::test]
async fn too_much_is_refused() {
    let stub = Stub::start(|_| {
        let chunk = bytes::Bytes::from(vec![b' '; 64 * 1024]);
        let body = Body::from_stream(stream::iter(
            (0..160).map(move |_| Ok::<_, Infallible>(chunk.clone())),
        ));
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    })
    .await;
    assert_eq!(stub.write().await, Err(Failure::TooLong));
    let stub = Stub::start(|_| events(&[&delta(&"x".repeat(9000)), "[DONE]"])).await;
    assert_eq!(stub.write().await, Err(Failure::TooLong));
}

/// threat:T88: a stream without an end stops at the deadline of the whole call.
#[tokio::test]
async fn a_stream_that_never_ends_is_cut() {
    let stub = Stub::start(|_| {
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, Infallible>(format!("data: {}\n\n", delta("."))), ()))
        });
        (
            [(header::CONTENT_TYPE, "text/event-stream")],
            Body::from_stream(drip.boxed()),
        )
            .into_response()
    })
    .await;
    let short = Timeouts {
        total: Duration::from_millis(600),
        ..quick()
    };
    assert_eq!(
        stub.writer(short)
            .write(&prompt(), &Meter::default(), |_| {})
            .await,
        Err(Failure::Timeout)
    );
}

/// row:E28: after outages in a row nothing is sent for a while, and then it is tried again.
#[tokio::test]
async fn the_breaker_leaves_a_dead_provider_alone() {
    let stub = Stub::start(|call| match call {
        0..6 => StatusCode::BAD_GATEWAY.into_response(),
        _ => events(&[&delta("ok"), "[DONE]"]),
    })
    .await;
    let open = Duration::from_millis(300);
    let writer = stub.writer_with(quick(), BreakerConfig { failures: 2, open });
    for _ in 0..4 {
        assert_eq!(
            writer.write(&prompt(), &Meter::default(), |_| {}).await,
            Err(Failure::Unavailable)
        );
    }
    assert_eq!(
        stub.calls.load(Ordering::SeqCst),
        6,
        "two calls of three tries each, then silence"
    );
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while writer
        .write(&prompt(), &Meter::default(), |_| {})
        .await
        .is_err()
    {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the breaker never closed"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn addresses_are_completed() {
    for (given, wanted) in [
        (
            "https://api.openai.com",
            "https://api.openai.com/v1/chat/completions",
        ),
        (
            "https://api.openai.com/v1/",
            "https://api.openai.com/v1/chat/completions",
        ),
        (
            "http://localhost:11434/",
            "http://localhost:11434/v1/chat/completions",
        ),
        (
            "https://gateway.example/api/openai",
            "https://gateway.example/api/openai/v1/chat/completions",
        ),
        (
            "https://x.example/v1beta/openai?key=1",
            "https://x.example/v1beta/openai/chat/completions",
        ),
        (
            "https://x.example/v1/chat/completions",
            "https://x.example/v1/chat/completions",
        ),
    ] {
        assert_eq!(endpoint(given).expect("an address").as_str(), wanted);
    }
    for wrong in [
        "",
        "api.openai.com",
        "file:///etc/passwd",
        "https://user:pw@x.example",
    ] {
        assert!(endpoint(wrong).is_err(), "{wrong}");
    }
}
