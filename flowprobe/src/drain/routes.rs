//! The routes that the kernel programs have met, by number.

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use bytemuck::Zeroable as _;
use flowprobe_ebpf::Route;
use flowprobe_ebpf::interface::MOST_ROUTES;
use tracing::warn;

use super::take;
use crate::probe::LoadError;

/// Reads the map `ROUTES` when something was added to it.
pub(super) struct RouteReader {
    routes: HashMap<MapData, [u8; size_of::<Route>()], u32>,
    count: Array<MapData, u32>,
    seen: u32,
    /// Whether the map was read a grace period after the count had become `seen`: a program first counts, then enters.
    settled: bool,
}

impl RouteReader {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let routes = take(ebpf, "ROUTES")?;
        let routes = HashMap::try_from(routes).map_err(|error| LoadError::Map { name: "ROUTES", error })?;
        let count = take(ebpf, "ROUTE_COUNT")?;
        let count = Array::try_from(count).map_err(|error| LoadError::Map { name: "ROUTE_COUNT", error })?;
        Ok(Self { routes, count, seen: 0, settled: true })
    }

    /// All routes by number, if there may be more than at the last call; else none. Called once in each generation.
    pub(super) fn news(&mut self) -> Result<Vec<(u32, Route)>, MapError> {
        let count = self.count.get(&0, 0)?;
        let unchanged = count == self.seen;
        if unchanged && self.settled {
            return Ok(Vec::new());
        }
        if !unchanged && count >= MOST_ROUTES {
            warn!("all {MOST_ROUTES} numbers of routes are given out: flows by further next hops go without one");
        }
        (self.seen, self.settled) = (count, unchanged);
        let entries = self.routes.iter().map(|entry| {
            let (route, number) = entry?;
            let mut key = Route::zeroed();
            bytemuck::bytes_of_mut(&mut key).copy_from_slice(&route);
            Ok((number, key))
        });
        entries.collect()
    }
}
