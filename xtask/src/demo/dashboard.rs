//! The dashboard of the demo's daemon is on the gateway's own loopback, in its namespace. This machine's loopback gets a door to it: a
//! browser here sees it as one would see the dashboard of this machine.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where the daemon has it, and this machine, too.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8739);

/// Connections at a time.
const CONNECTIONS: usize = 64;

/// Opens the door to the namespace at this path; it is open until the demo ends. Says where it is, or why there is none.
pub(super) fn open_door(namespace: PathBuf) {
    match TcpListener::bind(ADDRESS) {
        Ok(listener) => {
            println!("demo: the dashboard is at http://{ADDRESS}");
            thread::spawn(move || forward(&listener, &namespace));
        }
        Err(error) => println!("demo: there is no dashboard on this machine: cannot listen on {ADDRESS}: {error}"),
    }
}

fn forward(listener: &TcpListener, namespace: &PathBuf) {
    // Connections are made from a thread that is in there, for good.
    let entered = File::open(namespace)
        .and_then(|file| Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?));
    if let Err(error) = entered {
        eprintln!("warning: no dashboard: cannot enter {}: {error}", namespace.display());
        return;
    }
    let open = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming().flatten() {
        // The daemon may not be there yet, or no longer: then the client sees that nobody answers.
        let Ok(server) = TcpStream::connect(ADDRESS) else { continue };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let open = Arc::clone(&open);
        thread::spawn(move || {
            let _ = join(&client, &server);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Hands on what both say, until both have ended.
fn join(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let asking = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let answered = io::copy(&mut from_server, &mut to_client);
    // Whoever still asks gets no answer any more.
    let _ = client.shutdown(Shutdown::Both);
    let _ = asking.join();
    answered.map(drop)
}
