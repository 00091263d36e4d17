use std::time::Duration;

use kit::Backoff;

#[test]
fn a_wait_never_passes_its_ceiling() {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(40));
    let waits: Vec<_> = (0..50).map(|_| backoff.next_wait()).collect();
    assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(40)));
}
