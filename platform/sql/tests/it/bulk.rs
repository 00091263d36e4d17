use sql::{Args, Error, Insert, args};

use crate::{both, count};

const HEAD: &str = "INSERT INTO sample (id, flag, name)";

fn rows(from: i64, count: i64) -> Vec<Args> {
    (from..from + count)
        .map(|id| args![id, id % 2 == 0, (id % 3 != 0).then(|| format!("name {id}"))])
        .collect()
}

#[tokio::test]
async fn any_number_of_rows_goes_in_with_one_call() {
    for db in both().await {
        let mut from = 0;
        for size in [0_i64, 1, 7, 1000] {
            let mut tx = db.write_tx().await.unwrap();
            let inserted = tx.insert_many(HEAD, 3, "", rows(from, size)).await.unwrap();
            assert_eq!(i64::try_from(inserted).unwrap(), size);
            tx.commit().await.unwrap();
            from += size;
        }
        let stored = db
            .fetch_all(
                "SELECT id, flag, name FROM sample ORDER BY id",
                Args::none(),
            )
            .await
            .unwrap();
        assert_eq!(stored.len(), 1008);
        for (id, row) in (0_i64..).zip(&stored) {
            assert_eq!(row.get::<i64>("id").unwrap(), id);
            assert_eq!(row.get::<bool>("flag").unwrap(), id % 2 == 0);
            assert_eq!(
                row.get::<Option<String>>("name").unwrap(),
                (id % 3 != 0).then(|| format!("name {id}"))
            );
        }
    }
}

#[tokio::test]
async fn rows_of_several_tables_go_in_together_or_not_at_all() {
    let other = |rows: Vec<Args>| Insert::new("INSERT INTO other (id, word)", 2, "", rows);
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        tx.execute(
            "CREATE TABLE other (id BIGINT PRIMARY KEY, word TEXT)",
            args![],
        )
        .await
        .unwrap();
        let words = (0..1500_i64).map(|n| args![n, "w"]).collect();
        let inserts = vec![
            Insert::new(HEAD, 3, "", rows(0, 3)),
            Insert::new(HEAD, 3, "", Vec::new()),
            other(words),
        ];
        tx.insert_together(inserts).await.unwrap();
        tx.commit().await.unwrap();
        let counted = "SELECT COUNT(*) AS words FROM other";
        let row = db.fetch_optional(counted, args![]).await.unwrap().unwrap();
        assert_eq!((count(&db).await, row.get("words").unwrap()), (3, 1500_i64));

        let mut tx = db.write_tx().await.unwrap();
        let twice = vec![
            Insert::new(HEAD, 3, "", rows(10, 3)),
            other(vec![args![7_i64, "again"]]),
        ];
        assert!(tx.insert_together(twice).await.is_err());
        assert!(tx.commit().await.is_err());
        assert_eq!(count(&db).await, 3);
    }
}

#[tokio::test]
async fn rows_that_exist_are_passed_over_when_the_tail_says_so() {
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        tx.insert_many(HEAD, 3, "", rows(0, 10)).await.unwrap();
        let inserted = tx
            .insert_many(HEAD, 3, " ON CONFLICT DO NOTHING", rows(5, 10))
            .await
            .unwrap();
        assert_eq!(inserted, 5);
        tx.commit().await.unwrap();
        assert_eq!(count(&db).await, 15);
    }
}

#[tokio::test]
async fn a_row_of_the_wrong_width_ends_the_transaction() {
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        assert!(matches!(
            tx.insert_many(HEAD, 3, "", vec![args![1_i64]]).await,
            Err(Error::Other(_))
        ));
        assert!(tx.commit().await.is_err());
    }
}

#[tokio::test]
async fn a_list_of_one_column_finds_its_rows_and_each_once() {
    let sql = "SELECT id FROM sample WHERE flag = $1 AND id IN ({list}) ORDER BY id";
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        tx.insert_many(HEAD, 3, "", rows(0, 400)).await.unwrap();
        for size in [0_i64, 1, 2, 9, 100, 300] {
            let list: Vec<Args> = (0..size).map(|id| args![id]).collect();
            let found = tx.fetch_list(sql, args![true], 1, list).await.unwrap();
            let ids: Vec<i64> = found.iter().map(|row| row.get("id").unwrap()).collect();
            assert_eq!(
                ids,
                (0..size).step_by(2).collect::<Vec<_>>(),
                "{} {size}",
                db.engine()
            );
        }
    }
}

#[tokio::test]
async fn a_list_of_tuples_finds_exactly_its_pairs() {
    let sql = "SELECT a, b FROM pair WHERE b < $1 AND (a, b) IN (VALUES {list}) ORDER BY a, b";
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        tx.insert_many(HEAD, 3, "", rows(0, 20)).await.unwrap();
        let all: Vec<Args> = (0..20_i64)
            .flat_map(|a| (0..20_i64).map(move |b| args![a, b]))
            .collect();
        tx.insert_many("INSERT INTO pair (a, b)", 2, "", all)
            .await
            .unwrap();
        let list = vec![
            args![3_i64, 4_i64],
            args![5_i64, 6_i64],
            args![7_i64, 19_i64],
            args![3_i64, 99_i64],
        ];
        let found = tx.fetch_list(sql, args![10_i64], 2, list).await.unwrap();
        let pairs: Vec<(i64, i64)> = found
            .iter()
            .map(|row| (row.get("a").unwrap(), row.get("b").unwrap()))
            .collect();
        assert_eq!(pairs, [(3, 4), (5, 6)], "{}", db.engine());
    }
}
