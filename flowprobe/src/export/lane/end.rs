//! How a lane ends: what it has in hand leaves, as far as there is somebody and time, and the rest is kept or counted.

use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::{Lane, Store};
use crate::export::outlet::Outlet;

/// How long what waits is sent at the end, so that all of the end is within what the stages give it.
const LAST_OF_STORE: Duration = Duration::from_millis(1500);

impl Lane {
    pub(super) async fn end(mut self) {
        self.flush().await;
        self.send_what_waits().await;
        if let Some((_, outlet)) = self.link.active.take() {
            match outlet {
                Outlet::Stream(connection) => {
                    let ended = connection.close().await;
                    if let Some(why) = &ended.why {
                        warn!("{}: {why}", self.plan.name);
                    }
                    self.take_back(ended.left);
                }
                Outlet::File(mut files) => {
                    if let Err(error) = files.close() {
                        error!("{}: {error}", self.plan.name);
                    }
                }
                Outlet::Udp(_) => {}
            }
        }
        let outcome = tokio::task::block_in_place(|| self.store.sync());
        self.store_outcome(outcome);
        self.say_goodbye();
    }

    /// Sends what waits to a collector that is there, as far as there is time. What has none is kept, or counted.
    async fn send_what_waits(&mut self) {
        let end = Instant::now() + LAST_OF_STORE;
        while !self.store.is_empty() && self.link.active.is_some() {
            let pause = self.pace.wait(Instant::now());
            let happened = tokio::time::timeout_at(end.into(), self.link.event(Some(pause))).await;
            let Ok(happened) = happened else { break };
            self.follow_link(happened).await;
            self.settle();
        }
    }

    fn say_goodbye(&mut self) {
        let (sent, skipped) = (self.health.sent().records, self.health.condition().skipped.records);
        let (waiting, _) = self.store.waiting();
        let mut rest = String::new();
        if skipped > 0 {
            rest = format!(", {skipped} skipped, which {} has no words for", self.plan.format);
        }
        match (&self.store, waiting) {
            (_, 0) => {}
            (Store::Disk(_), waiting) => rest.push_str(&format!(", {waiting} wait on disk for the next start")),
            (Store::Memory(_), _) => self.losses.add(self.store.give_up()),
        }
        let name = &self.plan.name;
        match self.losses.total().records {
            0 => info!("{name}: {sent} records sent{rest}"),
            lost => warn!("{name}: {sent} records sent, {lost} lost{rest}"),
        }
    }
}
