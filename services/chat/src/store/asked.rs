//! Which question each key of a request for advice was used for.

use contracts::events::AdviceRequest;
use sql::{Tx, args};

use super::{Error, Store};
use crate::domain;

/// Notes what a run was asked; `false` when it was asked the same before.
pub(super) async fn note(tx: &mut Tx, request: &AdviceRequest, now_ms: i64) -> Result<bool, Error> {
    let (run, intent) = (request.run.0, domain::intent(request.hint.as_deref()));
    let new = tx
        .execute(
            "INSERT INTO asked (run_id, intent, asked_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            args![run, intent, now_ms],
        )
        .await?;
    if new > 0 {
        return Ok(true);
    }
    let row = tx
        .fetch_optional("SELECT intent FROM asked WHERE run_id = $1", args![run])
        .await?;
    let before: Option<i64> = row.map(|row| row.get("intent")).transpose()?;
    if before == Some(intent) {
        Ok(false)
    } else {
        Err(Error::OtherQuestion)
    }
}

impl Store {
    /// Forgets what was asked before `before_ms`.
    pub(crate) async fn forget_asked(&self, before_ms: i64) -> Result<(), Error> {
        let mut tx = self.db.write_tx().await?;
        tx.execute("DELETE FROM asked WHERE asked_ms < $1", args![before_ms])
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contracts::{ChatId, RunId, ThreadId, UserId, events::Topics};
    use uuid::Uuid;

    use super::*;
    use crate::store::MIGRATIONS;

    /// row:E15: one key names one question: the same again is the same request, another one is refused until the first is
    /// long forgotten.
    #[tokio::test]
    async fn a_key_names_one_question() {
        for db in sql::testing::both("chat", &MIGRATIONS).await {
            let (store, topics) = (Store::new(sql::Db::clone(&db)), Topics::default());
            let (ann, bob) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
            let chat = ChatId(Uuid::from_u128(3));
            store
                .open_private(&topics, chat, ann, bob, 0)
                .await
                .unwrap();
            let request = |run, hint: Option<&str>| AdviceRequest {
                run: RunId(Uuid::from_u128(run)),
                thread: ThreadId(Uuid::from_u128(4)),
                chat,
                owner: ann,
                version: 1,
                hint: hint.map(str::to_owned),
                request: None,
            };
            let waiting = async || store.waiting(chat).await.unwrap().len();
            let created = waiting().await;
            for (run, hint, is_new) in [
                (5, Some("what now?"), true),
                (5, Some("what now?"), false),
                (6, None, true),
                (6, None, false),
            ] {
                let asked = store.ask(&topics, &request(run, hint), 1000).await.unwrap();
                assert_eq!(asked, is_new, "{run} {hint:?}");
            }
            for (run, hint) in [(5, Some("what then?")), (5, None), (6, Some(""))] {
                let refused = store.ask(&topics, &request(run, hint), 1000).await;
                assert!(
                    matches!(refused, Err(Error::OtherQuestion)),
                    "{run} {hint:?}"
                );
            }
            assert_eq!(waiting().await, created + 2);
            store.forget_asked(1000).await.unwrap();
            let still = store.ask(&topics, &request(6, Some("")), 1000).await;
            assert!(still.is_err());
            store.forget_asked(1001).await.unwrap();
            assert!(
                store
                    .ask(&topics, &request(6, Some("")), 1000)
                    .await
                    .unwrap()
            );
        }
    }
}
