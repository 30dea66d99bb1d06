//! What sending costs: the daemon's outlet, which sends many messages with one system call, beside the plain way, one message
//! with each. Both send over the loopback to a socket that nobody reads: what does not fit into it is dropped there.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flowprobe::export::outlet::Udp;
use flowprobe::export::packed::Packed;
use flowprobe::export::transport::SocketOptions;
use serde::Serialize;

use crate::common::{median, thread_time};
use crate::encode::{CLOCK, Case};

/// Records that are sent in one measurement.
const RECORDS: usize = 1 << 16;

/// What was measured: nanoseconds of CPU time per record, and what the loopback does with it.
#[derive(Serialize)]
pub(crate) struct Sending {
    records: usize,
    messages: usize,
    outlet: Vec<f64>,
    one_by_one: Vec<f64>,
    /// Of each round: `one_by_one / outlet`.
    ratios: Vec<f64>,
    /// Millions of records a second through the outlet, by the wall clock.
    outlet_rate: Vec<f64>,
}

impl Sending {
    pub(crate) fn print(&self) {
        let Self { records, messages, outlet, one_by_one, ratios, outlet_rate } = self;
        println!("sending {records} records in {messages} messages over the loopback, ns of CPU time per record");
        println!("{:>12} {:>12} {:>20} {:>16}", "outlet", "one by one", "one by one / outlet", "M records/s");
        let [outlet, one_by_one, ratio, rate] = [outlet, one_by_one, ratios, outlet_rate].map(|all| median(all));
        println!("{outlet:>12.1} {one_by_one:>12.1} {ratio:>20.2} {rate:>16.2}");
    }
}

/// Sends the messages of a case both ways in turns.
pub(crate) fn measure(case: &Case, rounds: u32) -> Result<Sending> {
    let mut messages = case.messages(&case.records(RECORDS))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let nobody = UdpSocket::bind(("127.0.0.1", 0))?;
    let address = nobody.local_addr()?;
    let mut outlet = {
        let _inside = runtime.enter();
        Udp::open(address, &SocketOptions::default(), case.format, 1500, Duration::MAX)?
    };
    let plain = UdpSocket::bind(("127.0.0.1", 0))?;
    plain.connect(address)?;
    // The templates leave now; and what arrives is what was sent, as far as there is room for it.
    let first: Vec<Packed> = messages.drain(..4).collect();
    let expected: Vec<Vec<u8>> = first.iter().map(|message| message.octets[16..].to_vec()).collect();
    runtime.block_on(send(&mut outlet, first))?;
    check(&nobody, &expected)?;

    let mut measured = Sending {
        records: messages.iter().map(|message| message.records as usize).sum(),
        messages: messages.len(),
        outlet: Vec::new(),
        one_by_one: Vec::new(),
        ratios: Vec::new(),
        outlet_rate: Vec::new(),
    };
    let records = measured.records as f64;
    for _ in 0..rounds {
        let (begin, began) = (thread_time(), Instant::now());
        messages = runtime.block_on(send(&mut outlet, messages))?;
        let (batched, took) = (thread_time().saturating_sub(begin), began.elapsed());
        ensure!(messages.len() == measured.messages, "{} messages left, not {}", messages.len(), measured.messages);
        let begin = thread_time();
        for message in &messages {
            let sent = plain.send(&message.octets)?;
            ensure!(sent == message.octets.len(), "a message was cut off");
        }
        let single = thread_time().saturating_sub(begin);
        measured.outlet.push(batched.as_secs_f64() * 1e9 / records);
        measured.one_by_one.push(single.as_secs_f64() * 1e9 / records);
        measured.ratios.push(single.as_secs_f64() / batched.as_secs_f64());
        measured.outlet_rate.push(records / took.as_secs_f64() / 1e6);
    }
    Ok(measured)
}

/// Sends all messages as a lane does, and returns what has left.
async fn send(outlet: &mut Udp, messages: Vec<Packed>) -> Result<Vec<Packed>> {
    let mut sent = Vec::with_capacity(messages.len());
    let mut rest = messages.into_iter().peekable();
    while let Some(message) = rest.next() {
        if outlet.push(message) || rest.peek().is_none() {
            let outcome = outlet.flush(Instant::now(), CLOCK.now_s()).await;
            if let Some(error) = outcome.error {
                return Err(error).context("a message was refused");
            }
            sent.extend(outcome.sent);
        }
    }
    Ok(sent)
}

/// Reads templates, and after them these messages without their headers.
fn check(socket: &UdpSocket, expected: &[Vec<u8>]) -> Result<()> {
    /// Set IDs of data begin here.
    const DATA: u16 = 256;
    let mut expected = expected.iter();
    let mut octets = [0; 65_536];
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    while expected.len() > 0 {
        let length = socket.recv(&mut octets).context("messages have not arrived")?;
        let set = octets.get(16..18).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
        if set >= DATA {
            ensure!(expected.next().is_some_and(|expected| expected[..] == octets[16..length]), "another has arrived");
        }
    }
    Ok(())
}
