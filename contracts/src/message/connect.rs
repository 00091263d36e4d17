//! The caller's end of the contract over gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Fault};
use rpc::{Channel, Remote};

use super::{
    Attachment, Events, History, Marks, Message, MessageApi, MessageClient, Page, Position,
    Readers, Stored, Summary, Via,
};
use crate::{
    ChatId, ThreadId, UserId,
    events::Send,
    r#gen::{
        chat::BindingMode,
        message::{
            self as proto, get_messages_by_chat_request as by_chat,
            message_service_client::MessageServiceClient, send_message_request as send_to,
        },
    },
    wire::{id, present, word},
};

/// The contract as a service elsewhere offers it.
pub fn connect(channel: impl Into<Channel>) -> MessageClient {
    let client =
        MessageServiceClient::new(channel.into()).max_decoding_message_size(rpc::ANSWER_LIMIT);
    Arc::new(Connected(Remote::new("message", client)))
}

struct Connected(Remote<MessageServiceClient<Channel>>);

#[async_trait]
impl MessageApi for Connected {
    /// The key makes it happen once, so it is sent again like a read.
    async fn send(&self, call: &Call, message: Send) -> Result<Stored, Fault> {
        let message = proto::SendMessageRequest {
            author_id: message.author.to_string(),
            to: Some(send_to::To::ChatId(message.chat.to_string())),
            key: message.key.to_string(),
            text: message.text,
            reply_to: message.reply_to.map(|id| id.to_string()),
            from_run: message.from_run.map(|id| id.to_string()),
        };
        rpc::read!(self.0, call, send_message, message)
            .await?
            .try_into()
    }

    async fn history(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        page: Page,
        limit: usize,
    ) -> Result<History, Fault> {
        let message = proto::GetMessagesByChatRequest {
            reader_id: reader.to_string(),
            chat_id: chat.to_string(),
            page: match page {
                Page::Latest => None,
                Page::Before(seq) => Some(by_chat::Page::Before(seq)),
                Page::After(seq) => Some(by_chat::Page::After(seq)),
            },
            limit: Some(wide(limit)),
            with_authors: false,
        };
        rpc::read!(self.0, call, get_messages_by_chat, message)
            .await?
            .try_into()
    }

    async fn private_chat(&self, call: &Call, one: UserId, other: UserId) -> Result<ChatId, Fault> {
        let message = proto::GetPrivateChatRequest {
            user1_id: one.to_string(),
            user2_id: other.to_string(),
        };
        let found = rpc::read!(self.0, call, get_private_chat, message).await?;
        id(&found.chat_id)
    }

    async fn attach(&self, call: &Call, reader: UserId, chat: ChatId) -> Result<Attachment, Fault> {
        let message = proto::AttachRequest {
            reader_id: reader.to_string(),
            chat_id: chat.to_string(),
        };
        rpc::read!(self.0, call, attach, message).await?.try_into()
    }

    async fn events(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        after: i64,
        limit: usize,
    ) -> Result<Events, Fault> {
        let message = proto::GetEventsRequest {
            reader_id: reader.to_string(),
            chat_id: chat.to_string(),
            after,
            limit: wide(limit),
        };
        rpc::read!(self.0, call, get_events, message)
            .await?
            .try_into()
    }

    async fn chats(
        &self,
        call: &Call,
        reader: UserId,
        limit: usize,
    ) -> Result<Vec<Summary>, Fault> {
        let message = proto::GetChatsRequest {
            reader_id: reader.to_string(),
            limit: wide(limit),
        };
        let found = rpc::read!(self.0, call, get_chats, message).await?;
        found.chats.into_iter().map(TryInto::try_into).collect()
    }

    async fn summary(&self, call: &Call, reader: UserId, chat: ChatId) -> Result<Summary, Fault> {
        let message = proto::GetSummaryRequest {
            reader_id: reader.to_string(),
            chat_id: chat.to_string(),
        };
        rpc::read!(self.0, call, get_summary, message)
            .await?
            .try_into()
    }

    async fn mark(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        delivered: i64,
        read: i64,
    ) -> Result<Marks, Fault> {
        let message = proto::MoveMarksRequest {
            reader_id: reader.to_string(),
            chat_id: chat.to_string(),
            delivered,
            read,
        };
        rpc::write!(self.0, call, move_marks, message)
            .await?
            .try_into()
    }

    async fn marks(&self, call: &Call, reader: UserId, chat: ChatId) -> Result<Vec<Marks>, Fault> {
        let message = proto::GetMarksRequest {
            reader_id: reader.to_string(),
            chat_id: chat.to_string(),
        };
        let found = rpc::read!(self.0, call, get_marks, message).await?;
        found.marks.into_iter().map(TryInto::try_into).collect()
    }

    async fn peers(
        &self,
        call: &Call,
        reader: UserId,
        people: Vec<UserId>,
    ) -> Result<Vec<UserId>, Fault> {
        let message = proto::GetPeersRequest {
            reader_id: reader.to_string(),
            user_ids: people.iter().map(UserId::to_string).collect(),
        };
        let found = rpc::read!(self.0, call, get_peers, message).await?;
        found.user_ids.iter().map(|text| id(text)).collect()
    }

    async fn thread_messages(
        &self,
        call: &Call,
        thread: ThreadId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Message>, Fault> {
        let message = proto::GetThreadMessagesRequest {
            thread_id: thread.to_string(),
            after,
            limit: wide(limit),
        };
        let found = rpc::read!(self.0, call, get_thread_messages, message).await?;
        found.messages.into_iter().map(TryInto::try_into).collect()
    }

    async fn readers(
        &self,
        call: &Call,
        chat: ChatId,
        o: i64,
        limit: usize,
    ) -> Result<Readers, Fault> {
        let message = proto::GetReadersRequest {
            chat_id: chat.to_string(),
            o,
            limit: wide(limit),
        };
        let found = rpc::read!(self.0, call, get_readers, message).await?;
        let first = found.user_ids.iter().map(|user| id(user));
        Ok(Readers {
            count: found.count,
            first: first.collect::<Result<_, _>>()?,
        })
    }
}

/// A limit that is too large stays so.
fn wide(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

impl TryFrom<proto::Stored> for Stored {
    type Error = Fault;

    fn try_from(stored: proto::Stored) -> Result<Self, Fault> {
        Ok(Self {
            msg: id(&stored.message_id)?,
            seq: stored.seq,
            o: stored.o,
            ts: stored.ts,
            dup: stored.dup,
        })
    }
}

impl TryFrom<proto::Message> for Message {
    type Error = Fault;

    fn try_from(message: proto::Message) -> Result<Self, Fault> {
        Ok(Self {
            id: id(&message.id)?,
            chat: id(&message.chat_id)?,
            seq: message.seq,
            o: message.o,
            author: id(&message.author_id)?,
            key: id(&message.key)?,
            ts: message.ts,
            text: message.text,
            reply_to: message.reply_to.as_deref().map(id).transpose()?,
            auto: word::<proto::Auto, _>(message.auto)?,
            via: message.via.map(TryInto::try_into).transpose()?,
        })
    }
}

impl TryFrom<proto::Via> for Via {
    type Error = Fault;

    fn try_from(via: proto::Via) -> Result<Self, Fault> {
        Ok(Self {
            mode: word::<BindingMode, _>(via.mode)?,
            run: id(&via.run_id)?,
            model: via.model,
            approved_by: via.approved_by.as_deref().map(id).transpose()?,
            edited: via.edited,
        })
    }
}

impl From<proto::Position> for Position {
    fn from(position: proto::Position) -> Self {
        Self {
            e: position.epoch,
            o: position.o,
        }
    }
}

impl TryFrom<proto::History> for History {
    type Error = Fault;

    fn try_from(history: proto::History) -> Result<Self, Fault> {
        let messages = history.messages.into_iter().map(TryInto::try_into);
        Ok(Self {
            pos: present(history.pos)?.into(),
            messages: messages.collect::<Result<_, _>>()?,
            more: history.more,
        })
    }
}

impl TryFrom<proto::Attachment> for Attachment {
    type Error = Fault;

    fn try_from(attachment: proto::Attachment) -> Result<Self, Fault> {
        Ok(Self {
            head: present(attachment.head)?.into(),
            seq: attachment.seq,
            from_o: attachment.from_o,
            until_o: attachment.until_o,
        })
    }
}

impl TryFrom<proto::GetEventsResponse> for Events {
    type Error = Fault;

    fn try_from(events: proto::GetEventsResponse) -> Result<Self, Fault> {
        let frames = events.events.into_iter();
        Ok(Self {
            head: present(events.head)?.into(),
            frames: frames.map(|event| (event.o, event.frame)).collect(),
            more: events.more,
        })
    }
}

impl TryFrom<proto::Summary> for Summary {
    type Error = Fault;

    fn try_from(summary: proto::Summary) -> Result<Self, Fault> {
        Ok(Self {
            chat: id(&summary.chat_id)?,
            pos: present(summary.pos)?.into(),
            seq: summary.seq,
            unread: summary.unread,
            read: summary.read,
            from_o: summary.from_o,
            last: summary.last.map(TryInto::try_into).transpose()?,
        })
    }
}

impl TryFrom<proto::Marks> for Marks {
    type Error = Fault;

    fn try_from(marks: proto::Marks) -> Result<Self, Fault> {
        Ok(Self {
            chat: id(&marks.chat_id)?,
            user: id(&marks.user_id)?,
            delivered: marks.delivered,
            read: marks.read,
        })
    }
}
