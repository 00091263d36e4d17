//! The built-in provider: no network, no randomness, no intelligence, and it says so.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};

use crate::{
    domain::prompt::{Prompt, Quote, Role, Task},
    ports::{Failure, Piece, Pieces, Provider},
};

/// The fewest pieces that an answer comes in.
const PIECES: usize = 5;
/// How much of a message is repeated in an answer, in characters.
const QUOTED: usize = 80;

/// A provider that derives its answer from the newest messages.
#[derive(Clone, Debug)]
pub(crate) struct Demo {
    pause: Duration,
}

impl Demo {
    /// A demo that waits for `pause` before each piece.
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause }
    }
}

#[async_trait]
impl Provider for Demo {
    fn model(&self) -> &'static str {
        "demo"
    }

    async fn write(&self, prompt: &Prompt) -> Result<Pieces, Failure> {
        let text = answer(prompt);
        let tokens = (prompt.instructions().len() + prompt.data().len() + text.len()).div_ceil(4);
        let pause = self.pause;
        let written = stream::iter(pieces(&text)).then(move |piece| async move {
            tokio::time::sleep(pause).await;
            Ok(Piece::Text(piece))
        });
        let cost = Piece::Tokens(i64::try_from(tokens).unwrap_or(i64::MAX));
        Ok(written.chain(stream::iter([Ok(cost)])).boxed())
    }
}

fn answer(prompt: &Prompt) -> String {
    let last = prompt
        .quotes()
        .iter()
        .rev()
        .find(|quote| quote.role != Role::Owner);
    let russian = is_russian(prompt.quotes().last().map_or("", |quote| &quote.text));
    match (prompt.task(), russian) {
        (Task::Probe, _) => "ready: this is the built-in demo".to_owned(),
        (Task::Advise(question), true) => advice_ru(prompt, last, question.as_deref()),
        (Task::Advise(question), false) => advice_en(prompt, last, question.as_deref()),
        (Task::Reply, true) => {
            let seen = last.map_or(String::new(), |quote| {
                format!(" Сообщение получено: «{}».", excerpt(quote))
            });
            format!(
                "Это демонстрационный ответ: настоящая модель ИИ не подключена.{seen} {} ответит лично, как только сможет.",
                prompt.owner()
            )
        }
        (Task::Reply, false) => {
            let seen = last.map_or(String::new(), |quote| {
                format!(" Your message arrived: “{}”.", excerpt(quote))
            });
            format!(
                "This is a demo reply: no real AI model is connected.{seen} {} will answer in person as soon as possible.",
                prompt.owner()
            )
        }
    }
}

fn advice_en(prompt: &Prompt, last: Option<&Quote>, question: Option<&str>) -> String {
    let (count, automatic) = counts(prompt);
    let asked = question.map_or(String::new(), |question| {
        format!(" You asked: “{}”.", cut(question))
    });
    let next = last.map_or_else(
        || "Nobody has written yet. You could begin with: “Hello!”".to_owned(),
        |quote| {
            format!(
                "{} wrote: “{}”. You could answer: “Thank you, I have seen it.”",
                quote.name,
                excerpt(quote)
            )
        },
    );
    format!(
        "This is demo advice: no real AI model is connected. I was shown {count} messages, {automatic} of them by an AI.{asked} {next}"
    )
}

fn advice_ru(prompt: &Prompt, last: Option<&Quote>, question: Option<&str>) -> String {
    let (count, automatic) = counts(prompt);
    let asked = question.map_or(String::new(), |question| {
        format!(" Ваш вопрос: «{}».", cut(question))
    });
    let next = last.map_or_else(
        || "Другие пока ничего не написали.".to_owned(),
        |quote| {
            format!(
                "{} пишет: «{}». Можно ответить: «Спасибо, вижу.»",
                quote.name,
                excerpt(quote)
            )
        },
    );
    format!(
        "Это демонстрационный совет: настоящая модель ИИ не подключена. Показано сообщений: {count}, из них от ИИ: {automatic}.{asked} {next}"
    )
}

fn counts(prompt: &Prompt) -> (usize, usize) {
    let automatic = prompt
        .quotes()
        .iter()
        .filter(|quote| quote.role == Role::Ai)
        .count();
    (prompt.quotes().len(), automatic)
}

fn excerpt(quote: &Quote) -> String {
    cut(&quote.text)
}

fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn is_russian(text: &str) -> bool {
    text.chars()
        .any(|c| matches!(c, 'а'..='я' | 'А'..='Я' | 'ё' | 'Ё'))
}

/// Cuts a text into at least [`PIECES`] pieces, between characters.
fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let size = (characters.len() / (PIECES + 3)).max(1);
    characters
        .chunks(size)
        .map(|chunk| chunk.iter().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::prompt::Bounds;

    fn prompt(task: Task, texts: &[&str]) -> Prompt {
        let quotes = texts
            .iter()
            .map(|text| Quote {
                role: Role::Member,
                name: "bob".to_owned(),
                text: (*text).to_owned(),
            })
            .collect();
        Prompt::new(
            task,
            "ann",
            quotes,
            Bounds {
                messages: 40,
                bytes: 1000,
            },
            "n".to_owned(),
        )
    }

    async fn written(prompt: &Prompt) -> Vec<String> {
        let pieces: Vec<_> = Demo::new(Duration::ZERO)
            .write(prompt)
            .await
            .expect("the demo never fails")
            .collect()
            .await;
        pieces
            .into_iter()
            .filter_map(|piece| {
                if let Ok(Piece::Text(text)) = piece {
                    Some(text)
                } else {
                    None
                }
            })
            .collect()
    }

    /// row:E30: the same messages always give the same text, which says what it is.
    #[tokio::test]
    async fn the_demo_is_deterministic_and_says_that_it_is_a_demo() {
        for (task, text, word) in [
            (Task::Reply, "hi there", "demo"),
            (Task::Reply, "привет", "демонстрационный"),
            (Task::Advise(None), "hi there", "demo"),
            (
                Task::Advise(Some("what now?".to_owned())),
                "привет",
                "демонстрационный",
            ),
            (Task::Probe, "", "demo"),
        ] {
            let prompt = prompt(task, &[text]);
            let first = written(&prompt).await;
            assert!(first.len() >= PIECES, "{first:?}");
            assert_eq!(first, written(&prompt).await);
            assert!(first.concat().contains(word), "{first:?}");
        }
    }

    #[tokio::test]
    async fn advice_counts_what_it_was_shown_and_quotes_the_newest() {
        let text = written(&prompt(Task::Advise(None), &["one", "two", "three"]))
            .await
            .concat();
        assert!(
            text.contains("3 messages") && text.contains("“three”"),
            "{text}"
        );
        let text = written(&prompt(Task::Advise(None), &[])).await.concat();
        assert!(text.contains("Nobody has written yet"), "{text}");
    }
}
