//! Where services are that run in other processes; a process that runs some of them listens at the places of the first.

use serde::{Deserialize, Serialize};

use crate::topology::Service;

/// The section `services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Places {
    /// Sockets of clients.
    pub ws_gateway: Place,
    /// Tokens and sessions.
    pub auth: Place,
    /// Accounts.
    pub user: Place,
    /// Chats and bindings.
    pub chat: Place,
    /// Chat streams.
    pub message: Place,
    /// The AI.
    pub ai: Place,
    /// Who must be told.
    pub notification: Place,
    /// Sockets that receive advice.
    pub ws_ai_advice: Place,
    /// Sockets that receive replies of the AI.
    pub ws_autoreply: Place,
}

/// Where one service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// `HOST:PORT` of its public listener; of several replicas with commas between them.
    pub http: String,
    /// `HOST:PORT` of its private listener.
    pub private: String,
    /// `HOST:PORT` of its gRPC listener; of several replicas with commas between them.
    pub rpc: String,
}

impl Place {
    const fn ports(service: Service) -> (u16, u16) {
        match service {
            Service::WsGateway => (1, 57),
            Service::Auth => (2, 52),
            Service::User => (3, 51),
            Service::Chat => (4, 53),
            Service::Message => (5, 54),
            Service::Ai => (6, 55),
            Service::Notification => (7, 56),
            Service::WsAiAdvice => (8, 58),
            Service::WsAutoreply => (9, 59),
        }
    }

    fn of(service: Service) -> Self {
        let (n, rpc) = Self::ports(service);
        let at = |port: u16| format!("127.0.0.1:{port}");
        Self {
            http: at(8080 + n),
            private: at(9090 + n),
            rpc: at(50_000 + rpc),
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            ws_gateway: Place::of(Service::WsGateway),
            auth: Place::of(Service::Auth),
            user: Place::of(Service::User),
            chat: Place::of(Service::Chat),
            message: Place::of(Service::Message),
            ai: Place::of(Service::Ai),
            notification: Place::of(Service::Notification),
            ws_ai_advice: Place::of(Service::WsAiAdvice),
            ws_autoreply: Place::of(Service::WsAutoreply),
        }
    }
}

impl Places {
    /// Where `service` is.
    pub fn of(&self, service: Service) -> &Place {
        match service {
            Service::WsGateway => &self.ws_gateway,
            Service::Auth => &self.auth,
            Service::User => &self.user,
            Service::Chat => &self.chat,
            Service::Message => &self.message,
            Service::Ai => &self.ai,
            Service::Notification => &self.notification,
            Service::WsAiAdvice => &self.ws_ai_advice,
            Service::WsAutoreply => &self.ws_autoreply,
        }
    }
}
