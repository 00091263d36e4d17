//! Tables that go from SQLite to PostgreSQL: whole, compared, and never over something else.

use sql::{Args, Db, Error, Mark, Uuid, args, testing, transfer};

use crate::{SAMPLE, insert};

/// A store of each engine, the first one with rows of every kind in all of its tables.
async fn filled(service: &str) -> (testing::TestDb, testing::TestDb) {
    let from = testing::sqlite(service, &SAMPLE).await;
    let to = testing::postgres(service, &SAMPLE).await;
    let bytes: Vec<u8> = (0..=255).collect();
    let rows = [
        args![
            i64::MIN,
            true,
            "Ünïcødé 漢字 \u{1F468}\u{200D}\u{1F469} ' \" \\ \t\n",
            bytes,
            Uuid::max()
        ],
        args![-1_i64, false, "", Vec::<u8>::new(), Uuid::nil()],
        args![
            0_i64,
            None::<bool>,
            None::<String>,
            None::<Vec<u8>>,
            None::<Uuid>
        ],
        args![i64::MAX, true, "\\N", vec![0_u8], Uuid::from_u128(7)],
    ];
    let mut tx = from.write_tx().await.unwrap();
    for row in rows {
        let sql = "INSERT INTO sample (id, flag, name, body, key) VALUES ($1, $2, $3, $4, $5)";
        tx.execute(sql, row).await.unwrap();
    }
    let pairs = vec![args![-1_i64, 1_i64], args![0_i64, 2_i64]];
    tx.insert_many("INSERT INTO pair (a, b)", 2, "", pairs)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // Both have what their migrations wrote.
    change(&to, "DELETE FROM counter").await;
    (from, to)
}

async fn change(db: &Db, sql: &'static str) {
    let mut tx = db.write_tx().await.unwrap();
    tx.execute(sql, Args::none()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn copied(from: &Db, to: &Db) -> Vec<transfer::Table> {
    let tables = transfer::tables(from, to).await.unwrap();
    for table in &tables {
        let rows = transfer::rows(from, table.name()).await.unwrap();
        assert_eq!(
            transfer::copy(from, to, table, &mut |_| {}).await.unwrap(),
            rows
        );
    }
    tables
}

async fn digest(db: &Db, table: &transfer::Table) -> transfer::Digest {
    transfer::digest(db, table, &mut |_| {}).await.unwrap()
}

/// guarantee:G18: every kind of value reads the same after the copy, on both engines; parents come before what refers to them.
#[tokio::test]
async fn a_copied_table_holds_the_same_values() {
    let (from, to) = filled("copied").await;
    let tables = copied(&from, &to).await;
    let names: Vec<_> = tables.iter().map(transfer::Table::name).collect();
    assert_eq!(names, ["counter", "entry", "sample", "pair"]);
    for table in &tables {
        assert_eq!(
            digest(&from, table).await,
            digest(&to, table).await,
            "{}",
            table.name()
        );
    }
    let all = "SELECT id, flag, name, body, key FROM sample ORDER BY id";
    let read = async |db: &Db| {
        let rows = db.fetch_all(all, Args::none()).await.unwrap();
        rows.iter()
            .map(crate::values::round_trip)
            .collect::<Vec<_>>()
    };
    assert_eq!(read(&from).await, read(&to).await);
}

/// A digest tells any change of any value, and nothing of the order of the rows.
#[tokio::test]
async fn a_digest_tells_every_difference() {
    let (from, to) = filled("differs").await;
    let tables = copied(&from, &to).await;
    let sample = tables
        .iter()
        .find(|table| table.name() == "sample")
        .unwrap();
    let whole = digest(&from, sample).await;
    for (there, back) in [
        (
            "UPDATE sample SET flag = FALSE WHERE id > 0",
            "UPDATE sample SET flag = TRUE WHERE id > 0",
        ),
        (
            "UPDATE sample SET flag = FALSE WHERE id = 0",
            "UPDATE sample SET flag = NULL WHERE id = 0",
        ),
        (
            "UPDATE sample SET name = NULL WHERE id = -1",
            "UPDATE sample SET name = '' WHERE id = -1",
        ),
        (
            "UPDATE sample SET name = 'n' WHERE id > 0",
            "UPDATE sample SET name = '\\N' WHERE id > 0",
        ),
        (
            "UPDATE sample SET body = '\\x01' WHERE id > 0",
            "UPDATE sample SET body = '\\x00' WHERE id > 0",
        ),
        (
            "UPDATE sample SET key = '00000000-0000-0000-0000-000000000001' WHERE id = -1",
            "UPDATE sample SET key = '00000000-0000-0000-0000-000000000000' WHERE id = -1",
        ),
        (
            "UPDATE sample SET id = 1 WHERE id > 0",
            "UPDATE sample SET id = 9223372036854775807 WHERE id > 0",
        ),
        (
            "INSERT INTO sample (id) VALUES (5)",
            "DELETE FROM sample WHERE id = 5",
        ),
    ] {
        change(&to, there).await;
        assert_ne!(digest(&to, sample).await, whole, "{there}");
        // An update writes the row anew, at another place in the table.
        change(&to, back).await;
        assert_eq!(digest(&to, sample).await, whole, "{back}");
    }
}

/// More rows than are ever in memory come whole; both sides say how far they are.
#[tokio::test]
async fn a_long_table_is_copied_in_pieces() {
    const ROWS: i64 = 20_000;
    let (from, to) = filled("long").await;
    change(&from, "DELETE FROM pair").await;
    change(&from, "DELETE FROM sample").await;
    let body = vec![7_u8; 300];
    let rows = (0..ROWS).map(|n| args![n, format!("name {n}"), body.clone()]);
    let mut tx = from.write_tx().await.unwrap();
    tx.insert_many("INSERT INTO sample (id, name, body)", 3, "", rows.collect())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let tables = transfer::tables(&from, &to).await.unwrap();
    let sample = tables
        .iter()
        .find(|table| table.name() == "sample")
        .unwrap();
    let (mut copying, mut reading) = (Vec::new(), Vec::new());
    let copied = transfer::copy(&from, &to, sample, &mut |n| copying.push(n))
        .await
        .unwrap();
    let digest = transfer::digest(&to, sample, &mut |n| reading.push(n))
        .await
        .unwrap();
    assert_eq!((copied, digest.rows), (20_000, 20_000));
    assert_eq!(
        digest,
        transfer::digest(&from, sample, &mut |_| {}).await.unwrap()
    );
    for told in [copying, reading] {
        assert!(told.len() >= 19 && told.is_sorted(), "{told:?}");
    }
}

/// What PostgreSQL numbers by itself goes on above what came along.
#[tokio::test]
async fn numbering_goes_on_after_a_copy() {
    let (from, to) = filled("numbered").await;
    let add = "INSERT INTO entry (word) VALUES ('one'), ('two'), ('three')";
    change(&from, add).await;
    copied(&from, &to).await;
    change(&to, add).await;
    let rows = to
        .fetch_all("SELECT n FROM entry ORDER BY n", Args::none())
        .await
        .unwrap();
    let numbers: Vec<i64> = rows.iter().map(|row| row.get("n").unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

/// A copy is whole or not there, and never over what is there; what is cleared can be copied again.
#[tokio::test]
async fn a_copy_never_overwrites() {
    let (from, to) = filled("over").await;
    assert_eq!(
        transfer::inhabited(&to).await.unwrap(),
        None,
        "it was only migrated"
    );
    let mut tx = to.write_tx().await.unwrap();
    insert(&mut tx, i64::MAX, "somebody").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        transfer::inhabited(&to).await.unwrap().as_deref(),
        Some("sample")
    );
    let tables = transfer::tables(&from, &to).await.unwrap();
    let sample = tables
        .iter()
        .find(|table| table.name() == "sample")
        .unwrap();
    let refused = transfer::copy(&from, &to, sample, &mut |_| {}).await;
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    assert_eq!(transfer::rows(&to, "sample").await.unwrap(), 1);
    transfer::clear(&to, &tables).await.unwrap();
    copied(&from, &to).await;
    assert_eq!(transfer::rows(&to, "sample").await.unwrap(), 4);
}

/// A schema with tables that no migration of ours made is somebody else's.
#[tokio::test]
async fn foreign_tables_are_somebody() {
    let to = testing::postgres(
        "foreign",
        &sql::Migrations {
            sqlite: &[],
            postgres: &[],
        },
    )
    .await;
    assert_eq!(transfer::inhabited(&to).await.unwrap(), None);
    change(&to, "DROP TABLE schema_migration").await;
    assert_eq!(transfer::inhabited(&to).await.unwrap(), None);
    change(&to, "CREATE TABLE theirs (id BIGINT)").await;
    assert_eq!(
        transfer::inhabited(&to).await.unwrap().as_deref(),
        Some("theirs")
    );
}

/// A table or a column that only one side has is not left behind in silence, nor one of a type that nobody reads.
#[tokio::test]
async fn stores_of_different_shape_are_refused() {
    for (at_source, statement, word) in [
        (
            true,
            "ALTER TABLE sample ADD COLUMN extra TEXT",
            "sample.extra",
        ),
        (true, "CREATE TABLE more (id INTEGER)", "more.id"),
        (true, "DROP TABLE pair", "pair.a"),
        (
            false,
            "ALTER TABLE sample ADD COLUMN extra TEXT",
            "sample.extra",
        ),
        (
            false,
            "ALTER TABLE counter ALTER COLUMN n TYPE NUMERIC",
            "counter.n",
        ),
    ] {
        let (from, to) = filled("shapes").await;
        change(if at_source { &from } else { &to }, statement).await;
        let refused = transfer::tables(&from, &to).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Refused(why) if why.contains(word)),
            "{refused:?}"
        );
    }
}

/// Two moves into one database do not meet.
#[tokio::test]
async fn a_database_has_one_claim() {
    let to = testing::postgres("claimed", &SAMPLE).await;
    let first = transfer::claim(&to).await.unwrap();
    let second = transfer::claim(&to).await;
    assert!(matches!(&second, Err(Error::Refused(why)) if why.contains("another move")));
    drop(first);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while transfer::claim(&to).await.is_err() {
        assert!(
            std::time::Instant::now() < deadline,
            "the claim ends with its owner"
        );
        tokio::task::yield_now().await;
    }
}

/// A mark says whether a store may be used, survives, and can be written over; a store that is not there has none.
#[tokio::test]
async fn a_mark_closes_a_store() {
    for db in crate::both().await {
        assert_eq!(db.mark().await.unwrap(), None);
        db.check_usable().await.unwrap();
        let mut mark = Mark {
            id: Uuid::from_u128(7),
            word: "away".to_owned(),
            refusal: Some("it has gone".to_owned()),
        };
        db.set_mark(&mark).await.unwrap();
        assert_eq!(db.mark().await.unwrap().as_ref(), Some(&mark));
        assert_eq!(
            db.check_usable().await.unwrap_err().to_string(),
            "it has gone"
        );
        mark.refusal = None;
        db.set_mark(&mark).await.unwrap();
        db.check_usable().await.unwrap();
        assert_eq!(db.mark().await.unwrap(), Some(mark));
    }
}
