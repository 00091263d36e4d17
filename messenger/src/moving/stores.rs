//! The stores of one side of a move.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use sql::{Db, Mark, Migrations, transfer};

use super::marks::{COPYING, MOVED};
use crate::{Config, Service};

/// The folder of an embedded installation, as it can be found from anywhere.
pub(super) fn home(config: &Config) -> Result<PathBuf, sql::Error> {
    let folder = sql::check(&config.sql)?.unwrap_or_default();
    Ok(folder.canonicalize().unwrap_or(folder))
}

/// The store of every service that has one.
pub(super) struct Stores(Vec<(Service, &'static Migrations, Db)>);

impl Stores {
    /// Opens all of them at `url`. What is embedded is locked from now on; a server is not asked yet.
    pub(super) async fn open(url: &str, config: &Config) -> Result<Self, sql::Error> {
        let mut stores = Vec::new();
        for service in Service::ALL {
            if let Some(migrations) = service.migrations() {
                let db = sql::open(url, service.name(), &config.pool).await?;
                stores.push((service, migrations, db));
            }
        }
        Ok(Self(stores))
    }

    /// Opens those of an embedded installation that is there.
    pub(super) async fn open_source(config: &Config) -> anyhow::Result<Self> {
        let folder = home(config)?;
        let is_there = |service: Service| {
            service.migrations().is_some() && folder.join(format!("{service}.db")).exists()
        };
        if !Service::ALL.into_iter().any(is_there) {
            bail!("there is no installation in {}", folder.display());
        }
        let stores = Self::open(&config.sql, config).await;
        stores.context("the installation to be moved")
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (Service, &Db)> {
        self.0.iter().map(|(service, _, db)| (*service, db))
    }

    pub(super) fn of(&self, wanted: Service) -> anyhow::Result<&Db> {
        let mut stores = self.each();
        let found = stores.find(|(service, _)| *service == wanted);
        Ok(found.context("a service without tables has no store")?.1)
    }

    pub(super) async fn migrate(&self) -> Result<(), sql::Error> {
        for (_, migrations, db) in &self.0 {
            sql::migrate_up(db, migrations).await?;
        }
        Ok(())
    }

    /// What is written on any of them.
    pub(super) async fn marks(&self) -> Result<Vec<Mark>, sql::Error> {
        let mut marks = Vec::new();
        for (_, db) in self.each() {
            marks.extend(db.mark().await?);
        }
        Ok(marks)
    }

    /// The mark that says that an embedded installation has gone.
    pub(super) async fn gone(&self) -> Result<Option<Mark>, sql::Error> {
        let marks = self.marks().await?;
        Ok(marks.into_iter().find(|mark| mark.word == MOVED))
    }

    /// Writes the same on all of them.
    pub(super) async fn mark(&self, mark: &Mark) -> Result<(), sql::Error> {
        for (_, db) in self.each() {
            db.set_mark(mark).await?;
            kit::failpoint!("move.mark");
        }
        Ok(())
    }

    /// Refuses a target where somebody lives; gives the services whose stores an earlier move has begun to fill.
    pub(super) async fn vacant(&self) -> anyhow::Result<Vec<Service>> {
        let mut begun = Vec::new();
        for (service, db) in self.each() {
            match db.mark().await? {
                Some(mark) if mark.word == COPYING => begun.push(service),
                Some(Mark {
                    refusal: Some(why), ..
                }) => bail!(why),
                _ => {
                    if let Some(table) = transfer::inhabited(db).await? {
                        bail!(
                            "somebody lives here: there is something in {service}.{table}. A move needs an empty database, \
                             it never overwrites anything"
                        );
                    }
                }
            }
        }
        Ok(begun)
    }

    pub(super) async fn close(self) {
        for (_, _, db) in self.0 {
            db.close().await;
        }
    }
}
