//! Arbitrary octets as a capture, replayed through the table into every kind of output: nothing may panic or grow without
//! bound, and every packet must be accounted for.

#![no_main]

use std::io::{self, Cursor};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use flowprobe::config::{DomainBy, SelectionSettings};
use flowprobe::enrich::{EnrichConfig, Enrichment};
use flowprobe::export::elements::{Extras, Fields, Schema};
use flowprobe::losses::Losses;
use flowprobe::metering::Metering;
use flowprobe::output::{CsvLines, IpfixFile, JsonLines, Writer};
use flowprobe::replay::{Input, Replay};
use flowprobe::sink::{Event, Patience, Sink, Wants};
use flowprobe::table::TableConfig;
use libfuzzer_sys::fuzz_target;
use tokio::sync::mpsc;

/// Of nobody is anything known.
static NOTHING_KNOWN: LazyLock<Arc<Enrichment>> = LazyLock::new(|| {
    let config = EnrichConfig { vendors: Some(Vec::new()), ..EnrichConfig::default() };
    Arc::new(Enrichment::open(&config).expect("no file to read"))
});

/// More messages than the frames of an input can cause that is not gzipped (`-max_len` is 4,096 octets, and a frame has a
/// header of at least 16): so the replay need not run beside the metering, which would take a thread for each input.
const MESSAGES: usize = 1024;

/// What a gzip stream begins with (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

fuzz_target!(|octets: &[u8]| {
    let is_gzip = octets.starts_with(&GZIP);
    let Ok(input) = Input::from_stream(Path::new("fuzz"), Cursor::new(octets.to_owned())) else { return };
    let (out, drained) = sync_channel(MESSAGES);
    let (_open, closed) = mpsc::channel(1);
    let replay = move || {
        let everything = SelectionSettings::default().check().expect("nothing is asked for");
        let mut replay = Replay::new(out, closed, 1, &everything);
        // That a capture is damaged is no failure; what came before the damage is metered.
        let _ = replay.read(input, &mut |_| {});
        replay.finish().expect("the metering has not ended");
    };
    let (sink, events) = Sink::new("all", Wants::RecordsAndTicks);
    // Every other length with both directions joined.
    let biflow = octets.len() % 2 == 1;
    let (table, extras) = (TableConfig { biflow, ..TableConfig::default() }, Extras { biflow, ..Extras::default() });
    let metering = Metering::new(table, Arc::new(Schema::new(extras)), vec![sink], Patience::Forever);
    OUTPUTS.queues.send(events).expect("the outputs live");
    if is_gzip {
        thread::scope(|threads| {
            threads.spawn(replay);
            metering.run(&drained);
        });
    } else {
        replay();
        metering.run(&drained);
    }
    OUTPUTS.done.lock().expect("the outputs live").recv().expect("the outputs live");
});

/// The thread that writes what comes of all inputs, one after the other.
static OUTPUTS: LazyLock<Outputs> = LazyLock::new(|| {
    let (queues, receiver) = sync_channel::<mpsc::Receiver<Event>>(1);
    let (sender, done) = sync_channel(1);
    thread::spawn(move || {
        for events in receiver {
            write(events);
            sender.send(()).expect("the fuzzer waits");
        }
    });
    Outputs { queues, done: done.into() }
});

struct Outputs {
    queues: SyncSender<mpsc::Receiver<Event>>,
    done: Mutex<Receiver<()>>,
}

fn write(mut events: mpsc::Receiver<Event>) {
    let schema = Arc::new(Schema::default());
    let mut writers: [Box<dyn Writer>; 3] = [
        Box::new(JsonLines::enriched(&NOTHING_KNOWN)),
        Box::new(CsvLines::new(Arc::clone(&schema))),
        Box::new(IpfixFile::new(schema, Fields::default(), DomainBy::default(), Losses::default())),
    ];
    while let Some(event) = events.blocking_recv() {
        if let Event::Tick(tick) = &event {
            for sum in &tick.accounting {
                assert!(sum.balances(), "{}", sum.to_json());
            }
        }
        for writer in &mut writers {
            writer.write(&event, &mut io::sink()).expect("a sink takes all");
        }
    }
}
