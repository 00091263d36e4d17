//! What every contract relies on between two processes: a call keeps its deadline and its request id on the way there,
//! and a fault is the same when it comes back.

#![expect(clippy::unwrap_used, reason = "what fails in a test is a failure")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use contracts::{
    ChatId, RunId, UserId,
    ai::{AiApi, AiClient, Delta, Run, RunState, Why},
    chat::BindingMode,
};
use kit::{Call, Code, Fault, Node};
use parking_lot::Mutex;
use uuid::Uuid;

/// Says what it was told to, and remembers the call.
#[derive(Default)]
struct Told {
    fault: Mutex<Option<Fault>>,
    runs: Mutex<Vec<Run>>,
    last: Mutex<Option<Call>>,
}

#[async_trait]
impl AiApi for Told {
    async fn follow(&self, call: &Call, _: UserId, run: RunId) -> Result<Option<Delta>, Fault> {
        *self.last.lock() = Some(call.clone());
        let chat = ChatId(Uuid::from_u128(1));
        let text = "so far".to_owned();
        Ok((run.0 != Uuid::nil()).then_some(Delta {
            run,
            chat,
            n: 7,
            text,
        }))
    }

    async fn cancel(&self, _: &Call, _: UserId, _: RunId) -> Result<Run, Fault> {
        std::future::pending().await
    }

    async fn open_runs(&self, _: &Call, _: UserId) -> Result<Vec<Run>, Fault> {
        Ok(self.runs.lock().clone())
    }

    async fn may_ask(&self, _: &Call, _: UserId) -> Result<(), Fault> {
        self.fault.lock().take().map_or(Ok(()), Err)
    }
}

/// The contract on a listener of its own, and the way there.
async fn elsewhere(node: &Node, told: Arc<Told>) -> AiClient {
    let config = rpc::Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        secret: Some("by this the processes of a test know each other".into()),
        ..rpc::Config::default()
    };
    let mut server = rpc::Server::new(contracts::DESCRIPTORS);
    server.offer(contracts::ai::serve(told));
    let bound = server.bind(&config).await.unwrap().unwrap();
    let address = bound.address().unwrap().to_string();
    bound.serve(node);
    contracts::ai::connect(config.channel(&address).unwrap())
}

const ANN: UserId = UserId(Uuid::from_u128(1));

#[tokio::test]
async fn a_call_keeps_its_request_id_and_its_deadline() {
    let (node, told) = (Node::new(), Arc::new(Told::default()));
    let ai = elsewhere(&node, told.clone()).await;
    let call = Call::new("request-7", Duration::from_millis(1500));
    let run = RunId(Uuid::from_u128(2));
    let delta = ai.follow(&call, ANN, run).await.unwrap().unwrap();
    assert_eq!(
        (delta.run, delta.n, delta.text.as_str()),
        (run, 7, "so far")
    );
    let arrived = told.last.lock().take().unwrap();
    assert_eq!(arrived.request_id(), "request-7");
    assert!(arrived.remaining() <= Duration::from_millis(1500));
    let nothing = ai.follow(&call, ANN, RunId(Uuid::nil())).await.unwrap();
    assert_eq!(nothing, None);

    let short = Call::new("request-8", Duration::from_millis(100));
    let fault = ai.cancel(&short, ANN, run).await.unwrap_err();
    assert_eq!(fault.code(), Code::Timeout);
}

/// Code, word, text and the time to wait; of a defect nobody learns more than that.
#[tokio::test]
async fn a_fault_comes_back_as_it_was() {
    let (node, told) = (Node::new(), Arc::new(Told::default()));
    let ai = elsewhere(&node, told.clone()).await;
    let call = Call::internal("test");
    for code in [
        Code::Invalid,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::Conflict,
        Code::TooLarge,
        Code::Exhausted,
        Code::Timeout,
        Code::Internal,
    ] {
        let wait = Duration::from_hours(9);
        let fault = Fault::new(code, "квота: \"так\" нельзя, 100%\n")
            .reason("quota")
            .retry_in(wait)
            .with_source("a secret of the log");
        *told.fault.lock() = Some(fault);
        let fault = ai.may_ask(&call, ANN).await.unwrap_err();
        assert_eq!((fault.code(), fault.word()), (code, "quota"));
        assert_eq!(fault.public(), "квота: \"так\" нельзя, 100%\n");
        assert_eq!(fault.retry_after(), Some(wait), "{code:?}");
        assert!(!format!("{fault:?}").contains("secret"));
        assert!(ai.may_ask(&call, ANN).await.is_ok());
    }
    // The longest text of a fault still fits, whatever its letters are.
    *told.fault.lock() = Some(Fault::invalid("я".repeat(40_000)));
    let fault = ai.may_ask(&call, ANN).await.unwrap_err();
    assert_eq!(fault.code(), Code::Invalid);
    assert!(fault.public().starts_with("яя"));
}

#[tokio::test]
async fn a_run_comes_back_as_it_was() {
    let (node, told) = (Node::new(), Arc::new(Told::default()));
    let ai = elsewhere(&node, told.clone()).await;
    let full = Run {
        run: RunId(Uuid::from_u128(2)),
        chat: ChatId(Uuid::from_u128(3)),
        kind: BindingMode::Autoreply,
        state: RunState::Held,
        trigger_o: i64::MAX,
        text: Some("текст".to_owned()),
        why: Some(Why::ProviderEmpty),
        model: Some("demo".to_owned()),
        at: Some("2027-01-15T08:00:00Z".to_owned()),
        created_at: "2027-01-15T07:00:00Z".to_owned(),
    };
    let bare = Run {
        kind: BindingMode::Advice,
        state: RunState::Queued,
        text: None,
        why: None,
        model: None,
        at: None,
        ..full.clone()
    };
    // An empty text is not the same as none.
    let empty = Run {
        text: Some(String::new()),
        ..bare.clone()
    };
    told.runs.lock().extend([full, bare, empty]);
    let runs = ai.open_runs(&Call::internal("test"), ANN).await.unwrap();
    assert_eq!(runs, *told.runs.lock());
}

/// row:F05: what reflection answers from has every service.
#[test]
fn every_service_is_described() {
    for (package, service) in [
        ("messenger.ai.v1", "AiService"),
        ("messenger.auth.v1", "AuthService"),
        ("messenger.chat.v1", "ChatService"),
        ("messenger.message.v1", "MessageService"),
        ("messenger.user.v1", "UserService"),
    ] {
        for name in [package, service] {
            let mut windows = contracts::DESCRIPTORS.windows(name.len());
            assert!(windows.any(|bytes| bytes == name.as_bytes()), "{name}");
        }
    }
}
