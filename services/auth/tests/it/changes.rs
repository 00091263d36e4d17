//! A new password, and what happens beside it at the same moment.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use contracts::{
    UserId,
    user::{Credentials, NewUser, ProfileChange, PublicUser, User, UserApi, UserClient},
};
use kit::{Call, Fault, Node};
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use super::{
    World, config, deps,
    door::{Door, password},
    worlds,
};

/// Where the way to the accounts is barred.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// After the hash was read for a login.
    Credentials,
    /// Before something is changed.
    Update,
}

/// The accounts behind a bar that the test lifts.
struct Barred {
    user: UserClient,
    at: At,
    came: Notify,
    bar: Semaphore,
}

impl Barred {
    async fn pass(&self, at: At) {
        if at == self.at {
            self.came.notify_one();
            self.bar.acquire().await.unwrap().forget();
        }
    }
}

#[async_trait]
impl UserApi for Barred {
    async fn create(&self, call: &Call, user: NewUser) -> Result<User, Fault> {
        self.user.create(call, user).await
    }

    async fn by_id(&self, call: &Call, id: UserId) -> Result<Option<User>, Fault> {
        self.user.by_id(call, id).await
    }

    async fn by_ids(&self, call: &Call, ids: Vec<UserId>) -> Result<Vec<PublicUser>, Fault> {
        self.user.by_ids(call, ids).await
    }

    async fn profiles(&self, call: &Call, ids: Vec<UserId>) -> Result<Vec<User>, Fault> {
        self.user.profiles(call, ids).await
    }

    async fn by_username(&self, call: &Call, username: &str) -> Result<Option<User>, Fault> {
        self.user.by_username(call, username).await
    }

    async fn by_email(&self, call: &Call, email: &str) -> Result<Option<User>, Fault> {
        self.user.by_email(call, email).await
    }

    async fn credentials(&self, call: &Call, login: &str) -> Result<Option<Credentials>, Fault> {
        let found = self.user.credentials(call, login).await;
        self.pass(At::Credentials).await;
        found
    }

    async fn credentials_by_id(
        &self,
        call: &Call,
        id: UserId,
    ) -> Result<Option<Credentials>, Fault> {
        self.user.credentials_by_id(call, id).await
    }

    async fn update(&self, call: &Call, id: UserId, change: ProfileChange) -> Result<User, Fault> {
        self.pass(At::Update).await;
        self.user.update(call, id, change).await
    }
}

/// Another process of `world`, whose way to the accounts is barred.
async fn barred(world: &World, at: At) -> (Arc<Barred>, Door, Node) {
    let barred = Arc::new(Barred {
        user: world.user.clone(),
        at,
        came: Notify::new(),
        bar: Semaphore::new(0),
    });
    let user: UserClient = barred.clone();
    let mut node = Node::new();
    let deps = deps(&world.auth_db, &world.clock, &user, &world.cache);
    let auth = auth::build(&config(), deps, &mut node).await.unwrap();
    let app = super::app(&auth, &user, &world.cache, &world.clock, &node).1;
    (barred, world.door().with_app(app), node)
}

async fn change(door: &Door, token: &str) -> u16 {
    let body = json!({"current_password": password("ann"), "new_password": "another horse"});
    let answer = door.with(token, "POST", "/api/password", Some(body)).await;
    answer.status.as_u16()
}

/// threat:T10: a login that has read the old hash when the password changes is none.
#[tokio::test]
async fn a_login_with_the_old_password_does_not_outlive_its_change() {
    for world in worlds(&config()).await {
        let token = world.door().register("ann").await.text("access_token");
        let (accounts, door, _node) = barred(&world, At::Credentials).await;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { door.login("ann", &password("ann")).await });
        accounts.came.notified().await;
        assert_eq!(change(&world.door(), &token).await, 204, "{}", world.engine);
        accounts.bar.add_permits(1);
        let login = tasks.join_next().await.unwrap().unwrap();
        assert_eq!(login.code(), (401, "bad_credentials"), "{}", world.engine);
        let door = world.door();
        let list = door.with(&token, "GET", "/api/sessions", None).await;
        let count = list.body["sessions"].as_array().map(Vec::len);
        assert_eq!(count, Some(1), "{}", world.engine);
    }
}

/// threat:T10: whoever asked for the change may be gone, what was begun goes to its end; the other logins are over
/// before the password is another one, and so are those that came in between.
#[tokio::test]
async fn a_change_that_nobody_waits_for_ends_the_other_logins() {
    for world in worlds(&config()).await {
        let token = world.door().register("ann").await.text("access_token");
        let before = world.door().login("ann", &password("ann")).await;
        let (accounts, door, _node) = barred(&world, At::Update).await;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { change(&door, &token).await });
        accounts.came.notified().await;
        let ended = world.door().refresh(&before.refresh_token()).await;
        assert_eq!(ended.code(), (401, "refresh_invalid"), "{}", world.engine);
        let between = world.door().login("ann", &password("ann")).await;
        assert_eq!(between.status, 200, "{}", world.engine);

        tasks.shutdown().await;
        accounts.bar.add_permits(1);
        let over = tokio::time::timeout(Duration::from_secs(10), async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            let token = between.text("access_token");
            let door = world.door();
            while door.with(&token, "GET", "/api/users/me", None).await.status == 200 {
                tick.tick().await;
            }
        });
        over.await.expect("the change goes to its end");
        let ended = world.door().refresh(&between.refresh_token()).await;
        assert_eq!(ended.code(), (401, "refresh_invalid"), "{}", world.engine);
        for (password, status) in [(password("ann").as_str(), 401), ("another horse", 200)] {
            let login = world.door().login("ann", password).await;
            assert_eq!(login.status, status, "{}", world.engine);
        }
    }
}
