//! One batch of records applied to what was loaded for it: numbers, projections, answers.
//!
//! The caller loads what [`Needs`](super::Needs) names, applies the records in order, and writes what changed in one
//! transaction. Nothing here waits or fails.

use std::collections::{BTreeSet, HashMap, HashSet};

use contracts::{
    ChatId, MessageId, ThreadId, UserId,
    chat::{BindingMode, BindingState},
    events::{Change, ChangeKind, Feed, Send},
    frames::{self, ChatRef, Outcome},
    message::{Auto, Message, Via},
    pipeline,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    outgoing::{Fate, Outgoing, Target, answer, refusal},
    record::Parsed,
};

/// The heads of one chat.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    pub(crate) kind: contracts::chat::Kind,
    pub(crate) epoch: String,
    pub(crate) last_o: i64,
    pub(crate) last_seq: i64,
    pub(crate) msg_o: i64,
    pub(crate) human_o: i64,
    pub(crate) version: i64,
    pub(crate) active_ms: i64,
}

/// A present membership.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) from_o: i64,
    pub(crate) until_o: Option<i64>,
}

/// A projected binding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Binding {
    pub(crate) chat: ChatId,
    pub(crate) owner: UserId,
    pub(crate) mode: BindingMode,
    pub(crate) state: BindingState,
}

/// A message that was stored before: under the id of a send, or one that a send replies to.
pub(crate) type Known = Message;

/// A row for the event table.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) chat: ChatId,
    pub(crate) o: i64,
    pub(crate) seq: Option<i64>,
    pub(crate) id: Option<MessageId>,
    pub(crate) author: UserId,
    pub(crate) kind: &'static str,
    pub(crate) payload: String,
}

/// The state of a batch: first what was loaded, in the end what is to be written.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) streams: HashMap<ChatId, Stream>,
    pub(crate) members: HashMap<(ChatId, UserId), Member>,
    pub(crate) bindings: HashMap<ThreadId, Binding>,
    pub(crate) known: HashMap<MessageId, Known>,

    pub(crate) touched_streams: BTreeSet<ChatId>,
    pub(crate) touched_members: HashSet<(ChatId, UserId)>,
    pub(crate) touched_bindings: HashSet<ThreadId>,
    pub(crate) removed_bindings: HashSet<ThreadId>,
    pub(crate) events: Vec<Event>,
}

/// What applying one record leads to.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Goes through the outbox.
    pub(crate) durable: Vec<Outgoing>,
    /// Published after the commit and not kept: whoever misses it asks again.
    pub(crate) answers: Vec<Outgoing>,
}

impl Batch {
    /// Applies one record. `now_ms` is the time of the commit, `fresh` an unused id for an epoch.
    pub(crate) fn apply(&mut self, record: &Parsed, now_ms: i64, fresh: Uuid) -> Applied {
        let mut applied = Applied::default();
        match record {
            Parsed::Send(send) => self.apply_send(send, now_ms, &mut applied),
            Parsed::Change(change) => self.apply_change(change, now_ms, fresh, &mut applied),
            Parsed::Dead { key, value, why } => applied.durable.push(Outgoing {
                target: Target::Dead,
                chat: ChatId(Uuid::nil()),
                o: None,
                key: key.clone(),
                value: pipeline::encode(&json!({
                    "why": why,
                    "key": String::from_utf8_lossy(key),
                    "value": String::from_utf8_lossy(value),
                })),
                fate: None,
            }),
        }
        applied
    }

    fn apply_send(&mut self, send: &Send, now_ms: i64, applied: &mut Applied) {
        let id = MessageId::derive(send.author, send.key);
        // The look-up comes before authorisation: a retry of a stored send is answered even after a removal.
        let outcome = match self.known.get(&id) {
            Some(known) if same_intent(known, send) => Outcome::Ok(pipeline::stored(known, true)),
            Some(_) => refusal("conflict", "this key was used for another message"),
            None => match self.refuse(send) {
                Some(outcome) => outcome,
                None => return self.store(send, id, now_ms, applied),
            },
        };
        applied.answers.push(answer(send, outcome));
    }

    fn refuse(&self, send: &Send) -> Option<Outcome> {
        let member = self
            .members
            .get(&(send.chat, send.author))
            .is_some_and(|member| member.until_o.is_none());
        let Some(stream) = self.streams.get(&send.chat).filter(|_| member) else {
            return Some(refusal("not_found", "no such chat"));
        };
        if let Err(fault) = pipeline::check_text(&send.text) {
            return Some(refusal("bad_request", fault.public()));
        }
        if send.reply_to.is_some_and(|quoted| !self.sees(send, quoted)) {
            let text = "there is no such message in this chat to reply to";
            return Some(refusal("not_found", text));
        }
        let reply = send.ai.as_ref()?;
        let bound = self.bindings.get(&reply.thread).is_some_and(|binding| {
            binding.chat == send.chat
                && binding.owner == send.author
                && binding.mode == BindingMode::Autoreply
                && binding.state == BindingState::Ready
        });
        if !bound {
            return Some(refusal("binding_gone", "the binding is gone"));
        }
        // Guard 8: what the reply answers is no longer the last word.
        (stream.human_o > reply.trigger_o)
            .then(|| refusal("superseded", "a newer message made the reply stale"))
    }

    /// Whether the sender of `send` may read `message`, and in that very chat.
    fn sees(&self, send: &Send, message: MessageId) -> bool {
        let from_o = self
            .members
            .get(&(send.chat, send.author))
            .map_or(i64::MAX, |member| member.from_o);
        self.known
            .get(&message)
            .is_some_and(|known| known.chat == send.chat && known.o >= from_o)
    }

    fn store(&mut self, send: &Send, id: MessageId, now_ms: i64, applied: &mut Applied) {
        let Some(stream) = self.streams.get_mut(&send.chat) else {
            return;
        };
        stream.last_o += 1;
        stream.last_seq += 1;
        stream.msg_o = stream.last_o;
        stream.active_ms = now_ms;
        if send.ai.is_none() {
            stream.human_o = stream.last_o;
        }
        let (o, seq) = (stream.last_o, stream.last_seq);
        let by_advice = |run| Via {
            mode: BindingMode::Advice,
            run,
            model: String::new(),
            approved_by: Some(send.author),
            edited: None,
        };
        let auto = if send.ai.is_some() {
            Auto::Replied
        } else {
            Auto::No
        };
        let message = Message {
            id,
            chat: send.chat,
            seq,
            o,
            author: send.author,
            key: send.key,
            ts: kit::rfc3339(now_ms),
            text: send.text.clone(),
            reply_to: send.reply_to,
            auto,
            via: send
                .ai
                .as_ref()
                .map(|reply| reply.via.clone())
                .or_else(|| send.from_run.map(by_advice)),
        };
        let payload = serde_json::to_string(&message).unwrap_or_default();
        self.known.insert(id, message);
        self.push(
            Event {
                chat: send.chat,
                o,
                seq: Some(seq),
                id: Some(id),
                author: send.author,
                kind: frames::MSG_NEW,
                payload,
            },
            Some(Fate::Stored(auto)),
            applied,
        );
        let mut ready: Vec<_> = self
            .bindings
            .iter()
            .filter(|(_, binding)| {
                binding.chat == send.chat && binding.state == BindingState::Ready
            })
            .map(|(thread, binding)| Feed {
                thread: *thread,
                chat: send.chat,
                owner: binding.owner,
                mode: binding.mode,
                o,
                request: send.request.clone(),
            })
            .collect();
        ready.sort_by_key(|feed| feed.thread);
        applied
            .durable
            .extend(ready.into_iter().map(|feed| Outgoing {
                target: Target::Feed,
                chat: send.chat,
                o: None,
                key: feed.thread.to_string().into(),
                value: pipeline::encode(&feed),
                fate: None,
            }));
    }

    fn apply_change(&mut self, change: &Change, now_ms: i64, fresh: Uuid, applied: &mut Applied) {
        let have = self
            .streams
            .get(&change.chat)
            .map_or(0, |stream| stream.version);
        if change.version != have + 1 {
            // Known already, or a lower one is missing: `chat` learns how far the projection is and
            // publishes what follows.
            applied.answers.push(Outgoing {
                target: Target::Forward,
                chat: change.chat,
                o: None,
                key: frames::chat_key(change.chat),
                value: frames::ephemeral(
                    frames::PROJECTED,
                    &frames::Projected {
                        chat: change.chat,
                        version: have,
                    },
                ),
                fate: None,
            });
            return;
        }
        if let ChangeKind::Created { chat_kind, .. } = &change.change {
            self.streams.insert(
                change.chat,
                Stream {
                    kind: *chat_kind,
                    epoch: super::epoch(fresh),
                    last_o: 0,
                    last_seq: 0,
                    msg_o: 0,
                    human_o: 0,
                    version: 0,
                    active_ms: now_ms,
                },
            );
        }
        let Some(stream) = self.streams.get_mut(&change.chat) else {
            return;
        };
        stream.last_o += 1;
        stream.version = change.version;
        let o = stream.last_o;
        let (kind, details) = self.project(change, o);
        let mut d =
            json!({ "version": change.version, "actor": change.actor, "ts": kit::rfc3339(now_ms) });
        if let (Some(d), serde_json::Value::Object(details)) = (d.as_object_mut(), details) {
            d.extend(details);
        }
        self.push(
            Event {
                chat: change.chat,
                o,
                seq: None,
                id: None,
                author: change.actor,
                kind,
                payload: d.to_string(),
            },
            None,
            applied,
        );
        let (t, people) = match &change.change {
            ChangeKind::Created { members, .. } => (frames::CHAT_ADDED, members.clone()),
            ChangeKind::MemberJoined { user } => (frames::CHAT_ADDED, vec![*user]),
            ChangeKind::MemberLeft { user } => (frames::CHAT_REMOVED, vec![*user]),
            ChangeKind::BindingSet { .. } | ChangeKind::BindingRemoved { .. } => return,
        };
        applied
            .durable
            .extend(people.into_iter().map(|user| Outgoing {
                target: Target::Forward,
                chat: change.chat,
                o: None,
                key: frames::user_key(user),
                value: frames::ephemeral(
                    t,
                    &ChatRef {
                        chat: change.chat,
                        o,
                    },
                ),
                fate: None,
            }));
    }

    fn remove_binding(&mut self, thread: ThreadId) {
        self.bindings.remove(&thread);
        self.touched_bindings.remove(&thread);
        self.removed_bindings.insert(thread);
    }

    /// Applies the decision to the projections; gives the event's type and its details.
    fn project(&mut self, change: &Change, o: i64) -> (&'static str, serde_json::Value) {
        let chat = change.chat;
        match &change.change {
            ChangeKind::Created {
                chat_kind,
                title,
                members,
            } => {
                for user in members {
                    self.set_member(
                        chat,
                        *user,
                        Member {
                            from_o: o,
                            until_o: None,
                        },
                    );
                }
                (
                    frames::CHAT_CREATED,
                    json!({ "kind": chat_kind, "title": title, "members": members }),
                )
            }
            ChangeKind::MemberJoined { user } => {
                self.set_member(
                    chat,
                    *user,
                    Member {
                        from_o: o,
                        until_o: None,
                    },
                );
                (frames::MEMBER_JOINED, json!({ "user": user }))
            }
            ChangeKind::MemberLeft { user } => {
                if let Some(member) = self.members.get(&(chat, *user)).cloned() {
                    self.set_member(
                        chat,
                        *user,
                        Member {
                            until_o: Some(o),
                            ..member
                        },
                    );
                }
                // An AI may not see more than its owner.
                let left: Vec<_> = self
                    .bindings
                    .iter()
                    .filter(|(_, binding)| binding.chat == chat && binding.owner == *user)
                    .map(|(thread, _)| *thread)
                    .collect();
                for thread in left {
                    self.remove_binding(thread);
                }
                (frames::MEMBER_LEFT, json!({ "user": user }))
            }
            ChangeKind::BindingSet {
                owner,
                thread,
                mode,
                state,
            } => {
                self.bindings.insert(
                    *thread,
                    Binding {
                        chat,
                        owner: *owner,
                        mode: *mode,
                        state: *state,
                    },
                );
                self.touched_bindings.insert(*thread);
                self.removed_bindings.remove(thread);
                let details =
                    json!({ "owner": owner, "thread": thread, "mode": mode, "state": state });
                (frames::BINDING_CHANGED, details)
            }
            ChangeKind::BindingRemoved { owner, thread } => {
                self.remove_binding(*thread);
                (
                    frames::BINDING_REMOVED,
                    json!({ "owner": owner, "thread": thread }),
                )
            }
        }
    }

    fn set_member(&mut self, chat: ChatId, user: UserId, member: Member) {
        self.members.insert((chat, user), member);
        self.touched_members.insert((chat, user));
    }

    fn push(&mut self, event: Event, fate: Option<Fate>, applied: &mut Applied) {
        self.touched_streams.insert(event.chat);
        applied.durable.push(Outgoing {
            target: Target::Forward,
            chat: event.chat,
            o: Some(event.o),
            key: frames::chat_key(event.chat),
            value: frames::event(event.kind, event.chat, event.o, &event.payload),
            fate,
        });
        self.events.push(event);
    }
}

/// Whether a send asks for the very message that is stored.
fn same_intent(known: &Message, send: &Send) -> bool {
    known.author == send.author
        && known.key == send.key
        && known.chat == send.chat
        && known.text == send.text
        && known.reply_to == send.reply_to
}
