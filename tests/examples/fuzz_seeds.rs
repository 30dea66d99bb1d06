//! Writes inputs for the fuzzer, made of the captures beside the checkout, into a folder: `cargo xtask fuzz` runs it. The
//! captures are nobody's to publish; the folder lies in cargo's target folder.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flowprobe_tests::captures::{self, captures_in, ethernet_frames, shared, unpacked};

/// Octets of a frame that are enough: its headers.
const HEADERS: usize = 256;

/// Frames of one capture. Those after them are much like them.
const MOST_FRAMES: usize = 200;

/// Octets of a capture: a few of its frames, and the cut end.
const BEGINNING: usize = 4000;

fn main() -> Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).context("which folder?")?.into();
    let Some(corpus) = shared("corpus") else {
        println!("no captures beside this checkout: the fuzzer begins with its dictionary only");
        for target in ["parser", "capture", "exporters"] {
            write(&folder.join(target), &[])?;
        }
        return Ok(());
    };
    let (mut frames, mut captures) = (BTreeMap::new(), Vec::new());
    for place in ["packets", "labelled", "netflow"] {
        for capture in captures_in(&corpus.join(place))? {
            let file = fs::read(&capture)?;
            captures.push(file[..file.len().min(BEGINNING)].to_vec());
            for frame in ethernet_frames(&unpacked(&file)?).into_iter().take(MOST_FRAMES) {
                // One of each length: others of the same are mostly packets of the same flow.
                frames.entry((capture.clone(), frame.len())).or_insert_with(|| parser_input(frame));
            }
        }
    }
    write(&folder.join("exporters"), &exporters_inputs(&corpus.join("netflow"))?)?;
    write(&folder.join("capture"), &captures)?;
    write(&folder.join("parser"), &frames.into_values().collect::<Vec<_>>())
}

/// A frame as the target `parser` takes it: nothing offloaded, nothing cut off; and what follows the Ethernet header.
fn parser_input(frame: &[u8]) -> Vec<u8> {
    let mut input = frame[..frame.len().min(HEADERS)].to_vec();
    input.extend([0, 0, 0, 0]);
    input.extend(frame.get(12..14).unwrap_or_default());
    input.extend([0, 14]);
    input
}

/// The messages in a file: a capture's, or one that is the file.
fn datagrams(path: &Path) -> Result<Vec<Vec<u8>>> {
    let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if path.extension().is_none_or(|extension| extension != "pcap") {
        return Ok(vec![file]);
    }
    Ok(captures::datagrams(&file).into_iter().map(|datagram| datagram.payload).collect())
}

/// Messages as the target `exporters` takes them: those of one exporter one after the other, each behind its length.
fn exporters_inputs(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let groups = fs::read_to_string(folder.join("EXPECTED.tsv"))?;
    let mut inputs = Vec::new();
    for files in groups.lines().skip(1).filter_map(|line| line.split('\t').nth(1)) {
        let mut input = Vec::new();
        for name in files.split(',') {
            for datagram in datagrams(&folder.join(name))? {
                let Some(length) = u16::try_from(datagram.len()).ok().filter(|length| *length < 0x0800) else {
                    continue;
                };
                input.extend(length.to_be_bytes());
                input.extend(datagram);
            }
        }
        inputs.push(input);
    }
    Ok(inputs)
}

/// Writes each input to a file whose name is made of its content.
fn write(folder: &Path, inputs: &[Vec<u8>]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for input in inputs {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        fs::write(folder.join(format!("{:016x}", hasher.finish())), input)?;
    }
    Ok(())
}
