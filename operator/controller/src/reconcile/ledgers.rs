//! Stores what a pass changed of a ledger. Passes of many policies share one: each write is made on top of what is stored
//! by now, so that none loses what another has learned.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rollforward_core::image::Repository;
use rollforward_core::ledger::Ledger;
use rollforward_core::ledger::rebase::rebase;
use rollforward_core::levers::Asked;
use tokio::sync::Mutex;

use super::{Context, Error};
use crate::convert;
use crate::kubernetes::store;

/// How often a write is tried again that somebody else overtook: another operator, or a person.
const TRIES: usize = 5;

type Slots = BTreeMap<(String, Repository), Arc<Mutex<()>>>;

/// One writer at a time for each ledger.
#[derive(Debug, Default)]
pub struct Ledgers {
    slots: Mutex<Slots>,
}

/// What a pass changed.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// What the pass began with, after what was asked.
    pub base: &'a Ledger,
    /// What it made of it.
    pub ours: &'a Ledger,
    /// What people asked of the memory, and when this pass began.
    pub asked: (&'a [Asked], Timestamp),
}

impl Ledgers {
    /// Stores a change.
    ///
    /// # Errors
    /// Where the apiserver refused, or others were faster five times.
    pub async fn store(&self, ctx: &Context, change: Change<'_>) -> Result<(), Error> {
        let slot = self.slot(change.namespace, &change.ours.repository).await;
        let _only = slot.lock().await;
        let mut tried = 1;
        loop {
            match write(ctx, change).await {
                Err(Error::Api(error)) if error.code() == Some(409) && tried < TRIES => tried += 1,
                ended => return ended,
            }
        }
    }

    async fn slot(&self, namespace: &str, repository: &Repository) -> Arc<Mutex<()>> {
        let mut slots = self.slots.lock().await;
        slots.retain(|_, slot| 1 < Arc::strong_count(slot));
        Arc::clone(slots.entry((namespace.to_owned(), repository.clone())).or_default())
    }
}

async fn write(ctx: &Context, change: Change<'_>) -> Result<(), Error> {
    let Change { namespace, base, ours, asked: (asked, now) } = change;
    let repository = &ours.repository;
    let read = store::ledger(&ctx.client, namespace, repository).await?;
    let stored = read
        .as_ref()
        .map_or_else(|| Ledger::new(repository.clone()), |read| convert::ledger::from_api(repository, read));
    let mut current = stored.clone();
    for one in asked {
        one.carry_out(&mut current, now);
    }
    let merged = rebase(base, ours, &current);
    if merged == stored && read.is_some() {
        return Ok(());
    }
    let new = convert::ledger::to_status(&merged);
    store::store_ledger(&ctx.client, namespace, repository, read.as_ref(), &new).await?;
    ctx.metrics.wrote("ImageLedger");
    Ok(())
}
