//! Submit-and-wait over a real log.

use kit::Code;

use crate::{EventLog, Pace, Submitter};

use super::*;

fn submitter() -> Submitter<u32, String> {
    Submitter::default()
}

/// Ruling 4: the sender tails, sends, and is answered by what it reads.
#[tokio::test]
async fn a_submitted_record_is_answered_by_the_tail() {
    let home = Home::new();
    let log = home.open().await;
    topic(&log, 4).await;
    let submitter = submitter();
    let mut tail = log.tail("topic", Pace::Prompt).await.unwrap();
    let answering = async {
        loop {
            for record in tail.next(10).await.unwrap() {
                submitter.answer(&number(&record), format!("stored {}", number(&record)));
            }
        }
    };
    let submitting = async {
        for number in 0..100 {
            let record = numbered(number..number + 1, 10).remove(0);
            let answer = submitter
                .submit(&log, "topic", record, number)
                .await
                .unwrap();
            assert_eq!(answer, format!("stored {number}"));
        }
    };
    tokio::select! {
        () = answering => {}
        () = submitting => {}
    }
    assert_eq!(submitter.waiting(), 0);
}

#[tokio::test]
async fn when_the_log_is_away_the_answer_is_unavailable_and_nobody_waits() {
    let home = Home::new();
    let log = home.open().await;
    topic(&log, 4).await;
    log.close().await;
    let submitter = submitter();
    let record = numbered(1..2, 10).remove(0);
    let fault = submitter
        .submit(&log, "topic", record, 1)
        .await
        .unwrap_err();
    assert!(fault.is(Code::Unavailable), "{fault:?}");
    assert_eq!(submitter.waiting(), 0);
}
