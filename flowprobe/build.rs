//! Packs the dashboard's files, and the copy of plotly.js that the `plotly` crate has, so that the binary has them compressed.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Where the files are.
const PAGES: &str = "src/web/pages";

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed={PAGES}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let mut files = Vec::new();
    collect(Path::new(PAGES), "", &mut files)?;
    files.sort();
    files.push(("plotly.min.js".to_owned(), plotly()?));
    let mut table = String::from("&[\n");
    for (number, (name, contents)) in files.iter().enumerate() {
        let packed = out.join(format!("asset-{number}.gz"));
        let mut encoder = GzEncoder::new(fs::File::create(&packed)?, Compression::best());
        encoder.write_all(contents)?;
        encoder.finish()?;
        let mut hash = DefaultHasher::new();
        hash.write(contents);
        table.push_str(&format!(
            "    Asset {{ name: {name:?}, tag: \"\\\"{:016x}\\\"\", packed: include_bytes!({:?}) }},\n",
            hash.finish(),
            packed
        ));
    }
    table.push(']');
    fs::write(out.join("assets.rs"), table)?;
    Ok(())
}

/// All files of a folder and of those in it, by their path below the first one.
fn collect(folder: &Path, below: &str, files: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.push((name, fs::read(entry.path())?));
        }
    }
    Ok(())
}

/// The crate gives it inside of the elements that pages of its own have, of which it is the first.
fn plotly() -> Result<Vec<u8>> {
    let elements = plotly::Plot::offline_js_sources();
    let (_, script) = elements.split_once('>').context("plotly has no script")?;
    let (script, _) = script.split_once("</script>").context("plotly's script has no end")?;
    ensure!(script.contains("plotly.js v"), "the first script of plotly is not plotly.js");
    Ok(script.trim().as_bytes().to_vec())
}
