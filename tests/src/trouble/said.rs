//! What is to be said of trouble: by when, as the pages of `docs/findings` have it, and with which addresses and numbers.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{ANSWERED, ASKED, CLIENT, CONTROL, DROP_OFF, GATEWAY, OTHER, PORT, PORTS, STRANGER, Site, UPLOAD};
use crate::accuracy::is_long;
use crate::http::Http;

/// What a drain, a tick and a look at the API take, at most.
const SLACK: Duration = Duration::from_secs(2);

/// Findings by rule, as the API has them.
pub type Found = BTreeMap<&'static str, Value>;

/// All findings, as the API has them.
///
/// # Errors
/// It has none to say.
pub fn findings(http: &Http<'_>) -> Result<Vec<Value>> {
    Ok(http.json("/api/v1/findings")?["findings"].as_array().context("findings")?.clone())
}

/// When a rule is to have found something, and with which words in its explanation.
pub struct Wanted {
    rule: &'static str,
    by: Instant,
    words: String,
}

/// Waits for findings, each until its time, and returns them.
///
/// # Errors
/// One is not said in time.
pub fn wait_for(http: &Http<'_>, wanted: &[Wanted], begin: Instant) -> Result<Found> {
    let mut found = Found::new();
    while found.len() < wanted.len() {
        let all = findings(http)?;
        for Wanted { rule, by, words } in wanted {
            let is_it = |one: &&Value| {
                one["rule"] == *rule && one["explanation"].as_str().is_some_and(|text| text.contains(words.as_str()))
            };
            if found.contains_key(rule) {
                continue;
            }
            if let Some(one) = all.iter().find(is_it) {
                println!("{rule} after {:.1} s: {}", begin.elapsed().as_secs_f64(), one["explanation"]);
                found.insert(rule, one.clone());
            }
            ensure!(Instant::now() < *by, "{rule} was not said in time: {all:#?}");
        }
        sleep(Duration::from_millis(200));
    }
    Ok(found)
}

/// By when each is to be found, and what can be said of it to the letter. The beacon has to go on for 10 s, in the long form of the test for
/// the five minutes that are the default.
#[must_use]
pub fn wanted(begin: Instant, period: Duration) -> [Wanted; 5] {
    let by = |seconds: u64| begin + Duration::from_secs(seconds) + SLACK;
    // After 13 connections and 10 s; by default after 5½ minutes and the same.
    let beacon = if is_long() { by(340) } else { by(10) + period * 12 };
    let card = Site::STRANGE_CARD;
    [
        Wanted { rule: "icmp-flood", by: by(28), words: format!("{CLIENT} sends ") },
        Wanted { rule: "port-scan", by: by(28), words: format!("{CLIENT} tried ") },
        Wanted {
            rule: "unauthorised-device",
            by: by(28),
            words: format!(
                "{card} ({STRANGER}) is in the network, and neither it nor its address is in the file of approvals."
            ),
        },
        // 30 s after the last octet, which is sent in the first five.
        Wanted { rule: "exfiltration", by: by(35), words: format!("{OTHER} sent ") },
        Wanted { rule: "beacon", by: beacon, words: format!("to {CONTROL} tcp/{PORT}") },
    ]
}

fn explanation(one: &Value) -> Result<&str> {
    one["explanation"].as_str().context("no explanation")
}

fn must_be_of(one: &Value, subject: &str, peer: &str) -> Result<()> {
    ensure!(one["subjects"] == serde_json::json!([subject]) && one["peers"] == serde_json::json!([peer]), "{one:#}");
    ensure!(one["state"] == "open" && one["peerCount"] == 1, "{one:#}");
    ensure!(one["detectedMilliseconds"].as_i64() >= one["lastMilliseconds"].as_i64(), "{one:#}");
    Ok(())
}

/// `echoes` were sent in all, and more of them after it was found.
///
/// # Errors
/// It says something else.
pub fn must_be_the_flood(flood: &Value, echoes: f64) -> Result<()> {
    must_be_of(flood, CLIENT, GATEWAY)?;
    let text = explanation(flood)?;
    let rate = number(between(text, "sends ", &format!(" ICMP packets a second to {GATEWAY}: "))?)?;
    let packets = number(between(text, &format!("{GATEWAY}: "), " packets within 10 s at most, for ")?)?;
    // Too much is 2,500 within ten seconds, and no more than 500 a second were asked for.
    ensure!((2500.0..=echoes.min(5250.0)).contains(&packets), "{packets} of {echoes}: {text}");
    ensure!((packets / 10.0 - 1.0..=550.0).contains(&rate), "{rate} a second: {text}");
    let is_echo = |flow: &Value| {
        flow["icmpTypeCodeIPv4"] == 8 << 8
            && flow["sourceIPAddress"] == CLIENT
            && flow["destinationIPAddress"] == GATEWAY
    };
    ensure!(flood["evidence"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is_echo)), "{flood:#}");
    Ok(())
}

/// Nothing is said of more ports than there were; of all, but for the error of the count, unless a look fell between them.
///
/// # Errors
/// It says something else.
pub fn must_be_the_scan(scan: &Value) -> Result<()> {
    must_be_of(scan, CLIENT, GATEWAY)?;
    let text = explanation(scan)?;
    let ports = number(between(text, "tried ", &format!(" ports (TCP) of {GATEWAY} within "))?)?;
    ensure!(
        (30.0..=f64::from(u32::try_from(PORTS.len())?)).contains(&ports) && scan["severity"] == "medium",
        "{ports} ports: {scan:#}"
    );
    let mut listed = between(text, ": ", " and ")?.split(", ").map(str::parse::<u16>);
    ensure!(listed.all(|port| port.is_ok_and(|port| PORTS.contains(&port))), "{text}");
    ensure!(text.ends_with("None of these attempts came to anything."), "{text}");
    let is_attempt = |flow: &Value| flow["tcpControlBits"] == 2 && flow["destinationIPAddress"] == GATEWAY;
    ensure!(scan["evidence"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is_attempt)), "{scan:#}");
    Ok(())
}

/// It was over after so long at most.
///
/// # Errors
/// It says something else.
pub fn must_be_the_upload(upload: &Value, at_most: Duration) -> Result<()> {
    must_be_of(upload, OTHER, DROP_OFF)?;
    let text = explanation(upload)?;
    let up = octets(between(text, "sent ", &format!(" to {DROP_OFF} within "))?)?;
    // Segments of 1,448 octets have 52 octets of headers; a few may have been sent again.
    let sent = f64::from(u32::try_from(UPLOAD)?);
    ensure!((sent..sent * 1.05).contains(&up), "{up} octets of {sent}: {text}");
    let lasts = seconds(between(text, " within ", " and got ")?)?;
    ensure!(lasts >= 4.0 && lasts <= at_most.as_secs_f64(), "{lasts} s: {text}");
    let down = octets(between(text, "and got ", " back.")?)?;
    ensure!((300.0..sent / 50.0).contains(&down), "{down} octets: {text}");
    let end = "No other host here talks to it. 1 other host here sends outside, which is too few to compare with.";
    ensure!(text.ends_with(end), "{text}");
    Ok(())
}

/// So many beats were sent in all.
///
/// # Errors
/// It says something else.
pub fn must_be_the_beacon(beacon: &Value, beats: u32, period: Duration) -> Result<()> {
    must_be_of(beacon, CLIENT, CONTROL)?;
    let text = explanation(beacon)?;
    let connections = number(between(text, "made ", &format!(" connections to {CONTROL} "))?)?;
    ensure!((13.0..=f64::from(beats)).contains(&connections), "{connections} of {beats}: {text}");
    let every = seconds(between(text, "one every ", ". Half of")?)?;
    let (is, off) = (period.as_secs_f64(), seconds(between(text, " intervals are within ", " of that. ")?)?);
    ensure!((every / is - 1.0).abs() < 0.05 && off < is / 10.0, "{every} s: {text}");
    // From the first beat to the last there is an interval less.
    let lasts = seconds(between(text, &format!("tcp/{PORT} in "), ", one every")?)?;
    let least = is * (connections - 1.0);
    ensure!((least * 0.9..=least * 1.1 + 1.0).contains(&lasts), "{lasts} s: {text}");
    for (what, end, data) in [("client sends ", " each time", ASKED), ("the server ", " (medians)", ANSWERED)] {
        let (octets, data) = (octets(between(text, what, end)?)?, f64::from(u32::try_from(data)?));
        // SYN, data and FIN at least, with headers of 52 octets and 8 more of the first one.
        ensure!((data + 3.0 * 52.0 + 8.0..=data + 9.0 * 60.0).contains(&octets), "{what}{octets}: {text}");
    }
    let severity = if is_long() { "medium" } else { "low" };
    ensure!(beacon["severity"] == severity, "{beacon:#}");
    Ok(())
}

/// What stands between two texts.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Result<&'a str> {
    let rest = text.split_once(start).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_once(end)).map(|(it, _)| it).with_context(|| format!("{start:?} {end:?}: {text}"))
}

/// The last word before a text.
pub fn before<'a>(text: &'a str, end: &str) -> Option<&'a str> {
    text.split_once(end)?.0.split_whitespace().next_back()
}

fn number(text: &str) -> Result<f64> {
    text.replace(',', "").parse().with_context(|| format!("{text:?} is no number"))
}

fn octets(text: &str) -> Result<f64> {
    in_units(text, &[("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)])
}

fn seconds(text: &str) -> Result<f64> {
    in_units(text, &[("ms", 1e-3), ("s", 1.0), ("min", 60.0)])
}

fn in_units(text: &str, units: &[(&str, f64)]) -> Result<f64> {
    let (value, unit) = text.split_once(' ').with_context(|| format!("{text:?} has no unit"))?;
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => Ok(number(value)? * factor),
        None => bail!("{text:?} has another unit"),
    }
}
