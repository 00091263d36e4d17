//! The dialect "chat completions", which OpenAI, Ollama, vLLM, llama.cpp and many gateways speak.
//!
//! Servers differ in small things, so everything that is not needed may be missing or odd: [`wire`] reads.
//! Nothing that a server says about an error goes further than its class.

mod wire;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]
mod tests;

use std::{collections::VecDeque, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource as _};
use futures_util::{Stream, StreamExt as _, stream};
use kit::{
    BoxError,
    config::{ExposeSecret as _, SecretString},
};
use reqwest::{StatusCode, Url, header};

use crate::{
    domain::prompt::Prompt,
    ports::{Failure, Piece, Pieces, Provider},
};

/// The most bytes that are read of one answer.
const MAX_BYTES: usize = 1024 * 1024;

/// Where a server is and how to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Any of `https://host`, `https://host/v1`, `https://host/v1/chat/completions`.
    pub(crate) base_url: String,
    /// Where calls go through, when anything; the environment is not asked.
    pub(crate) proxy: Option<SecretString>,
    /// Sent as a bearer token, when there is one.
    pub(crate) api_key: Option<SecretString>,
    /// The model to ask for.
    pub(crate) model: String,
    /// The longest wait for a connection.
    pub(crate) connect_timeout: Duration,
    /// The longest answer that is asked for, in tokens.
    pub(crate) max_tokens: u32,
}

/// A server that speaks this dialect.
pub(crate) struct ChatCompletions {
    http: reqwest::Client,
    url: Url,
    model: String,
    max_tokens: u32,
}

impl ChatCompletions {
    /// Prepares the client; nothing is sent.
    ///
    /// # Errors
    /// The address, key or TLS set-up cannot be used. The text does not hold the key.
    pub(crate) fn new(settings: &Settings) -> Result<Self, BoxError> {
        let mut headers = header::HeaderMap::new();
        if let Some(key) = &settings.api_key {
            let mut value =
                header::HeaderValue::try_from(format!("Bearer {}", key.expose_secret().trim()))
                    .map_err(|_| "ai.api_key holds characters that no header can carry")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        // A redirect would carry chat text to an address that nobody configured.
        let mut http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(settings.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(proxy) = &settings.proxy {
            let proxy = reqwest::Proxy::all(proxy.expose_secret())
                .map_err(|_| "ai.proxy is no address of a proxy")?;
            http = http.proxy(proxy);
        }
        let http = http.build()?;
        let url = endpoint(&settings.base_url).map_err(|error| format!("ai.base_url: {error}"))?;
        Ok(Self {
            http,
            url,
            model: settings.model.clone(),
            max_tokens: settings.max_tokens,
        })
    }

    fn body(&self, prompt: &Prompt) -> serde_json::Value {
        // OpenAI's newer models refuse the old name, and most other servers do not know the new one.
        let is_openai = self
            .url
            .host_str()
            .is_some_and(|host| host.ends_with("openai.com"));
        let max_tokens = if is_openai {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        serde_json::json!({
            "model": self.model,
            "stream": true,
            "stream_options": { "include_usage": true },
            max_tokens: self.max_tokens,
            "messages": [
                { "role": "system", "content": prompt.instructions() },
                { "role": "user", "content": prompt.data() },
            ],
        })
    }
}

/// The address of the endpoint; a missing `/v1` is added.
pub(crate) fn endpoint(base_url: &str) -> Result<Url, BoxError> {
    let mut url = Url::parse(base_url.trim())
        .map_err(|error| format!("`{base_url}` is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https")
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(format!(
            "the provider's address must be http or https without a login: {base_url}"
        )
        .into());
    }
    let path = url.path().trim_end_matches('/');
    let base = path.strip_suffix("/chat/completions").unwrap_or(path);
    let is_version = |segment: &str| {
        segment
            .strip_prefix('v')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let version = if base.split('/').any(is_version) {
        ""
    } else {
        "/v1"
    };
    let path = format!("{base}{version}/chat/completions");
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

#[async_trait]
impl Provider for ChatCompletions {
    fn model(&self) -> &str {
        &self.model
    }

    async fn write(&self, prompt: &Prompt) -> Result<Pieces, Failure> {
        let response = self
            .http
            .post(self.url.clone())
            .json(&self.body(prompt))
            .send()
            .await
            .map_err(|error| {
                tracing::debug!(error = %error.without_url(), "the provider cannot be reached");
                Failure::Unavailable
            })?;
        if !response.status().is_success() {
            return Err(failure_of(response.status()));
        }
        let kind = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let streams = kind
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("text/event-stream");
        let body = limited(response.bytes_stream());
        if streams {
            Ok(streamed(body))
        } else {
            whole(body).await
        }
    }
}

fn failure_of(status: StatusCode) -> Failure {
    match status.as_u16() {
        408 | 504 => Failure::Timeout,
        429 => Failure::RateLimited,
        500..=599 => Failure::Unavailable,
        _ => Failure::Refused,
    }
}

/// Ends a body that is too large or breaks off.
fn limited(
    body: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    let mut left = MAX_BYTES;
    body.map(move |bytes| {
        let bytes = bytes.map_err(|_| Failure::CutOff)?;
        left = left.checked_sub(bytes.len()).ok_or(Failure::TooLong)?;
        Ok(bytes)
    })
}

/// An answer in one piece, from a server that does not stream.
async fn whole(
    body: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static,
) -> Result<Pieces, Failure> {
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    while let Some(more) = body.next().await {
        bytes.extend_from_slice(&more?);
    }
    let mut reading = Reading::of(stream::empty::<()>());
    reading.take_in(wire::whole(&bytes)?);
    Ok(stream::iter(reading.ready).boxed())
}

struct Reading<S> {
    events: S,
    ready: VecDeque<Result<Piece, Failure>>,
    finished: bool,
    ended: bool,
}

impl<S> Reading<S> {
    fn of(events: S) -> Self {
        Self {
            events,
            ready: VecDeque::new(),
            finished: false,
            ended: false,
        }
    }

    fn take_in(&mut self, event: wire::Event) {
        match event {
            wire::Event::End => self.ended = true,
            wire::Event::Chunk { pieces, finished } => {
                self.ready.extend(pieces.into_iter().map(Ok));
                match finished {
                    Some(Err(failure)) => self.fail(failure),
                    Some(Ok(())) => self.finished = true,
                    None => {}
                }
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.ended = true;
        self.ready.push_back(Err(failure));
    }
}

/// An answer in server-sent events.
fn streamed(body: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static) -> Pieces {
    let reading = Reading::of(Box::pin(body.eventsource()));
    stream::unfold(reading, |mut reading| async move {
        loop {
            if let Some(piece) = reading.ready.pop_front() {
                return Some((piece, reading));
            }
            if reading.ended {
                return None;
            }
            let read = match reading.events.next().await {
                Some(Ok(event)) => wire::event(&event.data),
                Some(Err(EventStreamError::Transport(failure))) => Err(failure),
                Some(Err(_)) => Err(Failure::Malformed),
                None if reading.finished => return None,
                None => Err(Failure::CutOff),
            };
            match read {
                Ok(event) => reading.take_in(event),
                Err(failure) => reading.fail(failure),
            }
        }
    })
    .boxed()
}
