//! Trouble in a small site, to be found by a daemon on its gateway: a flood, a scan, a beacon, an upload, an unknown device.
//!
//! ```text
//! client ─── lan0 ┐
//! other ──── lan1 ┼─ gateway ── wan ── outside
//! stranger ─ lan2 ┘
//! ```

pub mod said;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::namespace::Namespace;
use crate::process::Process;

/// Addresses inside.
pub const GATEWAY: &str = "10.9.0.1";
/// The first host.
pub const CLIENT: &str = "10.9.0.66";
/// The second one.
pub const OTHER: &str = "10.9.1.66";
/// One that nobody knows.
pub const STRANGER: &str = "10.9.2.66";

/// Addresses outside, which are for documentation (RFC 5737).
pub const CONTROL: &str = "198.51.100.7";
/// Where an upload goes.
pub const DROP_OFF: &str = "203.0.113.9";

/// The port of both.
pub const PORT: u16 = 443;

/// What the scan tries, each port once.
pub const PORTS: Range<u16> = 2000..2060;

/// Octets of the upload: more than the 200 MB that it takes in a site of so few hosts.
pub const UPLOAD: usize = 210_000_000;

/// Octets of what a client asks, and of the answer.
pub const ASKED: usize = 200;
/// The answer.
pub const ANSWERED: usize = 300;

/// Network cards inside, of those that are for documentation (RFC 7042 section 2.1.2).
const CARDS: [(&str, &str, &str); 3] = [
    ("lan0", "00:00:5e:00:53:01", CLIENT),
    ("lan1", "00:00:5e:00:53:02", OTHER),
    ("lan2", "00:00:5e:00:53:66", STRANGER),
];

const PATIENCE: Duration = Duration::from_secs(5);

/// The site, and what is outside of it.
pub struct Site {
    /// Where the daemon is to run.
    pub gateway: Namespace,
    hosts: [Namespace; 3],
    _outside: Namespace,
    _server: Server,
}

impl Site {
    /// Interfaces of the gateway, as arguments of the daemon.
    pub const INTERFACES: [&str; 8] = ["-i", "lan0", "-i", "lan1", "-i", "lan2", "-i", "wan"];

    /// The card of the stranger.
    pub const STRANGE_CARD: &str = CARDS[2].1;

    /// Without a daemon, and without any traffic.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new() -> Result<Self> {
        let gateway = Namespace::new()?;
        let hosts = [Namespace::new()?, Namespace::new()?, Namespace::new()?];
        let outside = Namespace::new()?;
        for ((port, card, address), host) in CARDS.into_iter().zip(&hosts) {
            let network = address.trim_end_matches("66");
            gateway.connect(port, host)?;
            host.ip(&format!("link set {port} address {card}"))?;
            gateway.address(port, &format!("{network}1/24"))?;
            host.address(port, &format!("{address}/24"))?;
            host.ip(&format!("route add default via {network}1"))?;
        }
        gateway.connect("wan", &outside)?;
        gateway.address("wan", "192.0.2.1/24")?;
        outside.address("wan", "192.0.2.2/24")?;
        for address in [CONTROL, DROP_OFF] {
            outside.address("lo", &format!("{address}/32"))?;
        }
        // What is on the way to everywhere is not inside.
        gateway.ip("route add default via 192.0.2.2")?;
        outside.ip("route add 10.9.0.0/16 via 192.0.2.1")?;
        gateway.set("net/ipv4/ip_forward", "1")?;
        let server = Server::start(&outside)?;
        Ok(Self { gateway, hosts, _outside: outside, _server: server })
    }

    /// The file of those that may be here: not the stranger.
    #[must_use]
    pub fn approvals(&self) -> String {
        // With an address among them, a device is said with its own.
        format!("{} client\n{} other\n{GATEWAY} gateway\n", CARDS[0].1, CARDS[1].1)
    }

    /// The client sends the gateway an echo request every two milliseconds until the process is stopped, which then says how many.
    ///
    /// # Errors
    /// There is no `ping`.
    pub fn flood(&self) -> Result<Process> {
        Process::start(self.hosts[0].command("ping").args(["-q", "-i", "0.002", "-w", "60", GATEWAY]))
    }

    /// The client knocks at TCP ports of the gateway, at each once.
    ///
    /// # Errors
    /// Something else comes back than that nobody is there.
    pub fn scan(&self, ports: Range<u16>) -> Result<()> {
        knock(&self.hosts[0], GATEWAY, ports)
    }

    /// The stranger says something for the first time.
    ///
    /// # Errors
    /// It gets no answer.
    pub fn appear(&self) -> Result<()> {
        let finished = Process::start(self.hosts[2].command("ping").args(["-q", "-c", "3", "-i", "0.2", GATEWAY]))?;
        anyhow::ensure!(finished.wait()?.status.success(), "the stranger has no link");
        Ok(())
    }

    /// The client asks the control server at even times, until it is to stop. How often it has.
    ///
    /// # Errors
    /// It gets no answer.
    pub fn beacon(&self, period: Duration, stop: &AtomicBool) -> Result<u32> {
        self.hosts[0].inside(|| {
            let (begin, mut beats) = (Instant::now(), 0);
            while !stop.load(Ordering::Relaxed) {
                let mut stream = connect(CONTROL)?;
                stream.write_all(&[b'?'; ASKED])?;
                stream.read_exact(&mut [0; ANSWERED])?;
                drop(stream);
                beats += 1;
                while !stop.load(Ordering::Relaxed) && begin.elapsed() < period * beats {
                    sleep(Duration::from_millis(5).min(period));
                }
            }
            Ok(beats)
        })
    }

    /// The other one sends the drop-off [`UPLOAD`], at 50 MB a second at most.
    ///
    /// # Errors
    /// They do not arrive.
    pub fn upload(&self) -> Result<()> {
        const PIECE: usize = 500_000;
        self.hosts[1].inside(|| {
            let mut stream = connect(DROP_OFF)?;
            let piece = [b'.'; PIECE];
            let (begin, mut sent) = (Instant::now(), 0);
            while sent < UPLOAD {
                let size = PIECE.min(UPLOAD - sent);
                stream.write_all(&piece[..size])?;
                sent += size;
                let due = Duration::from_micros(u64::try_from(sent / 50)?);
                sleep(due.saturating_sub(begin.elapsed()));
            }
            stream.shutdown(std::net::Shutdown::Write)?;
            // The end of the answer: all was read.
            io::copy(&mut stream, &mut io::sink())?;
            Ok(())
        })
    }
}

/// Knocks at each of these TCP ports once. Somebody may be there or nobody; anything else is an error.
fn knock(from: &Namespace, at: &str, ports: Range<u16>) -> Result<()> {
    from.inside(|| {
        for port in ports {
            let address: SocketAddr = format!("{at}:{port}").parse()?;
            match TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
}

fn connect(to: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(to.parse::<IpAddr>()?, PORT), PATIENCE)
        .with_context(|| format!("cannot connect to {to}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Answers to what is asked, and takes whatever comes after it.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(namespace: &Namespace) -> Result<Self> {
        let listener = namespace.inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    // Who breaks off is seen at the other end; and all of them end by their time limit.
                    Ok((stream, _)) => drop(spawn(move || answer(&stream))),
                    Err(_) => sleep(Duration::from_millis(2)),
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It can only end.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut [0; ASKED])?;
    stream.write_all(&[b'!'; ANSWERED])?;
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}
