//! How fast names are looked up: by one thread, of addresses as they are met on a gateway and of such as nobody meets twice, with
//! databases as large as those that people use.

#[path = "../common/memory.rs"]
mod memory;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use flowprobe::enrich::{EnrichConfig, Enricher, Enrichment, ReverseDns};
use flowprobe::store::flows::mapped;
use ipnet::Ipv4Net;
use memory::memory;
use mmdb_writer::{Value, Writer};

/// Measures enrichment.
#[derive(Parser)]
struct Args {
    /// Lookups in a round.
    #[arg(long, default_value_t = 2_000_000)]
    lookups: usize,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A folder in which the files are: then they are not made.
    #[arg(long)]
    files: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Networks of the database of autonomous systems, and of those how many there are.
const NETWORKS: u32 = 400_000;
const SYSTEMS: u32 = 80_000;
/// Networks of the database of cities, and of those how many there are.
const PLACES: u32 = 1_000_000;
const CITIES: u32 = 50_000;
/// Networks with labels.
const LABELS: u32 = 10_000;
/// Hosts of a gateway.
const HOSTS: usize = 20_000;

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.files {
        Some(folder) => measure(&args, folder),
        None => make_and_measure(),
    }
}

/// Files of enrichment in a folder: autonomous systems, cities, labels.
fn files(folder: &Path) -> [PathBuf; 3] {
    ["as.mmdb", "city.mmdb", "labels.csv"].map(|name| folder.join(name))
}

/// Makes the files, and measures in a process that has not: of its memory much has come back by then, and would be used again.
fn make_and_measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [systems, cities, labels] = files(folder.path());
    std::fs::write(&systems, database(NETWORKS, system)?)?;
    std::fs::write(&cities, database(PLACES, city)?)?;
    let lines = (0..LABELS).map(|number| format!("{},site {number}\n", network(number, LABELS)));
    std::fs::write(&labels, lines.collect::<String>())?;
    let again = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--files")
        .arg(folder.path())
        .status()?;
    ensure!(again.success(), "the measuring process ended with {again}");
    Ok(())
}

fn measure(args: &Args, folder: &Path) -> Result<()> {
    let [systems, cities, labels] = files(folder);
    let mib = |path| -> Result<u64> { Ok(std::fs::metadata(path)?.len() >> 20) };
    println!(
        "autonomous systems: {NETWORKS} networks, {} MiB; cities: {PLACES} networks, {} MiB; {LABELS} labels",
        mib(&systems)?,
        mib(&cities)?
    );
    let (then, before) = (Instant::now(), memory("VmRSS:")?);
    let config = EnrichConfig {
        databases: vec![systems, cities],
        labels: vec![labels],
        vendors: Some(Vec::new()),
        reverse_dns: ReverseDns::None,
    };
    let shared = Arc::new(Enrichment::open(&config)?);
    println!(
        "read and checked in {:.2} s; {} MiB in memory, at most {} MiB meanwhile",
        then.elapsed().as_secs_f64(),
        memory("VmRSS:")?.saturating_sub(before) >> 10,
        memory("VmHWM:")?.saturating_sub(before) >> 10
    );
    let mut random = fastrand::Rng::with_seed(7);
    let hosts: Vec<u128> = (0..HOSTS).map(|_| address(&mut random)).collect();
    // Half of the hosts for each quarter of what is met: as uneven as traffic is.
    let met: Vec<u128> = (0..args.lookups)
        .map(|_| {
            let halvings = random.u32(..10);
            hosts[random.usize(..HOSTS >> halvings)]
        })
        .collect();
    let strangers: Vec<u128> = (0..args.lookups).map(|_| address(&mut random)).collect();
    look_up("of a gateway's hosts", &shared, &met, args.rounds)?;
    look_up("of addresses at random", &shared, &strangers, args.rounds)
}

fn look_up(what: &str, shared: &Arc<Enrichment>, addresses: &[u128], rounds: usize) -> Result<()> {
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let enricher = Enricher::new(shared);
        let then = Instant::now();
        let mut found = 0;
        for address in addresses {
            let facts = enricher.facts(*address);
            found += usize::from(facts.place.as_number != 0 && facts.place.city.is_some() && facts.label.is_some());
        }
        rates.push(addresses.len() as f64 / then.elapsed().as_secs_f64() / 1e6);
        ensure!(found == addresses.len(), "only {found} of {} were found", addresses.len());
    }
    rates.sort_by(f64::total_cmp);
    let (first, last) = (rates[0], rates[rates.len() - 1]);
    println!("{what}: {:.2} M lookups/s ({first:.2}–{last:.2})", rates[rates.len() / 2]);
    Ok(())
}

/// Between 1.0.0.0 and 223.255.255.255.
fn address(random: &mut fastrand::Rng) -> u128 {
    mapped(IpAddr::from(Ipv4Addr::from(random.u32(0x0100_0000..0xe000_0000))))
}

/// The network of this number, of so many that share all addresses.
fn network(number: u32, of: u32) -> Ipv4Net {
    let bits = of.next_power_of_two().trailing_zeros();
    // Larger ones where they are fewer than a power of two: the last ones are one bit shorter.
    let spare = of.next_power_of_two() - of;
    let (index, length) = if number < spare { (number * 2, bits - 1) } else { (number + spare, bits) };
    let first = u64::from(index) << (32 - bits);
    let length = u8::try_from(length).unwrap_or(32);
    Ipv4Net::new_assert(Ipv4Addr::from(u32::try_from(first).unwrap_or(u32::MAX)), length)
}

fn database(networks: u32, value: fn(u32) -> Value) -> Result<Vec<u8>> {
    let mut writer = Writer::builder("Bench")
        .ip_version(mmdb_writer::IpVersion::V4)
        .reserved_networks(mmdb_writer::ReservedNetworks::Included)
        .build();
    for number in 0..networks {
        writer.insert_value(network(number, networks), value(number)).context("a network")?;
    }
    writer.to_bytes().context("a database")
}

fn system(number: u32) -> Value {
    let number = 1 + number % SYSTEMS;
    Value::map([
        ("autonomous_system_number", Value::from(number)),
        ("autonomous_system_organization", Value::from(format!("Example Networks {number} Ltd"))),
    ])
}

fn city(number: u32) -> Value {
    let names = ["de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN"];
    let city = number % CITIES;
    Value::map([
        ("city", Value::map([("names", Value::map(names.map(|name| (name, Value::from(format!("{name} {city}"))))))])),
        ("country", Value::map([("iso_code", Value::from(["DE", "FR", "IT", "US"][city as usize % 4]))])),
        ("location", Value::map([("latitude", Value::from(f64::from(city))), ("longitude", Value::from(8.5))])),
    ])
}
