//! Settings from the environment: `MESSENGER_SECTION__KEY`, and the names that people know.

use std::net::SocketAddr;

use toml::{Table, Value};

use super::{Config, Place};
use crate::topology::Service;

/// Variables that are known by other names, and where they go.
const KNOWN: [(&str, &str); 15] = [
    ("DATABASE_URL", "sql"),
    ("REDIS_URL", "cache"),
    ("OPENAI_API_KEY", "ai.api_key"),
    ("OPENAI_BASE_URL", "ai.base_url"),
    (
        "CHAT_MESSAGE_PERSIST_WORKER_COUNT",
        "message.persist_workers",
    ),
    ("TOPIC_MESSAGE_PERSIST", "topics.message_persist"),
    ("TOPIC_FORWARD_MESSAGE", "topics.forward_message"),
    ("TOPIC_AI_FEED", "topics.ai_feed"),
    ("TOPIC_AI_AUTOREPLY", "topics.ai_autoreply"),
    ("TOPIC_AI_ADVICE_REQUEST", "topics.ai_advice_request"),
    ("TOPIC_AI_ADVICE_RESPONSE", "topics.ai_advice_response"),
    ("TOPIC_AI_BINDING_INIT", "topics.ai_binding_init"),
    ("TOPIC_AI_THREAD_CREATED", "topics.ai_thread_created"),
    ("TOPIC_CHAT_INVITE", "topics.chat_invite"),
    ("KAFKA_BROKERS", "log"),
];

/// Variables of ours that are no settings.
const OTHERS: [&str; 2] = ["MESSENGER_CONFIG", "MESSENGER_FAILPOINT"];

const PREFIX: &str = "MESSENGER_";

/// Puts the environment on top of `table`. A value is read as the type that its setting has.
pub(super) fn overlay(
    table: &mut Table,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(), String> {
    let defaults = Table::try_from(Config::default()).map_err(|error| error.to_string())?;
    let mut variables: Vec<_> = environment.into_iter().collect();
    variables.sort();
    for (name, text) in variables {
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        let (path, text) = match (known, place(&name, &text)) {
            (Some(("KAFKA_BROKERS", path)), _) => ((*path).to_owned(), format!("kafka://{text}")),
            (Some((_, path)), _) => ((*path).to_owned(), text),
            (None, Some(placed)) => placed,
            (None, None) if OTHERS.contains(&name.as_str()) => continue,
            (None, None) => match name.strip_prefix(PREFIX) {
                Some(rest) => (path_of(rest, &defaults), text),
                None => continue,
            },
        };
        let keys: Vec<_> = path.split('.').collect();
        let value =
            typed(&text, lookup(&defaults, &keys)).map_err(|error| format!("{name}: {error}"))?;
        // Read at once, so that a mistake is reported with the name of its variable.
        let mut read = with(table, &keys, value, &defaults);
        // What has no default does not say that it is a number.
        if let (Err(_), None, Ok(number)) = (&read, lookup(&defaults, &keys), text.parse()) {
            read = with(table, &keys, Value::Integer(number), &defaults);
        }
        *table = read.map_err(|error| format!("{name}: {}", super::told(&error, "")))?;
    }
    Ok(())
}

/// `table` with one more value, if that can be read.
fn with(
    table: &Table,
    keys: &[&str],
    value: Value,
    defaults: &Table,
) -> Result<Table, toml::de::Error> {
    let mut table = table.clone();
    set(&mut table, keys, value);
    fill(&mut table, defaults, 0);
    table.clone().try_into::<Config>().map(|_| table)
}

/// Fills in the parts that are missing of settings that have parts, such as limits.
pub(super) fn complete(table: &mut Table) -> Result<(), String> {
    let defaults = Table::try_from(Config::default()).map_err(|error| error.to_string())?;
    fill(table, &defaults, 0);
    Ok(())
}

/// Says where a process with `service` listens, as far as nobody has said it.
pub(super) fn listen(table: &mut Table, service: Service, place: &Place) -> Result<(), String> {
    for (section, key, name, address) in [
        ("http", "public", "http", &place.http),
        ("http", "private", "private", &place.private),
        ("rpc", "listen", "rpc", &place.rpc),
    ] {
        let is_set = lookup(table, &[section, key]).is_some();
        if !is_set && address.parse::<SocketAddr>().is_err() {
            return Err(format!(
                "services.{service}.{name} = \"{address}\" is no address to listen at: set {section}.{key}"
            ));
        }
        if !is_set {
            set(table, &[section, key], Value::String(address.clone()));
        }
    }
    Ok(())
}

/// `CHAT_HTTP_PORT`, `CHAT_GRPC_PORT` and `CHAT_SERVICE_GRPC_ADDR` say where the service is.
fn place(name: &str, text: &str) -> Option<(String, String)> {
    let ends = [
        ("_HTTP_PORT", "http", true),
        ("_GRPC_PORT", "rpc", true),
        ("_SERVICE_GRPC_ADDR", "rpc", false),
    ];
    let (service, key, is_port) = ends
        .into_iter()
        .find_map(|(end, key, is_port)| Some((name.strip_suffix(end)?, key, is_port)))?;
    let service = service.to_ascii_lowercase().replace('_', "-");
    let service: Service = service.parse().ok()?;
    let address = if is_port {
        format!("127.0.0.1:{text}")
    } else {
        text.to_owned()
    };
    Some((format!("services.{service}.{key}"), address))
}

fn fill(table: &mut Table, defaults: &Table, depth: usize) {
    for (name, default) in defaults {
        let Value::Table(default) = default else {
            continue;
        };
        if let Some(Value::Table(given)) = table.get_mut(name) {
            fill(given, default, depth + 1);
        }
    }
    // A whole section has defaults of its own, and among them secrets that print as nothing.
    if depth >= 2 {
        for (name, default) in defaults {
            table.entry(name).or_insert_with(|| default.clone());
        }
    }
}

/// `WS_GATEWAY__KEY` is `ws-gateway.key`: names are spelled as they are in the file.
fn path_of(rest: &str, defaults: &Table) -> String {
    let mut place = Some(defaults);
    let mut path = Vec::new();
    for name in rest.to_ascii_lowercase().split("__") {
        let dashed = name.replace('_', "-");
        let is_dashed = place.is_some_and(|table| table.contains_key(&dashed));
        let name = if is_dashed { dashed } else { name.to_owned() };
        place = place.and_then(|table| table.get(&name)?.as_table());
        path.push(name);
    }
    path.join(".")
}

fn lookup<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a Value> {
    let (first, rest) = keys.split_first()?;
    let value = table.get(*first)?;
    if rest.is_empty() {
        Some(value)
    } else {
        lookup(value.as_table()?, rest)
    }
}

fn typed(text: &str, like: Option<&Value>) -> Result<Value, String> {
    match like {
        Some(Value::Integer(_)) => text
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("`{text}` is no whole number")),
        Some(Value::Float(_)) => text
            .parse()
            .map(Value::Float)
            .map_err(|_| format!("`{text}` is no number")),
        Some(Value::Boolean(_)) => text
            .parse()
            .map(Value::Boolean)
            .map_err(|_| format!("`{text}` is neither true nor false")),
        Some(Value::Array(_)) => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Ok(Value::Array(
                items.map(|item| Value::String(item.to_owned())).collect(),
            ))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn set(table: &mut Table, keys: &[&str], value: Value) {
    let Some((first, rest)) = keys.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.insert((*first).to_owned(), value);
        return;
    }
    let section = table
        .entry(*first)
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        set(section, rest, value);
    }
}
