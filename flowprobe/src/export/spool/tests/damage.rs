//! Torn ends, flipped bits, lost files and full disks: what is sound comes back, and what is not is reported.

use std::process::{Command, Stdio};

use super::*;

/// Small messages, so that every octet of their file can be tried.
fn small(number: u64) -> Packed {
    sized(number, 30, &templates(0))
}

/// Two segments of `each` messages. Returns their paths.
fn two_segments(folder: &TempDir, each: u64) -> Vec<PathBuf> {
    for start in [0, each] {
        let mut spool = open(folder, PLENTY);
        for number in start..start + each {
            spool.append(&small(number)).expect("it is appended");
        }
    }
    files(folder).0
}

#[test]
fn a_torn_end_is_cut_off_wherever_it_is() {
    let folder = folder();
    let path = two_segments(&folder, 3)[1].clone();
    let whole = fs::read(&path).expect("it is there");
    let length = usize::try_from(entry::data_length(&small(0))).expect("it is small");
    let ends: Vec<_> = (0..4).map(|left| whole.len() - (3 - left) * length).collect();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).expect("it is written");
        let left = ends.iter().rposition(|end| *end <= cut).unwrap_or(0) as u64;
        let mut spool = open(&folder, PLENTY);
        assert_eq!(spool.damage().segments, 0);
        assert_eq!(spool.damage().torn_octets > 0, cut > 0 && cut != 12 && !ends.contains(&cut), "cut at {cut}");
        assert_eq!(spool.waiting().messages, 3 + left);
        spool.append(&small(9)).expect("it is appended");
        drop(spool);
        // Once cut off it is sound.
        let mut spool = open(&folder, PLENTY);
        assert_eq!(spool.damage(), Damage::default(), "cut at {cut}");
        assert_eq!(rest(&mut spool), [range(0..3 + left), vec![9]].concat(), "cut at {cut}");
        drop(spool);
        fs::remove_file(files(&folder).0.pop().expect("the segment of message 9")).expect("it is removed");
    }
}

#[test]
fn a_flipped_bit_costs_no_more_than_the_rest_of_its_segment() {
    let folder = folder();
    let paths = two_segments(&folder, 3);
    for (segment, path) in paths.iter().enumerate() {
        let whole = fs::read(path).expect("it is there");
        let length = usize::try_from(entry::data_length(&small(0))).expect("it is small");
        for octet in 0..whole.len() {
            // Of the messages before it, all are there.
            let sound = 3 - (whole.len() - octet).div_ceil(length).min(3) as u64;
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[octet] ^= 1 << bit;
                fs::write(path, &flipped).expect("it is written");
                let mut spool = open(&folder, PLENTY);
                let damage = spool.damage();
                let expected = if segment == 0 { [range(0..sound), range(3..6)].concat() } else { range(0..3 + sound) };
                assert_eq!(rest(&mut spool), expected, "bit {bit} of octet {octet}");
                assert_eq!(u64::from(damage.torn_octets > 0) + damage.segments, 1, "bit {bit} of octet {octet}");
                // Only the end of the newest can have been torn; a segment of another version even there is left as it is.
                if segment == 0 || octet < entry::HEADER.len() {
                    assert_eq!((damage.segments, fs::read(path).expect("it is there")), (1, flipped));
                }
            }
            fs::write(path, &whole).expect("it is written");
        }
    }
}

#[test]
fn what_is_damaged_while_the_spool_is_open_is_counted() {
    let folder = folder();
    two_segments(&folder, 3);
    let losses = Losses::default();
    let mut spool = Spool::open(folder.path(), PLENTY, losses.clone()).expect("it opens");
    for number in 6..9 {
        spool.append(&small(number)).expect("it is appended");
    }
    let paths = files(&folder).0;
    // The middle one of each of three messages.
    for path in &paths {
        let mut octets = fs::read(path).expect("it is there");
        let at = octets.len() - 100;
        octets[at] ^= 1;
        fs::write(path, octets).expect("it is written");
    }
    assert_eq!(numbers(&read(&mut spool, 2)), [0, 3]);
    // The one that is written is left too.
    assert_eq!(rest(&mut spool), [6]);
    assert_eq!(losses.total(), weight([1, 2, 4, 5, 7, 8]));
    assert_eq!((spool.damage().segments, spool.is_empty()), (3, true));
    spool.append(&small(9)).expect("it is appended");
    assert_eq!(rest(&mut spool), [9]);
    // Going back, what is sound is there once more.
    spool.rewind(Position::default());
    assert_eq!(rest(&mut spool), [0, 3, 6, 9]);
    assert_eq!(losses.total(), weight([1, 2, 4, 5, 7, 8]));
}

#[test]
fn a_segment_that_somebody_removes_is_lost_and_counted() {
    let folder = folder();
    let paths = two_segments(&folder, 3);
    let losses = Losses::default();
    let mut spool = Spool::open(folder.path(), PLENTY, losses.clone()).expect("it opens");
    fs::remove_file(&paths[0]).expect("it is removed");
    assert_eq!(rest(&mut spool), range(3..6));
    assert_eq!(losses.total(), weight(0..3));
    retire_read(&mut spool);
    spool.sync().expect("it is synced");
    assert!(files(&folder).0.is_empty());
}

#[test]
fn a_broken_place_means_that_all_is_sent_again() {
    let folder = folder();
    let mut spool = open(&folder, PLENTY);
    append(&mut spool, 0..9);
    assert_eq!(read(&mut spool, 5).len(), 5);
    retire_read(&mut spool);
    spool.sync().expect("it is synced");
    drop(spool);
    let path = folder.path().join("place");
    let whole = fs::read(&path).expect("it is there");
    assert_eq!(rest(&mut open(&folder, PLENTY)), range(5..9));
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("it is written");
        assert_eq!(rest(&mut open(&folder, PLENTY)), range(0..9));
        let mut flipped = whole.clone();
        flipped[length] ^= 0x10;
        fs::write(&path, flipped).expect("it is written");
        assert_eq!(rest(&mut open(&folder, PLENTY)), range(0..9));
    }
    fs::remove_file(&path).expect("it is removed");
    assert_eq!(rest(&mut open(&folder, PLENTY)), range(0..9));
}

/// A disk that is full is a limit to the size of files here, which a shell sets: a write goes as far as it can, and the next
/// fails. The test runs once more as a child under it.
#[test]
fn a_full_disk_leaves_no_half_message() {
    const FOLDER: &str = "FLOWPROBE_SPOOL_FULL";
    if let Some(path) = std::env::var_os(FOLDER) {
        return fill(Path::new(&path));
    }
    let folder = folder();
    let program = std::env::current_exe().expect("a test program");
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$@\"", "sh"])
        .arg(program)
        .args(["--exact", "export::spool::tests::damage::a_full_disk_leaves_no_half_message"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .status()
        .expect("a shell");
    assert!(status.success());
    let mut spool = open(&folder, PLENTY);
    assert_eq!((rest(&mut spool), spool.damage()), (range(200..210), Damage::default()));
}

/// Fills files of 100 blocks of 512 octets.
fn fill(folder: &Path) {
    let mut spool = Spool::open(folder, PLENTY, Losses::default()).expect("it opens");
    let mut appended = 0;
    while spool.append(&message(appended)).is_ok() {
        appended += 1;
    }
    assert_eq!(appended, 100 * 512 / 1450, "as many as have room");
    let octets = |spool: &Spool| fs::metadata(Segment::path(folder, GAP)).expect("it is there").len() == spool.octets;
    assert!(octets(&spool), "the last is cut back");
    // Smaller ones find room; the templates of one that found none are not taken for written.
    let other = templates(7);
    spool.append(&sized(100, 1400, &other)).expect_err("no room");
    spool.append(&sized(101, 10, &templates(0))).expect("there is room");
    spool.append(&sized(102, 10, &other)).expect("there is room");
    assert!(octets(&spool), "all of it is whole");
    let got = read(&mut spool, usize::MAX);
    assert_eq!(numbers(&got), [range(0..appended), vec![101, 102]].concat());
    let of_last: Vec<_> = got[got.len() - 2..].iter().map(|(_, message)| &message.templates).collect();
    assert_eq!(of_last, [&templates(0), &other]);
    // A segment that cannot even begin leaves nothing behind.
    retire_read(&mut spool);
    spool.sync().expect("it is synced");
    spool.append(&sized(102, 60_000, &other)).expect_err("no room");
    assert!(segment::list(folder).expect("the folder").is_empty());
    for number in 200..210 {
        spool.append(&message(number)).expect("there is room again");
    }
}
