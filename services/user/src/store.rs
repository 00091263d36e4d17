//! The table `account`, the same statements on both engines.

use contracts::{
    UserId,
    user::{Credentials, User},
};
use sql::{Args, Db, Row, args};

use crate::domain::{Email, Error, Username};

/// The names that both engines give the unique keys of the table.
const NAME_KEY: &str = "account_name_key_key";
const EMAIL_KEY: &str = "account_email_key_key";

pub(crate) struct Store {
    db: Db,
}

/// A row that is not there yet.
pub(crate) struct NewAccount {
    pub(crate) id: UserId,
    pub(crate) username: Username,
    pub(crate) email: Option<Email>,
    pub(crate) password_hash: Option<String>,
    pub(crate) created_at: i64,
}

/// What changes in a row; `None` stays.
pub(crate) struct Change {
    pub(crate) username: Option<Username>,
    pub(crate) email: Option<Email>,
    pub(crate) password_hash: Option<String>,
    pub(crate) updated_at: i64,
}

/// How an account is found.
pub(crate) enum By {
    Id(UserId),
    Name(Username),
    Email(Email),
}

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, username, email, password_hash, created_at, updated_at FROM account WHERE ",
            $condition
        )
    };
}

impl Store {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// Inserts a row; the unique keys say whether name and address were free.
    pub(crate) async fn insert(&self, account: NewAccount) -> Result<User, Error> {
        let NewAccount {
            id,
            username,
            email,
            password_hash,
            created_at,
        } = account;
        let email_text = email.as_ref().map(|email| email.as_str().to_owned());
        let email_key = email.as_ref().map(|email| email.key().to_owned());
        let mut tx = self.db.write_tx().await?;
        tx.execute(
            "INSERT INTO account (id, username, name_key, email, email_key, password_hash, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            args![
                id.0,
                username.as_str(),
                username.key(),
                email_text.clone(),
                email_key,
                password_hash,
                created_at,
                created_at
            ],
        )
        .await
        .map_err(taken)?;
        tx.commit().await?;
        let at = kit::rfc3339(created_at);
        let username = username.as_str().to_owned();
        Ok(User {
            id,
            username,
            email: email_text,
            created_at: at.clone(),
            updated_at: at,
        })
    }

    /// Changes a row and reads it back; `None` when there is no such row.
    pub(crate) async fn update(&self, id: UserId, change: Change) -> Result<Option<User>, Error> {
        let Change {
            username,
            email,
            password_hash,
            updated_at,
        } = change;
        let text = |value: Option<&str>| value.map(str::to_owned);
        let mut tx = self.db.write_tx().await?;
        tx.execute(
            "UPDATE account SET username = COALESCE($2, username), name_key = COALESCE($3, name_key),
                 email = COALESCE($4, email), email_key = COALESCE($5, email_key),
                 password_hash = COALESCE($6, password_hash), updated_at = $7
             WHERE id = $1",
            args![
                id.0,
                text(username.as_ref().map(Username::as_str)),
                text(username.as_ref().map(Username::key)),
                text(email.as_ref().map(Email::as_str)),
                text(email.as_ref().map(Email::key)),
                password_hash,
                updated_at
            ],
        )
        .await
        .map_err(taken)?;
        let row = tx.fetch_optional(select!("id = $1"), args![id.0]).await?;
        let user = row.map(|row| credentials(&row)).transpose()?;
        tx.commit().await?;
        Ok(user.map(|found| found.user))
    }

    pub(crate) async fn find(&self, by: By) -> Result<Option<Credentials>, sql::Error> {
        let (sql, key) = match by {
            By::Id(id) => (select!("id = $1"), args![id.0]),
            By::Name(name) => (select!("name_key = $1"), args![name.key()]),
            By::Email(email) => (select!("email_key = $1"), args![email.key()]),
        };
        self.db
            .fetch_optional(sql, key)
            .await?
            .map(|row| credentials(&row))
            .transpose()
    }

    /// The accounts among `ids`, in the order of their ids.
    pub(crate) async fn find_many(&self, ids: &[UserId]) -> Result<Vec<User>, sql::Error> {
        let mut tx = self.db.read_tx().await?;
        let list = ids.iter().map(|id| args![id.0]).collect();
        let rows = tx
            .fetch_list(
                "SELECT id, username, email, created_at, updated_at FROM account WHERE id IN ({list})",
                Args::none(),
                1,
                list,
            )
            .await?;
        let mut users = rows.iter().map(user).collect::<Result<Vec<_>, _>>()?;
        users.sort_by_key(|user| user.id);
        users.dedup_by_key(|user| user.id);
        Ok(users)
    }
}

fn credentials(row: &Row) -> Result<Credentials, sql::Error> {
    Ok(Credentials {
        user: user(row)?,
        password_hash: row.get("password_hash")?,
    })
}

fn user(row: &Row) -> Result<User, sql::Error> {
    Ok(User {
        id: UserId(row.get("id")?),
        username: row.get("username")?,
        email: row.get("email")?,
        created_at: kit::rfc3339(row.get("created_at")?),
        updated_at: kit::rfc3339(row.get("updated_at")?),
    })
}

/// Says whose uniqueness was broken.
fn taken(error: sql::Error) -> Error {
    match &error {
        sql::Error::Conflict { constraint } => match constraint.as_deref() {
            Some(NAME_KEY) => Error::UsernameTaken,
            Some(EMAIL_KEY) => Error::EmailTaken,
            _ => Error::Store(error),
        },
        _ => Error::Store(error),
    }
}
