//! What goes wrong in the demo, so that there is something to find: who does what, and when.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::lab::{CLIENTS, CONTROL, DROP_OFF, Link, SERVER, STRANGER};
use super::traffic::{PATIENCE, Role, SHORT, WEB, ping, repeat, request};
use crate::process;

/// One who makes trouble.
pub(super) struct Trouble {
    pub(super) role: Role,
    pub(super) link: &'static Link,
    /// Seconds after the traffic has begun.
    begins: u64,
    /// Within which it is found after that, by the pages of `docs/findings` and the settings of [`super::folder`].
    found: u64,
    /// What is done, after the name of who does it.
    what: fn() -> String,
}

const BEACON: Duration = Duration::from_secs(2);
const BEACON_OCTETS: (u32, u64) = (300, 200);

const PORTS: std::ops::RangeInclusive<u16> = 1..=1024;
const KNOCK: Duration = Duration::from_millis(20);

const FLOOD_INTERVAL: &str = "0.002";
const FLOOD_SECONDS: u64 = 20;

const PIECE: usize = 1_000_000;
const PIECES: u32 = 250;
const PIECE_INTERVAL: Duration = Duration::from_millis(40);

pub(super) const TROUBLES: [Trouble; 5] = [
    Trouble {
        role: Role::Beacon,
        link: &CLIENTS[0],
        begins: 0,
        found: 40,
        what: || format!("a beacon: asks {CONTROL} for orders every {} s, TCP port {WEB}", BEACON.as_secs()),
    },
    Trouble {
        role: Role::Scan,
        link: &CLIENTS[1],
        begins: 3,
        found: 15,
        what: || format!("a scan: tries the {} first TCP ports of the server, {}", PORTS.end(), SERVER.addresses()[0]),
    },
    Trouble {
        role: Role::Flood,
        link: &CLIENTS[0],
        begins: 5,
        found: 25,
        what: || {
            format!("an ICMP flood: 500 echo requests a second to {} for {FLOOD_SECONDS} s", SERVER.addresses()[0])
        },
    },
    Trouble {
        role: Role::Upload,
        link: &CLIENTS[1],
        begins: 10,
        found: 45,
        what: || format!("an upload: {} MB to {DROP_OFF}, TCP port {WEB}", PIECE / 1_000_000 * PIECES as usize),
    },
    Trouble {
        role: Role::Stranger,
        link: &STRANGER,
        begins: 15,
        found: 15,
        what: || format!("an unknown device: {} is plugged into {}", STRANGER.mac, STRANGER.port),
    },
];

/// Says what is going to be found.
pub(super) fn announce(seconds: u64) {
    println!("demo: what goes wrong, to be found on the page Findings:");
    for Trouble { link, begins, found, what, .. } in &TROUBLES {
        let (host, [address, _]) = (link.host, link.addresses());
        let found = match begins + found {
            end if end <= seconds => format!("found by {end} s"),
            end => format!("takes a demo of {end} s"),
        };
        println!("demo:   from {begins:2} s on, {host} ({address}): {}; {found}", what());
    }
}

/// Makes trouble of a kind, from its time on until the end.
pub(super) fn make(role: Role, end: Instant) -> Result<()> {
    let server: IpAddr = SERVER.addresses()[0].parse()?;
    let begins = TROUBLES.iter().find(|one| one.role == role).map(|one| one.begins);
    let begin = Instant::now() + Duration::from_secs(begins.context("no trouble")?);
    if begin >= end {
        return Ok(());
    }
    sleep(begin - Instant::now());
    let left = end.saturating_duration_since(Instant::now()).as_secs();
    match role {
        Role::Beacon => {
            let (down, up) = BEACON_OCTETS;
            repeat("beacon", end, BEACON, [CONTROL.parse()?], |control| request(control, WEB, down, up));
        }
        Role::Scan => knock(server, end),
        Role::Flood => wait(ping(server, FLOOD_INTERVAL, left.min(FLOOD_SECONDS))),
        Role::Upload => upload(SocketAddr::new(DROP_OFF.parse()?, WEB), end)?,
        Role::Stranger => {
            for line in STRANGER.plug_in() {
                process::read(Command::new("ip").args(line.split(' ')))?;
            }
            let ping = ping(server, "1", left);
            repeat("stranger", end, Duration::from_secs(1), [server], |server| request(server, SHORT, 3000, 200));
            wait(ping);
        }
        Role::Server | Role::Client => {}
    }
    Ok(())
}

fn wait(child: Option<std::process::Child>) {
    // It counts its own time, and says itself what is wrong.
    let _ = child.map(|mut child| child.wait());
}

/// A port scan: nearly all ports are closed.
fn knock(server: IpAddr, end: Instant) {
    for port in PORTS {
        if Instant::now() >= end {
            return;
        }
        // Refused, mostly.
        let _ = TcpStream::connect_timeout(&SocketAddr::new(server, port), PATIENCE);
        sleep(KNOCK);
    }
}

/// At an even pace, which leaves the processors to others.
fn upload(to: SocketAddr, end: Instant) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // No answer is wanted.
    stream.write_all(&0_u32.to_be_bytes())?;
    let (piece, begin) = (vec![b'.'; PIECE], Instant::now());
    for number in 1..=PIECES {
        if Instant::now() >= end {
            return Ok(());
        }
        stream.write_all(&piece)?;
        sleep((begin + PIECE_INTERVAL * number).saturating_duration_since(Instant::now()));
    }
    Ok(())
}
