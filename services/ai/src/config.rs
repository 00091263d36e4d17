//! The section `ai` of the configuration.

use std::{sync::Arc, time::Duration};

use kit::{
    BoxError, BreakerConfig,
    config::{SecretString, duration},
};
use serde::{Deserialize, Serialize};

use crate::{
    adapters::{chat_completions, demo},
    domain::{kernel, prompt},
    ports::Provider,
};

/// Which dialect is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dialect {
    /// The built-in demo: no network, no model.
    #[default]
    Demo,
    /// Chat Completions at `base_url`: OpenAI, Ollama, vLLM, llama.cpp and many gateways.
    ChatCompletions,
}

/// Everything about the AI that can be configured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who writes.
    pub provider: Dialect,
    /// Where the provider is; a missing `/v1` is added.
    pub base_url: String,
    /// A proxy to the provider. Without one the address is called directly, whatever the environment says.
    #[serde(serialize_with = "kit::config::redacted")]
    pub proxy: Option<SecretString>,
    /// The provider's key; never logged, never sent anywhere else.
    #[serde(serialize_with = "kit::config::redacted")]
    pub api_key: Option<SecretString>,
    /// The model to ask for.
    pub model: String,
    /// The longest answer that is asked for, in tokens.
    pub max_output_tokens: u32,
    /// How the demo pauses before each piece.
    #[serde(with = "duration")]
    pub demo_pause: Duration,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// When a provider that is away is left alone for a while.
    pub breaker: BreakerConfig,
    /// What the guards allow.
    pub limits: Limits,
    /// How much of a chat goes to the provider.
    pub context: Context,
    /// Calls to the provider at the same time; the others wait in the database.
    pub concurrency: usize,
    /// How often a binding's provider is tried before the binding fails.
    pub probe_tries: u32,
    /// How long a run is kept after its end; at least a day.
    #[serde(with = "duration")]
    pub retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: Dialect::Demo,
            base_url: "https://api.openai.com/v1".to_owned(),
            proxy: None,
            api_key: None,
            model: "gpt-4o-mini".to_owned(),
            max_output_tokens: 1024,
            demo_pause: Duration::from_millis(120),
            timeouts: Timeouts::default(),
            breaker: BreakerConfig::default(),
            limits: Limits::default(),
            context: Context::default(),
            concurrency: 8,
            probe_tries: 5,
            retention: Duration::from_hours(30 * 24),
        }
    }
}

/// How long calls to a provider may take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until there is a connection.
    #[serde(with = "duration")]
    pub connect: Duration,
    /// Until the first words.
    #[serde(with = "duration")]
    pub first_token: Duration,
    /// Between two pieces.
    #[serde(with = "duration")]
    pub between_tokens: Duration,
    /// Everything, retries included.
    #[serde(with = "duration")]
    pub total: Duration,
    /// The first wait before a call that brought no words is made again; later ones are longer.
    #[serde(with = "duration")]
    pub retry: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(12),
            between_tokens: Duration::from_secs(10),
            total: Duration::from_secs(30),
            retry: Duration::from_millis(250),
        }
    }
}

/// What the guards allow.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How long after a word or a decision of the owner the AI only drafts.
    #[serde(with = "duration")]
    pub takeover: Duration,
    /// The pause after the last message before a reply is written.
    #[serde(with = "duration")]
    pub pause: Duration,
    /// The longest such a pause is waited for.
    #[serde(with = "duration")]
    pub pause_max: Duration,
    /// Automatic messages in a row without a human one.
    pub consecutive: u32,
    /// Replies of one binding in an hour.
    pub replies_per_hour: usize,
    /// Calls to the provider for one owner in a day (UTC).
    pub calls_per_day: i64,
    /// Tokens for one owner in a day (UTC). The call that reaches the limit is the last.
    pub tokens_per_day: i64,
    /// Advice of one binding that may wait at the same time.
    pub open_advice: usize,
    /// The shortest visible delay of a reply that needs no approval.
    #[serde(with = "duration")]
    pub delay_min: Duration,
    /// The longest one.
    #[serde(with = "duration")]
    pub delay_max: Duration,
    /// How long the outcome of a release is waited for.
    #[serde(with = "duration")]
    pub outcome: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            takeover: Duration::from_mins(10),
            pause: Duration::from_secs(3),
            pause_max: Duration::from_secs(15),
            consecutive: 3,
            replies_per_hour: 60,
            calls_per_day: 200,
            tokens_per_day: 500_000,
            open_advice: 4,
            delay_min: Duration::from_secs(5),
            delay_max: Duration::from_secs(25),
            outcome: Duration::from_mins(2),
        }
    }
}

impl Limits {
    /// As the kernel wants them.
    pub(crate) fn for_kernel(&self) -> kernel::Limits {
        kernel::Limits {
            takeover_ms: millis(self.takeover),
            pause_ms: millis(self.pause),
            pause_max_ms: millis(self.pause_max),
            consecutive: self.consecutive,
            replies_per_hour: self.replies_per_hour,
            outcome_ms: millis(self.outcome),
            open_advice: self.open_advice,
        }
    }
}

/// How much of a chat goes to the provider.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Context {
    /// Messages at most; up to [`contracts::message::MAX_PAGE`] are read.
    pub messages: usize,
    /// Bytes of text at most.
    pub bytes: usize,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            messages: 40,
            bytes: 24 * 1024,
        }
    }
}

impl Context {
    pub(crate) fn bounds(self) -> prompt::Bounds {
        prompt::Bounds {
            messages: self.messages.min(contracts::message::MAX_PAGE),
            bytes: self.bytes,
        }
    }
}

impl Config {
    /// Refuses what cannot work, naming the settings.
    ///
    /// # Errors
    /// One line for each trouble.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut troubles = Vec::new();
        if self.provider == Dialect::ChatCompletions && self.model.trim().is_empty() {
            troubles.push("ai.model is empty".to_owned());
        }
        if let Err(error) = self.provider() {
            troubles.push(error.to_string());
        }
        if self.limits.delay_min > self.limits.delay_max {
            troubles.push("ai.limits.delay_min is longer than ai.limits.delay_max".to_owned());
        }
        if self.concurrency == 0 || self.context.messages == 0 || self.limits.open_advice == 0 {
            troubles.push(
                "ai.concurrency, ai.context.messages and ai.limits.open_advice must be at least 1"
                    .to_owned(),
            );
        }
        if self.retention < Duration::from_hours(24) {
            troubles.push("ai.retention is shorter than a day".to_owned());
        }
        if troubles.is_empty() {
            Ok(())
        } else {
            Err(troubles)
        }
    }

    /// The provider that is configured.
    pub(crate) fn provider(&self) -> Result<Arc<dyn Provider>, BoxError> {
        Ok(match self.provider {
            Dialect::Demo => Arc::new(demo::Demo::new(self.demo_pause)),
            Dialect::ChatCompletions => Arc::new(chat_completions::ChatCompletions::new(
                &chat_completions::Settings {
                    base_url: self.base_url.clone(),
                    proxy: self.proxy.clone(),
                    api_key: self.api_key.clone(),
                    model: self.model.clone(),
                    connect_timeout: self.timeouts.connect,
                    max_tokens: self.max_output_tokens,
                },
            )?),
        })
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// row:G24: a printed configuration does not show the key.
    #[test]
    fn a_key_is_never_printed() {
        let config: Config =
            serde_json::from_str(r#"{"api_key": "sk-very-secret"}"#).expect("a configuration");
        let shown = format!(
            "{config:?}{}",
            serde_json::to_string(&config).expect("it prints")
        );
        assert!(!shown.contains("very-secret"), "{shown}");
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let wrong = Config {
            provider: Dialect::ChatCompletions,
            base_url: "ftp://x".to_owned(),
            ..Config::default()
        };
        assert!(
            wrong
                .check()
                .is_err_and(|troubles| troubles[0].contains("ai.base_url"))
        );
        let wrong = Config {
            concurrency: 0,
            ..Config::default()
        };
        assert!(
            wrong
                .check()
                .is_err_and(|troubles| troubles[0].contains("ai.concurrency"))
        );
        assert!(serde_json::from_str::<Config>(r#"{"provdier": "demo"}"#).is_err());
        assert_eq!(Config::default().check(), Ok(()));
    }
}
