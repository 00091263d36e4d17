//! The behaviour that every adapter shows: one list of cases, run against each by
//! [`event_log_suite!`](crate::event_log_suite).
//!
//! A case makes topics of its own, so all may share one broker. It waits for conditions and never for
//! time, except for sessions to end. `records` has the cases about records and topics, `groups` those
//! about consumers, `reading` those about services that read.

#![expect(
    clippy::missing_panics_doc,
    reason = "a case panics when the adapter is wrong"
)]

mod groups;
mod ledger;
mod reading;
mod records;

pub use groups::*;
pub use ledger::Ledger;
pub use reading::*;
pub use records::*;

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use kit::Ids;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    Consumer, Delivered, Error, EventLog, Pace, Partition, Poll, Record, StartAt, Subscription,
    Topic, TopicSpec,
};

/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// One poll within such a wait.
const STEP: Duration = Duration::from_millis(50);

/// What one case runs against.
pub struct Stage {
    log: Arc<dyn EventLog>,
    session_timeout: Duration,
    run: Uuid,
    _keep: Box<dyn Any + Send + Sync>,
}

impl Stage {
    /// `session_timeout` is the shortest that the adapter allows; `keep` lives as long as the case.
    pub fn new(
        log: Arc<dyn EventLog>,
        session_timeout: Duration,
        keep: impl Any + Send + Sync,
    ) -> Self {
        Self {
            log,
            session_timeout,
            run: kit::RandomIds.next(),
            _keep: Box::new(keep),
        }
    }

    /// A topic that no other case has.
    async fn topic(&self, name: &str, partitions: u32) -> Topic {
        let spec = TopicSpec {
            name: format!("suite-{name}-{}", self.run).into(),
            partitions,
        };
        let topics = self
            .log
            .ensure(&[spec])
            .await
            .expect("the topic can be made");
        topics.into_iter().next().expect("one topic")
    }

    async fn append(&self, topic: &Topic, records: impl IntoIterator<Item = (String, String)>) {
        let records = records
            .into_iter()
            .map(|(key, value)| record(key, value))
            .collect();
        self.log
            .append(&topic.name, records)
            .await
            .expect("the log takes records");
    }

    async fn join(&self, topic: &Topic, member: &str, start: StartAt) -> Member {
        let subscription = Subscription {
            group: format!("suite-{}", self.run).into(),
            member: member.into(),
            topics: vec![Arc::clone(&topic.name)],
            start,
            session_timeout: self.session_timeout,
            pace: Pace::Prompt,
        };
        let consumer = self
            .log
            .subscribe(subscription)
            .await
            .expect("the group can be joined");
        Member {
            consumer,
            owned: None,
        }
    }
}

fn record(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Record {
    Record {
        key: key.into(),
        value: value.into(),
    }
}

fn numbered(range: std::ops::Range<u32>) -> Vec<(String, String)> {
    range
        .map(|number| (format!("key-{}", number % 17), number.to_string()))
        .collect()
}

fn value(record: &Delivered) -> String {
    String::from_utf8(record.value.to_vec()).expect("the cases write text")
}

/// A consumer and what it was told to own.
struct Member {
    consumer: Box<dyn Consumer>,
    owned: Option<Vec<Partition>>,
}

impl Member {
    /// One poll: records of owned partitions only.
    async fn poll(&mut self) -> Result<Vec<Delivered>, Error> {
        match self.consumer.poll(50, STEP).await? {
            Poll::Assigned(owned) => {
                self.owned = Some(owned);
                Ok(Vec::new())
            }
            Poll::Records(records) => {
                for record in &records {
                    let owned = self
                        .owned
                        .as_ref()
                        .expect("`Assigned` comes before the first record");
                    assert!(
                        owned.contains(&record.partition),
                        "{:?} is not owned",
                        record.partition
                    );
                }
                Ok(records)
            }
        }
    }

    fn owns(&self) -> usize {
        self.owned.as_ref().map_or(0, Vec::len)
    }

    /// Polls until `count` records are there.
    async fn take(&mut self, count: usize) -> Vec<Delivered> {
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while records.len() < count {
            assert!(
                Instant::now() < deadline,
                "{} of {count} records came",
                records.len()
            );
            records.extend(self.poll().await.expect("the poll works"));
        }
        records
    }

    /// Polls until it owns `count` partitions, and expects no records meanwhile.
    async fn own(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.owns() != count {
            assert!(
                Instant::now() < deadline,
                "{} of {count} partitions are owned",
                self.owns()
            );
            assert!(
                self.poll().await.expect("the poll works").is_empty(),
                "no records yet"
            );
        }
    }
}

/// Runs every case as a test of its own. The argument is an expression whose future is a
/// [`Stage`](crate::suite::Stage).
#[macro_export]
macro_rules! event_log_suite {
    ($stage:expr) => {
        $crate::event_log_suite! { @each $stage;
            topics_are_made_once_and_keep_their_ids
            another_number_of_partitions_is_refused
            records_of_one_key_stay_in_one_partition_and_in_order
            records_are_visible_before_a_flush
            a_record_over_one_mebibyte_is_refused_and_nothing_appended
            an_unknown_topic_is_refused
            a_tail_sees_everything_after_it_was_made_and_nothing_before
            a_stretch_can_be_read_without_a_group
            members_of_a_group_share_the_partitions
            a_new_member_gets_its_part_and_a_leaving_one_gives_it_back
            groups_do_not_disturb_each_other
            a_silent_member_loses_its_partitions_and_nothing_happens_twice
            seeking_back_delivers_again
            the_first_assignment_inserts_a_position_at_the_low_mark
            a_stored_position_decides_where_an_assignment_starts
            a_failing_position_store_is_asked_again
            a_committed_place_is_kept_for_the_next_consumer
            a_commit_by_somebody_else_changes_nothing
            a_position_outside_the_log_stops_that_partition_only
            what_is_not_handled_comes_again
            a_reader_goes_on_beside_a_stopped_partition
        }
    };
    (@each $stage:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::suite::$case(&$stage.await).await;
            }
        )*
    };
}
