//! A provider that does what a test tells it to, and remembers what it was shown.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{
    domain::prompt::{Prompt, Task},
    ports::{Failure, Piece, Pieces, Provider},
};

/// What the provider does with one call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// It writes.
    Write,
    /// It fails.
    Fail(Failure),
    /// It says one word and then nothing.
    Hang,
}

/// The provider.
pub(super) struct Script {
    state: Mutex<State>,
    gate: Semaphore,
}

#[derive(Default)]
struct State {
    probes: VecDeque<Turn>,
    turns: VecDeque<Turn>,
    gated: bool,
    shown: Vec<Prompt>,
    open: HashMap<String, usize>,
    most_open: usize,
    overlapped: bool,
}

/// Counts a call as long as somebody reads it.
struct OpenCall {
    script: Arc<Script>,
    owner: String,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut state = self.script.state.lock();
        if let Some(open) = state.open.get_mut(&self.owner) {
            *open -= 1;
        }
    }
}

/// A provider behind an `Arc`, so that its calls can hold it.
pub(super) struct Handle(pub(super) Arc<Script>);

impl Script {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            gate: Semaphore::new(0),
        })
    }

    pub(super) fn probes(&self, turns: impl IntoIterator<Item = Turn>) {
        self.state.lock().probes.extend(turns);
    }

    pub(super) fn turns(&self, turns: impl IntoIterator<Item = Turn>) {
        self.state.lock().turns.extend(turns);
    }

    /// How many calls for new bindings were told what to do and have not come.
    pub(super) fn probes_left(&self) -> usize {
        self.state.lock().probes.len()
    }

    /// From now on every call waits until it is let through.
    pub(super) fn close(&self) {
        self.state.lock().gated = true;
    }

    /// Lets so many calls through.
    pub(super) fn let_through(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    /// What was shown in calls for runs, in order.
    pub(super) fn shown(&self) -> Vec<Prompt> {
        self.state.lock().shown.clone()
    }

    /// Calls that are open now.
    pub(super) fn open(&self) -> usize {
        self.state.lock().open.values().sum()
    }

    /// The most calls that were open at the same time.
    pub(super) fn most_open(&self) -> usize {
        self.state.lock().most_open
    }

    /// Whether two calls for one owner were ever open at the same time.
    pub(super) fn overlapped(&self) -> bool {
        self.state.lock().overlapped
    }

    fn begin(self: &Arc<Self>, prompt: &Prompt) -> (Turn, OpenCall) {
        let mut state = self.state.lock();
        let owner = prompt.owner().to_owned();
        let is_probe = *prompt.task() == Task::Probe;
        let turn = if is_probe {
            state.probes.pop_front()
        } else {
            state.turns.pop_front()
        };
        if !is_probe {
            state.shown.push(prompt.clone());
        }
        let open = state.open.entry(owner.clone()).or_default();
        *open += 1;
        let twice = *open > 1 && !is_probe;
        state.overlapped |= twice;
        let all = state.open.values().sum();
        state.most_open = state.most_open.max(all);
        (
            turn.unwrap_or(Turn::Write),
            OpenCall {
                script: self.clone(),
                owner,
            },
        )
    }
}

#[async_trait]
impl Provider for Handle {
    fn model(&self) -> &'static str {
        "script"
    }

    async fn write(&self, prompt: &Prompt) -> Result<Pieces, Failure> {
        let (turn, call) = self.0.begin(prompt);
        let gated = self.0.state.lock().gated && *prompt.task() != Task::Probe;
        let (first, rest) = match turn {
            Turn::Fail(failure) => return Err(failure),
            Turn::Hang => ("well", None),
            Turn::Write => ("Dear ", Some(format!("{} messages", prompt.quotes().len()))),
        };
        let script = self.0.clone();
        let words = stream::once(async move { Ok(Piece::Text(first.to_owned())) }).chain(
            stream::once(async move {
                if gated {
                    script
                        .gate
                        .acquire()
                        .await
                        .expect("the gate is never closed for good")
                        .forget();
                }
                let Some(rest) = rest else {
                    return std::future::pending().await;
                };
                Ok(Piece::Text(rest))
            }),
        );
        // The call is open until its pieces are dropped.
        Ok(words
            .chain(stream::iter([Ok(Piece::Tokens(10))]))
            .map(move |piece| (&call, piece).1)
            .boxed())
    }
}
