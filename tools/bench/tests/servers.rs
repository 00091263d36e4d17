//! The floors that need real servers, which are brought up for the test and leave nothing behind.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use bench::{
    floor::{
        hops::{Chain, Taken},
        kafka::{self, Pipeline},
    },
    machine::{Cores, FamilyTime},
    servers::Servers,
};

#[test]
fn the_floors_on_servers_go_their_way_and_the_servers_leave_nothing_behind() {
    let parent =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("servers-{}", std::process::id()));
    fs::create_dir_all(&parent).unwrap();
    let servers = Servers::start(&Cores::find().unwrap(), &parent).unwrap();
    let pids = servers.pids();
    let place = servers.place("floors", 1).unwrap();

    let mut taken = Taken::new().unwrap();
    let mut chain = Chain::open(&place, 500).unwrap();
    chain.run(5, Duration::from_millis(10), &mut taken).unwrap();
    assert_eq!(
        (taken.hop.len(), taken.commit.len(), taken.whole.len()),
        (10, 5, 5)
    );
    let rows = place
        .connect()
        .unwrap()
        .query_one("SELECT COUNT(*) FROM floor", &[])
        .unwrap();
    assert_eq!(rows.get::<_, i64>(0), 5);

    let topic = place.topic("loop");
    kafka::make_topics(&place.brokers, &[&topic]).unwrap();
    let mut pipeline = Pipeline::open(&place.brokers, &topic, 500).unwrap();
    let before = FamilyTime::of(&pids).unwrap();
    pipeline.run(200, 64).unwrap();
    pipeline.run(200, 64).unwrap();
    assert!(
        FamilyTime::of(&pids).unwrap().since(&before) > 0,
        "Kafka worked for nothing"
    );

    drop((chain, pipeline, servers));
    // One that has ended stands there until its parent has heard of it.
    let deadline = Instant::now() + Duration::from_secs(10);
    while pids
        .iter()
        .any(|pid| Path::new(&format!("/proc/{pid}")).exists())
    {
        assert!(Instant::now() < deadline, "a server still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(
        fs::read_dir(&parent).unwrap().count(),
        0,
        "a folder is left"
    );
    fs::remove_dir(&parent).unwrap();
}
