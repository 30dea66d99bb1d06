//! The demo's traffic: this program again, run inside the namespaces of server and clients. Rates are fixed and small:
//! it is there to be looked at.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::lab::{CLIENTS, Lab, SERVER, SERVER_V4, SERVER_V6};

const BULK: u16 = 5201;
const SHORT: u16 = 8080;
const DATAGRAMS: u16 = 53;
const PATIENCE: Duration = Duration::from_secs(2);

/// Make the demo's traffic, inside its namespaces
#[derive(clap::Args)]
pub(crate) struct TrafficArgs {
    role: Role,
    #[arg(long)]
    seconds: u64,
    /// Knock at the server's ports, too
    #[arg(long)]
    scan: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Server,
    Client,
}

/// The command that serves, for `seconds` and the time that starting and ending take.
pub(super) fn server(lab: &Lab, seconds: u64) -> Result<Command> {
    let mut command = lab.command(SERVER, ourselves()?);
    command.args(["demo-traffic", "server", "--seconds", &(seconds + 30).to_string()]);
    Ok(command)
}

/// The command that plays one of the clients.
pub(super) fn client(lab: &Lab, name: &str, seconds: u64) -> Result<Command> {
    let mut command = lab.command(name, ourselves()?);
    command.args(["demo-traffic", "client", "--seconds", &seconds.to_string()]);
    if name == CLIENTS[1] {
        command.arg("--scan");
    }
    Ok(command)
}

fn ourselves() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find the path of this program")
}

pub(crate) fn run(args: &TrafficArgs) -> Result<ExitCode> {
    let end = Instant::now() + Duration::from_secs(args.seconds);
    match args.role {
        Role::Server => serve(end)?,
        Role::Client => play(args, end)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers on both TCP ports and echoes datagrams, over IPv4 and IPv6, until the time is up.
fn serve(end: Instant) -> Result<()> {
    let any = |port: u16| SocketAddr::from(([0; 16], port));
    for port in [BULK, SHORT] {
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
fn play(args: &TrafficArgs, end: Instant) -> Result<()> {
    let v4: IpAddr = SERVER_V4.parse()?;
    let v6: IpAddr = SERVER_V6.parse()?;
    let pings = [ping(v4, args.seconds), ping(v6, args.seconds)];
    let download = |server| request(server, BULK, 4 << 20, 0);
    let upload = |server| request(server, BULK, 0, 1 << 20);
    let browse = |server| request(server, SHORT, 3000, 200);
    let millis = Duration::from_millis;
    scope(|scope| {
        scope.spawn(|| repeat("downloads", end, millis(2000), [v4, v6], download));
        scope.spawn(|| repeat("uploads", end, millis(3000), [v6, v4], upload));
        scope.spawn(|| repeat("short connections", end, millis(100), [v4, v6], browse));
        scope.spawn(|| repeat("datagrams", end, millis(100), [v6, v4], ask));
        if args.scan {
            scope.spawn(|| knock(v4, end));
        }
    });
    for mut ping in pings.into_iter().flatten() {
        // It has counted its own time.
        let _ = ping.wait();
    }
    Ok(())
}

/// Does something at intervals; says the first time that it fails, and goes on.
fn repeat(
    what: &str,
    end: Instant,
    interval: Duration,
    servers: [IpAddr; 2],
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

fn request(server: IpAddr, port: u16, download: u32, upload: u64) -> io::Result<()> {
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

/// Real ICMP and ICMPv6, if `ping` is there.
fn ping(server: IpAddr, seconds: u64) -> Option<Child> {
    let mut command = Command::new("ping");
    command.args(["-n", "-q", "-i", "0.5", "-w", &seconds.to_string(), &server.to_string()]).stdout(Stdio::null());
    command.spawn().inspect_err(|error| eprintln!("demo client: no ping: {error}")).ok()
}

/// A slow port scan, which is something to find: nearly all ports are closed.
fn knock(server: IpAddr, end: Instant) {
    sleep(Duration::from_secs(3));
    for port in 1..=1024 {
        if Instant::now() >= end {
            return;
        }
        // Refused, mostly.
        let _ = TcpStream::connect_timeout(&SocketAddr::new(server, port), PATIENCE);
        sleep(Duration::from_millis(20));
    }
}
