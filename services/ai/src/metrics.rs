//! Every metric of this service. Labels come from closed sets; none of them names a person or a chat.

use contracts::{ai::RunState, chat::BindingMode};

/// Counter by `kind` and `state`: runs that reached a state.
pub(crate) const RUNS: &str = "ai_runs_total";
/// Histogram: how long a call to the provider took, retries included.
pub(crate) const PROVIDER: &str = "ai_provider_seconds";
/// Histogram: how long it took until the first words came.
pub(crate) const FIRST_TOKEN: &str = "ai_provider_first_token_seconds";
/// Counter by `class`: calls that failed.
pub(crate) const FAILURES: &str = "ai_provider_failures_total";
/// Counter: tool calls that a provider wanted and nobody made.
pub(crate) const TOOL_CALLS: &str = "ai_provider_tool_calls_ignored_total";
/// Counter: tokens that calls cost.
pub(crate) const TOKENS: &str = "ai_tokens_total";
/// Gauge: runs that wait for a call.
pub(crate) const QUEUED: &str = "ai_queue_length";
/// Gauge: calls that are open.
pub(crate) const CALLS: &str = "ai_provider_calls_open";
/// Counter by `kind`: runs that were not made because the owner's budget is used up.
pub(crate) const QUOTA: &str = "ai_quota_blocks_total";
/// Counter by `group`: records that went to the dead letters.
pub(crate) const DEAD: &str = "ai_dead_letters_total";
/// Counter: bindings whose provider was tried again, and those that were given up, by `outcome`.
pub(crate) const PROBES: &str = "ai_probes_total";

/// Tells the registry the help texts.
pub(crate) fn describe() {
    metrics::describe_counter!(RUNS, "Runs that reached a state, by kind and state");
    metrics::describe_histogram!(
        PROVIDER,
        metrics::Unit::Seconds,
        "Time of one call to the provider, retries included"
    );
    metrics::describe_histogram!(
        FIRST_TOKEN,
        metrics::Unit::Seconds,
        "Time until the provider's first words"
    );
    metrics::describe_counter!(FAILURES, "Calls to the provider that failed, by class");
    metrics::describe_counter!(
        TOOL_CALLS,
        "Tool calls that the provider wanted and nobody made"
    );
    metrics::describe_counter!(TOKENS, "Tokens that calls cost");
    metrics::describe_gauge!(QUEUED, "Runs that wait for a call");
    metrics::describe_gauge!(CALLS, "Calls to the provider that are open");
    metrics::describe_counter!(
        QUOTA,
        "Runs that the owner's budget of the day did not allow, by kind"
    );
    metrics::describe_counter!(DEAD, "Records put to the dead letters, by group");
    metrics::describe_counter!(
        PROBES,
        "Tries of the provider for a new binding, by outcome"
    );
}

/// The label of a kind.
pub(crate) fn kind(kind: BindingMode) -> &'static str {
    match kind {
        BindingMode::Advice => "advice",
        BindingMode::Autoreply => "autoreply",
    }
}

/// The label of a state.
pub(crate) fn state(state: RunState) -> &'static str {
    match state {
        RunState::Queued => "queued",
        RunState::Running => "running",
        RunState::Held => "held",
        RunState::Sending => "sending",
        RunState::Done => "done",
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
        RunState::Superseded => "superseded",
        RunState::Blocked => "blocked",
    }
}
