//! What we do to a BPF object file: take its DWARF out, and say what is in it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya_obj::Object;
use object::build::elf::{Builder, SectionData};

/// Takes out the DWARF that BTF was made from: ten times the size of the rest, and no loader reads it.
pub(crate) fn strip_debug(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("not an ELF file")?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    // LLVM keeps the names of sections and symbols in one table; the builder wants two.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = object::elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("cannot write the stripped object")?;
    Ok(stripped)
}

/// Programs and maps of an object, as its loader sees them: name → what must agree.
pub(crate) fn contents(object: &[u8]) -> Result<BTreeMap<String, String>> {
    let parsed = Object::parse(object).context("not a BPF object")?;
    let mut contents = BTreeMap::new();
    for (name, program) in &parsed.programs {
        contents.insert(format!("program {name}"), format!("{:?}", program.section));
    }
    // `.bss`, `.data` and `.rodata` become maps as well, sized by the variables in them.
    for (name, map) in &parsed.maps {
        contents.insert(
            format!("map {name}"),
            format!(
                "type {}, key {} bytes, value {} bytes, {} entries, flags {:#x}",
                map.map_type(),
                map.key_size(),
                map.value_size(),
                map.max_entries(),
                map.map_flags(),
            ),
        );
    }
    Ok(contents)
}

/// The entries that are in one of the two only, or differ.
pub(crate) fn differences(committed: &BTreeMap<String, String>, built: &BTreeMap<String, String>) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, was) in committed {
        match built.get(name) {
            None => differences.push(format!("{name}: committed, but not in the source")),
            Some(is) if is != was => differences.push(format!("{name}: committed as {was}; the source gives {is}")),
            Some(_) => {}
        }
    }
    for name in built.keys().filter(|name| !committed.contains_key(*name)) {
        differences.push(format!("{name}: in the source, but not committed"));
    }
    differences
}

/// The names of the sections whose bytes differ or that only one of the objects has.
pub(crate) fn different_sections(committed: &[u8], built: &[u8]) -> Result<Vec<String>> {
    let (committed, built) = (sections(committed)?, sections(built)?);
    let names = committed.keys().chain(built.keys().filter(|name| !committed.contains_key(*name)));
    Ok(names
        .filter(|name| committed.get(*name) != built.get(*name))
        .map(|name| {
            let size = |sections: &BTreeMap<String, Vec<u8>>| {
                sections.get(name).map_or_else(|| "absent".to_owned(), |data| format!("{} bytes", data.len()))
            };
            format!("section {name}: committed {}, built {}", size(&committed), size(&built))
        })
        .collect())
}

fn sections(object: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    use object::read::{Object as _, ObjectSection as _};
    let file = object::File::parse(object).context("not an ELF file")?;
    file.sections().map(|section| Ok((section.name()?.to_owned(), section.data()?.to_vec()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &[u8] = include_bytes!("../../flowprobe-ebpf/object/flowprobe.bpf.o");

    #[test]
    fn stripping_is_idempotent_and_keeps_programs_and_maps() -> Result<()> {
        let stripped = strip_debug(COMMITTED)?;
        assert_eq!(stripped, strip_debug(&stripped)?);
        assert_eq!(contents(COMMITTED)?, contents(&stripped)?);
        Ok(())
    }

    #[test]
    fn contents_name_programs_and_maps() -> Result<()> {
        let contents = contents(COMMITTED)?;
        assert!(contents["program xdp_ingress"].contains("frags: true"), "{contents:#?}");
        assert!(contents["map FLOWS_0"].starts_with("type 1,"), "{contents:#?}");
        Ok(())
    }

    #[test]
    fn differences_are_named() -> Result<()> {
        let one = contents(COMMITTED)?;
        let mut other = one.clone();
        other.remove("map STATS");
        other.insert("program new".into(), "Xdp".into());
        let differences = differences(&one, &other);
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert!(differences[0].starts_with("map STATS: committed, but not"), "{differences:?}");
        Ok(())
    }
}
