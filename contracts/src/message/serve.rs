//! The service's end of the contract over gRPC.

use async_trait::async_trait;
use kit::{Call, Fault};
use rpc::{Answer, Service, answer};
use tonic::Request;

use super::{
    Attachment, Events, History, Marks, Message, MessageClient, Page, Position, Stored, Summary,
    Via,
};
use crate::{
    ChatId, UserId,
    events::Send,
    r#gen::{
        chat::BindingMode,
        message::{
            self as proto, get_message_history_request as by_pair,
            get_messages_by_chat_request as by_chat,
            message_service_server::{MessageService, MessageServiceServer},
            send_message_request::To,
        },
    },
    user::{User, UserClient},
    wire::asked,
};

/// The size of a page when the caller names none.
const PAGE: u32 = 50;

/// Offers the contract over gRPC. Who asks for the authors of a page learns of them what `user` keeps.
pub fn serve(api: MessageClient, user: UserClient) -> Service {
    Service::new(MessageServiceServer::new(Served { api, user }))
}

struct Served {
    api: MessageClient,
    user: UserClient,
}

impl Served {
    async fn history(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        page: Page,
        limit: Option<u32>,
        with_authors: bool,
    ) -> Result<proto::History, Fault> {
        let limit = narrow(limit.unwrap_or(PAGE));
        let found = self.api.history(call, reader, chat, page, limit).await?;
        let mut authors = Vec::new();
        if with_authors {
            let mut ids: Vec<_> = found.messages.iter().map(|one| one.author).collect();
            ids.sort_unstable();
            ids.dedup();
            authors = self.user.profiles(call, ids).await?;
        }
        Ok(proto::History {
            authors: authors.into_iter().map(Into::into).collect(),
            ..found.into()
        })
    }
}

#[async_trait]
impl MessageService for Served {
    async fn send_message(
        &self,
        request: Request<proto::SendMessageRequest>,
    ) -> Answer<proto::Stored> {
        answer(request, |call, message| async move {
            let author = asked("author_id", &message.author_id)?;
            let key = asked("key", &message.key)?;
            let reply_to = message.reply_to.as_deref();
            let reply_to = reply_to.map(|text| asked("reply_to", text)).transpose()?;
            let from_run = message.from_run.as_deref();
            let from_run = from_run.map(|text| asked("from_run", text)).transpose()?;
            let chat = match message.to {
                Some(To::ChatId(chat)) => asked("chat_id", &chat)?,
                Some(To::UserId(other)) => {
                    let other = asked("user_id", &other)?;
                    self.api.private_chat(&call, author, other).await?
                }
                None => return Err(Fault::invalid("a chat or a user is needed")),
            };
            let send = Send {
                chat,
                author,
                key,
                text: message.text,
                reply_to,
                from_run,
                ai: None,
                request: None,
            };
            self.api.send(&call, send).await
        })
        .await
    }

    async fn get_messages_by_chat(
        &self,
        request: Request<proto::GetMessagesByChatRequest>,
    ) -> Answer<proto::History> {
        answer(request, |call, message| async move {
            let reader = asked("reader_id", &message.reader_id)?;
            let chat = asked("chat_id", &message.chat_id)?;
            let page = match message.page {
                None => Page::Latest,
                Some(by_chat::Page::Before(seq)) => Page::Before(seq),
                Some(by_chat::Page::After(seq)) => Page::After(seq),
            };
            let authors = message.with_authors;
            self.history(&call, reader, chat, page, message.limit, authors)
                .await
        })
        .await
    }

    async fn get_message_history(
        &self,
        request: Request<proto::GetMessageHistoryRequest>,
    ) -> Answer<proto::History> {
        answer(request, |call, message| async move {
            let one = asked("user1_id", &message.user1_id)?;
            let other = asked("user2_id", &message.user2_id)?;
            let page = match message.page {
                None => Page::Latest,
                Some(by_pair::Page::Before(seq)) => Page::Before(seq),
                Some(by_pair::Page::After(seq)) => Page::After(seq),
            };
            let chat = self.api.private_chat(&call, one, other).await?;
            let authors = message.with_authors;
            self.history(&call, one, chat, page, message.limit, authors)
                .await
        })
        .await
    }

    async fn get_private_chat(
        &self,
        request: Request<proto::GetPrivateChatRequest>,
    ) -> Answer<proto::GetPrivateChatResponse> {
        answer(request, |call, message| async move {
            let one = asked("user1_id", &message.user1_id)?;
            let other = asked("user2_id", &message.user2_id)?;
            let chat = self.api.private_chat(&call, one, other).await?;
            Ok(proto::GetPrivateChatResponse {
                chat_id: chat.to_string(),
            })
        })
        .await
    }

    async fn attach(&self, request: Request<proto::AttachRequest>) -> Answer<proto::Attachment> {
        answer(request, |call, message| async move {
            let reader = asked("reader_id", &message.reader_id)?;
            let chat = asked("chat_id", &message.chat_id)?;
            self.api.attach(&call, reader, chat).await
        })
        .await
    }

    async fn get_events(
        &self,
        request: Request<proto::GetEventsRequest>,
    ) -> Answer<proto::GetEventsResponse> {
        answer(request, |call, message| async move {
            let reader = asked("reader_id", &message.reader_id)?;
            let chat = asked("chat_id", &message.chat_id)?;
            let limit = narrow(message.limit);
            self.api
                .events(&call, reader, chat, message.after, limit)
                .await
        })
        .await
    }

    async fn get_chats(
        &self,
        request: Request<proto::GetChatsRequest>,
    ) -> Answer<proto::GetChatsResponse> {
        answer(request, |call, message| async move {
            let reader = asked("reader_id", &message.reader_id)?;
            let chats = self.api.chats(&call, reader, narrow(message.limit)).await?;
            Ok(proto::GetChatsResponse {
                chats: chats.into_iter().map(Into::into).collect(),
            })
        })
        .await
    }

    async fn get_summary(
        &self,
        request: Request<proto::GetSummaryRequest>,
    ) -> Answer<proto::Summary> {
        answer(request, |call, message| async move {
            let reader = asked("reader_id", &message.reader_id)?;
            let chat = asked("chat_id", &message.chat_id)?;
            self.api.summary(&call, reader, chat).await
        })
        .await
    }

    async fn move_marks(&self, request: Request<proto::MoveMarksRequest>) -> Answer<proto::Marks> {
        answer(request, |call, message| async move {
            let reader = asked("reader_id", &message.reader_id)?;
            let chat = asked("chat_id", &message.chat_id)?;
            self.api
                .mark(&call, reader, chat, message.delivered, message.read)
                .await
        })
        .await
    }

    async fn get_marks(
        &self,
        request: Request<proto::GetMarksRequest>,
    ) -> Answer<proto::GetMarksResponse> {
        answer(request, |call, message| async move {
            let reader = asked("reader_id", &message.reader_id)?;
            let chat = asked("chat_id", &message.chat_id)?;
            let marks = self.api.marks(&call, reader, chat).await?;
            Ok(proto::GetMarksResponse {
                marks: marks.into_iter().map(Into::into).collect(),
            })
        })
        .await
    }

    async fn get_peers(
        &self,
        request: Request<proto::GetPeersRequest>,
    ) -> Answer<proto::GetPeersResponse> {
        answer(request, |call, message| async move {
            let reader = asked("reader_id", &message.reader_id)?;
            let people = message.user_ids.iter();
            let people = people.map(|text| asked("user_ids", text));
            let people = people.collect::<Result<_, _>>()?;
            let peers = self.api.peers(&call, reader, people).await?;
            Ok(proto::GetPeersResponse {
                user_ids: peers.iter().map(UserId::to_string).collect(),
            })
        })
        .await
    }

    async fn get_thread_messages(
        &self,
        request: Request<proto::GetThreadMessagesRequest>,
    ) -> Answer<proto::GetThreadMessagesResponse> {
        answer(request, |call, message| async move {
            let thread = asked("thread_id", &message.thread_id)?;
            let limit = narrow(message.limit);
            let messages = self
                .api
                .thread_messages(&call, thread, message.after, limit)
                .await?;
            Ok(proto::GetThreadMessagesResponse {
                messages: messages.into_iter().map(Into::into).collect(),
            })
        })
        .await
    }

    async fn get_readers(
        &self,
        request: Request<proto::GetReadersRequest>,
    ) -> Answer<proto::GetReadersResponse> {
        answer(request, |call, message| async move {
            let chat = asked("chat_id", &message.chat_id)?;
            let limit = narrow(message.limit);
            let readers = self.api.readers(&call, chat, message.o, limit).await?;
            Ok(proto::GetReadersResponse {
                count: readers.count,
                user_ids: readers.first.iter().map(UserId::to_string).collect(),
            })
        })
        .await
    }
}

/// A limit that is too large stays so.
fn narrow(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl From<Stored> for proto::Stored {
    fn from(stored: Stored) -> Self {
        Self {
            message_id: stored.msg.to_string(),
            seq: stored.seq,
            o: stored.o,
            ts: stored.ts,
            dup: stored.dup,
        }
    }
}

impl From<Message> for proto::Message {
    fn from(message: Message) -> Self {
        Self {
            id: message.id.to_string(),
            chat_id: message.chat.to_string(),
            seq: message.seq,
            o: message.o,
            author_id: message.author.to_string(),
            key: message.key.to_string(),
            ts: message.ts,
            text: message.text,
            reply_to: message.reply_to.map(|id| id.to_string()),
            auto: proto::Auto::from(message.auto).into(),
            via: message.via.map(Into::into),
        }
    }
}

impl From<Via> for proto::Via {
    fn from(via: Via) -> Self {
        Self {
            mode: BindingMode::from(via.mode).into(),
            run_id: via.run.to_string(),
            model: via.model,
            approved_by: via.approved_by.map(|id| id.to_string()),
            edited: via.edited,
        }
    }
}

impl From<Position> for proto::Position {
    fn from(position: Position) -> Self {
        Self {
            epoch: position.e,
            o: position.o,
        }
    }
}

impl From<History> for proto::History {
    fn from(history: History) -> Self {
        Self {
            pos: Some(history.pos.into()),
            messages: history.messages.into_iter().map(Into::into).collect(),
            more: history.more,
            authors: Vec::new(),
        }
    }
}

impl From<User> for proto::Author {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username,
            email: user.email,
        }
    }
}

impl From<Attachment> for proto::Attachment {
    fn from(attachment: Attachment) -> Self {
        Self {
            head: Some(attachment.head.into()),
            seq: attachment.seq,
            from_o: attachment.from_o,
            until_o: attachment.until_o,
        }
    }
}

impl From<Events> for proto::GetEventsResponse {
    fn from(events: Events) -> Self {
        let frames = events.frames.into_iter();
        Self {
            head: Some(events.head.into()),
            events: frames.map(|(o, frame)| proto::Event { o, frame }).collect(),
            more: events.more,
        }
    }
}

impl From<Summary> for proto::Summary {
    fn from(summary: Summary) -> Self {
        Self {
            chat_id: summary.chat.to_string(),
            pos: Some(summary.pos.into()),
            seq: summary.seq,
            unread: summary.unread,
            read: summary.read,
            from_o: summary.from_o,
            last: summary.last.map(Into::into),
        }
    }
}

impl From<Marks> for proto::Marks {
    fn from(marks: Marks) -> Self {
        Self {
            chat_id: marks.chat.to_string(),
            user_id: marks.user.to_string(),
            delivered: marks.delivered,
            read: marks.read,
        }
    }
}
