use sql::{Args, Error, Row, Type, Uuid, Value, args};

use crate::both;

const INSERT: &str = "INSERT INTO sample (id, flag, name, body, key) VALUES ($1, $2, $3, $4, $5)";
const SELECT: &str = "SELECT id, flag, name, body, key FROM sample ORDER BY id";

pub(crate) fn round_trip(row: &Row) -> Args {
    args![
        row.get::<i64>("id").unwrap(),
        row.get::<Option<bool>>("flag").unwrap(),
        row.get::<Option<String>>("name").unwrap(),
        row.get::<Option<Vec<u8>>>("body").unwrap(),
        row.get::<Option<Uuid>>("key").unwrap(),
    ]
}

#[tokio::test]
async fn every_kind_of_value_comes_back_as_it_went_in() {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let rows = [
        args![
            i64::MIN,
            true,
            "Ünïcødé 漢字 \u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} ' \" \\ % _ \n",
            all_bytes,
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
        args![
            i64::MAX,
            Some(true),
            Some("é"),
            Some(vec![0_u8]),
            Some(Uuid::from_u128(7))
        ],
    ];
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        for row in &rows {
            assert_eq!(tx.execute(INSERT, row.clone()).await.unwrap(), 1);
        }
        tx.commit().await.unwrap();
        let stored = db.fetch_all(SELECT, Args::none()).await.unwrap();
        assert_eq!(
            stored.iter().map(round_trip).collect::<Vec<_>>(),
            rows,
            "{}",
            db.engine()
        );
    }
}

#[tokio::test]
async fn a_null_where_a_value_is_asked_for_is_an_error_and_no_zero() {
    for db in both().await {
        let sql = "SELECT CAST($1 AS BIGINT) AS n, $2 AS name";
        let row = db
            .fetch_optional(sql, args![None::<i64>, None::<&str>])
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(row.get::<i64>("n"), Err(Error::Other(_))));
        assert!(matches!(row.get::<String>("name"), Err(Error::Other(_))));
        assert_eq!(row.get::<Option<i64>>("n").unwrap(), None);
        assert_eq!(row.get::<Option<String>>("name").unwrap(), None);
        assert!(matches!(row.get::<i64>("absent"), Err(Error::Other(_))));
    }
}

#[tokio::test]
async fn a_bare_integer_literal_is_an_integer_on_both_engines() {
    for db in both().await {
        let row = db
            .fetch_optional("SELECT 1 AS one, 1 < 2 AS less", Args::none())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.get::<i64>("one").unwrap(), 1);
        assert_eq!(row.get::<Option<i64>>("one").unwrap(), Some(1));
        assert!(row.get::<bool>("less").unwrap());
        assert!(row.get::<String>("one").is_err(), "a number is no text");
    }
}

#[tokio::test]
async fn ids_are_ordered_by_their_bytes_on_both_engines() {
    let ids = [
        Uuid::from_u128(1),
        Uuid::from_u128(0x80 << 120),
        Uuid::max(),
    ];
    for db in both().await {
        let mut tx = db.write_tx().await.unwrap();
        for (n, id) in (0_i64..).zip(ids.iter().rev()) {
            tx.execute(
                "INSERT INTO sample (id, key) VALUES ($1, $2)",
                args![n, *id],
            )
            .await
            .unwrap();
        }
        let rows = tx
            .fetch_all("SELECT key FROM sample ORDER BY key", Args::none())
            .await
            .unwrap();
        let stored: Vec<Uuid> = rows.iter().map(|row| row.get("key").unwrap()).collect();
        assert_eq!(stored, ids);
    }
}

#[test]
fn an_option_keeps_the_kind_of_its_absence() {
    assert_eq!(
        args![
            None::<u32>,
            None::<bool>,
            None::<&str>,
            None::<Vec<u8>>,
            None::<Uuid>
        ],
        Args::from(vec![
            Value::Null(Type::Int),
            Value::Null(Type::Bool),
            Value::Null(Type::Text),
            Value::Null(Type::Bytes),
            Value::Null(Type::Uuid),
        ])
    );
}
