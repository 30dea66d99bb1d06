//! All about one address.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::params::Params;
use super::series::{Steps, column, step_of};
use super::{Failure, ask};
use crate::alert::PEERS;
use crate::clock::wall_now_ms;
use crate::detect::findings::Finding;
use crate::detect::service::json::finding;
use crate::detect::site::Range;
use crate::query::{self, Answer, Host, MacAddress, Question, Source, Total};
use crate::store::flows::put_mac;
use crate::store::rollup::{BothWays, Counts};
use crate::web::server::WebState;

/// Findings about it that an answer has: the latest.
const FINDINGS: usize = 50;

/// `/api/v1/hosts/{address}`
pub(super) async fn host(
    state: State<Arc<WebState>>,
    Path(address): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let mut params = Params::of(&uri);
    let address: IpAddr = address
        .parse()
        .map_err(|_| Failure::Missing("a host is an address, such as 192.0.2.7 or 2001:db8::7".to_owned()))?;
    let request = params.request(Question::Totals, wall_now_ms())?;
    let step_ms = step_of(&mut params, &request, false)?;
    params.end()?;
    let asked = request.clone();
    let address = address.to_canonical();
    let known =
        ask(&state, move |shelf, stop| query::host(Source::Wanted(shelf, stop), &asked, address, step_ms)).await?;
    let steps = Steps::of(&known.series.steps, &request, step_ms);
    let card = |MacAddress { bits, last_ms }: &MacAddress| {
        let mut address = String::new();
        put_mac(*bits, &mut address);
        json!({ "macAddress": address, "macVendor": state.vendor(*bits).as_deref(), "lastMilliseconds": last_ms })
    };
    let cards: Vec<Value> = known.mac_addresses.iter().map(card).collect();
    let mut answer = to_json(&known, &cards, &steps, step_ms);
    let range = Range::from(IpNet::from(address));
    let of_it = |one: &Finding| one.is_about(&range);
    let findings = state.board().map(|board| board.findings(FINDINGS, of_it)).unwrap_or_default();
    answer["findings"] = findings.iter().map(|one| finding(one, PEERS)).collect();
    Ok(Json(answer))
}

fn to_json(known: &Host, cards: &[Value], steps: &Steps, step_ms: i64) -> Value {
    let names: Map<String, Value> = known.names.iter().map(|(name, cell)| (name.clone(), cell.to_json())).collect();
    let way = |of: fn(&BothWays) -> Counts| {
        let counts: Vec<Counts> = known.series.counts.iter().map(of).collect();
        let counts = steps.joined(&counts);
        json!({
            "octets": column(&counts, |counts| counts.octets),
            "packets": column(&counts, |counts| counts.packets),
            "flows": column(&counts, |counts| counts.flows),
        })
    };
    let (peers, services, conversations) = (rows(&known.peers), rows(&known.services), rows(&known.conversations));
    json!({
        "address": known.address,
        "names": names,
        "macAddresses": cards,
        "firstMilliseconds": known.first_ms,
        "lastMilliseconds": known.last_ms,
        "sent": Total::from(known.both.sent),
        "received": Total::from(known.both.received),
        "series": {
            "stepMilliseconds": step_ms,
            "milliseconds": steps.starts,
            "seconds": steps.seconds,
            "sent": way(|both| both.sent),
            "received": way(|both| both.received),
        },
        "peers": peers,
        "peersOf": known.peers.of,
        "services": services,
        "servicesOf": known.services.of,
        "conversations": conversations,
        "conversationsOf": known.conversations.of,
        "fromMilliseconds": known.peers.from_ms,
        "toMilliseconds": known.peers.to_ms,
        "rough": known.peers.is_rough,
        "unreadable": known.peers.unreadable,
    })
}

fn rows(answer: &Answer) -> Value {
    answer.to_json()["rows"].take()
}
