//! The demo's traffic: this program again, run inside the namespaces of those who make it. Rates are fixed and small: it is there to be
//! looked at.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::lab::{Lab, SERVER};
use super::trouble::{self, Trouble};

/// Ports of servers.
pub(super) const BULK: u16 = 5201;
pub(super) const SHORT: u16 = 8080;
pub(super) const WEB: u16 = 443;
/// RTP's (RFC 3551).
const DATAGRAMS: u16 = 5004;

pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Make the demo's traffic, inside its namespaces
#[derive(clap::Args)]
pub(crate) struct TrafficArgs {
    role: Role,
    #[arg(long)]
    seconds: u64,
}

/// Who does something.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    Server,
    Client,
    Beacon,
    Scan,
    Flood,
    Upload,
    Stranger,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Beacon => "beacon",
            Self::Scan => "scan",
            Self::Flood => "flood",
            Self::Upload => "upload",
            Self::Stranger => "stranger",
        }
    }
}

/// The command that serves on a host, for `seconds` and the time that starting and ending take.
pub(super) fn server(lab: &Lab, host: &str, seconds: u64) -> Result<Command> {
    command(lab, host, Role::Server, seconds + 30)
}

/// The command that plays one of the clients.
pub(super) fn client(lab: &Lab, host: &str, seconds: u64) -> Result<Command> {
    command(lab, host, Role::Client, seconds)
}

/// The command that makes trouble when it is time to.
pub(super) fn trouble(lab: &Lab, trouble: &Trouble, seconds: u64) -> Result<Command> {
    command(lab, trouble.link.host, trouble.role, seconds)
}

fn command(lab: &Lab, host: &str, role: Role, seconds: u64) -> Result<Command> {
    let mut command = lab.command(host, ourselves()?);
    command.args(["demo-traffic", role.name(), "--seconds", &seconds.to_string()]);
    Ok(command)
}

fn ourselves() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find the path of this program")
}

pub(crate) fn run(args: &TrafficArgs) -> Result<ExitCode> {
    let end = Instant::now() + Duration::from_secs(args.seconds);
    match args.role {
        Role::Server => serve(end)?,
        Role::Client => play(args.seconds, end)?,
        Role::Beacon | Role::Scan | Role::Flood | Role::Upload | Role::Stranger => trouble::make(args.role, end)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers on the TCP ports and echoes datagrams, over IPv4 and IPv6, until the time is up.
fn serve(end: Instant) -> Result<()> {
    let any = |port: u16| SocketAddr::from(([0; 16], port));
    for port in [BULK, SHORT, WEB] {
        let listener = TcpListener::bind(any(port)).with_context(|| format!("cannot listen on TCP port {port}"))?;
        spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that breaks off is the client's business.
                spawn(move || answer(stream));
            }
        });
    }
    let socket = UdpSocket::bind(any(DATAGRAMS)).with_context(|| format!("cannot listen on UDP port {DATAGRAMS}"))?;
    spawn(move || {
        let mut datagram = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
        }
    });
    sleep(end.saturating_duration_since(Instant::now()));
    Ok(())
}

/// A request is the length of the answer in four bytes, and then whatever the client uploads.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    io::copy(&mut io::repeat(b'.').take(u32::from_be_bytes(length).into()), &mut stream)?;
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

/// What a client does all day, over IPv4 and IPv6 in turn.
fn play(seconds: u64, end: Instant) -> Result<()> {
    let [v4, v6] = SERVER.addresses();
    let [v4, v6]: [IpAddr; 2] = [v4.parse()?, v6.parse()?];
    let pings = [v4, v6].map(|server| ping(server, "0.5", seconds));
    let download = |server| request(server, BULK, 4 << 20, 0);
    let upload = |server| request(server, BULK, 0, 1 << 20);
    let browse = |server| request(server, SHORT, 3000, 200);
    let millis = Duration::from_millis;
    scope(|scope| {
        scope.spawn(|| repeat("downloads", end, millis(2000), [v4, v6], download));
        scope.spawn(|| repeat("uploads", end, millis(3000), [v6, v4], upload));
        scope.spawn(|| repeat("short connections", end, millis(100), [v4, v6], browse));
        scope.spawn(|| repeat("datagrams", end, millis(100), [v6, v4], ask));
    });
    for mut ping in pings.into_iter().flatten() {
        // It has counted its own time.
        let _ = ping.wait();
    }
    Ok(())
}

/// Does something at intervals; says the first time that it fails, and goes on.
pub(super) fn repeat<const SERVERS: usize>(
    what: &str,
    end: Instant,
    interval: Duration,
    servers: [IpAddr; SERVERS],
    action: impl Fn(IpAddr) -> io::Result<()>,
) {
    let mut silent = true;
    for server in servers.into_iter().cycle() {
        if Instant::now() + interval > end {
            return;
        }
        if let Err(error) = action(server)
            && std::mem::replace(&mut silent, false)
        {
            eprintln!("demo client: {what}: {server}: {error}");
        }
        sleep(interval);
    }
}

pub(super) fn request(server: IpAddr, port: u16, download: u32, upload: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(server, port), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&download.to_be_bytes())?;
    io::copy(&mut (&stream).take(download.into()), &mut io::sink())?;
    io::copy(&mut io::repeat(b'.').take(upload), &mut stream)?;
    Ok(())
}

/// Three datagrams there and back, from a port of their own.
fn ask(server: IpAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::from(([0; 16], 0)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let server = match server {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(_) => server,
    };
    for length in [40, 300, 1200] {
        socket.send_to(&[b'.'; 1200][..length], (server, DATAGRAMS))?;
        socket.recv_from(&mut [0; 1500])?;
    }
    Ok(())
}

/// Real ICMP and ICMPv6, if `ping` is there; an echo request each `interval` of a second.
pub(super) fn ping(server: IpAddr, interval: &str, seconds: u64) -> Option<Child> {
    let mut command = Command::new("ping");
    command.args(["-n", "-q", "-i", interval, "-w", &seconds.to_string(), &server.to_string()]).stdout(Stdio::null());
    command.spawn().inspect_err(|error| eprintln!("demo client: no ping: {error}")).ok()
}
