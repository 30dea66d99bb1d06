//! Where one IPFIX message of a connection ends and the next begins (RFC 7011 section 3.1): nothing but its length says so, and
//! what was once misread cannot be found again.

use thiserror::Error;

/// Version of IPFIX, the first field of a message.
const VERSION: u16 = 10;

/// Octets of a message's header.
const HEADER: u16 = 16;

/// Room for one read.
const READ: usize = 32 * 1024;

/// Why what comes is no IPFIX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum NotIpfix {
    #[error("a message has version {0} where IPFIX has 10; NetFlow comes over udp")]
    Version(u16),
    #[error("a message says that it has {0} octets, fewer than its header")]
    Length(u16),
}

/// What has been read of a connection and is not handed on yet.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    octets: Vec<u8>,
    /// Before it, all has been handed on.
    start: usize,
}

impl Frames {
    /// Where to read to, with room behind what is there.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        self.octets.drain(..self.start);
        self.start = 0;
        self.octets.reserve(READ);
        &mut self.octets
    }

    /// The next message that is there as a whole.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, NotIpfix> {
        let rest = &self.octets[self.start..];
        if let Some(version) = field(rest, 0)
            && version != VERSION
        {
            return Err(NotIpfix::Version(version));
        }
        let Some(length) = field(rest, 2) else { return Ok(None) };
        if length < HEADER {
            return Err(NotIpfix::Length(length));
        }
        let message = rest.get(..usize::from(length));
        self.start += message.map_or(0, <[u8]>::len);
        Ok(message)
    }

    /// Whether a message is there in part.
    pub(crate) fn is_within_message(&self) -> bool {
        self.start < self.octets.len()
    }
}

fn field(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u16) -> Vec<u8> {
        let mut octets = vec![length.to_le_bytes()[0]; usize::from(length)];
        octets[..2].copy_from_slice(&VERSION.to_be_bytes());
        octets[2..4].copy_from_slice(&length.to_be_bytes());
        octets
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let sent = [16, 17, 1400, 65_535, 16].map(message);
        let octets = sent.concat();
        for piece in [1, 3, 16, 1000, READ, octets.len()] {
            let (mut frames, mut received) = (Frames::default(), Vec::new());
            for piece in octets.chunks(piece) {
                frames.room().extend_from_slice(piece);
                while let Some(message) = frames.next().expect("IPFIX") {
                    received.push(message.to_vec());
                }
            }
            assert!(received == sent, "in pieces of {piece}");
            assert!(!frames.is_within_message());
        }
    }

    #[test]
    fn a_message_in_part_is_waited_for() {
        let mut frames = Frames::default();
        for (octets, is_whole) in [(&message(20)[..19], false), (&[0], true)] {
            frames.room().extend_from_slice(octets);
            assert!(frames.is_within_message());
            assert_eq!(frames.next().expect("IPFIX").is_some(), is_whole);
        }
        assert!(!frames.is_within_message());
    }

    #[test]
    fn what_is_no_ipfix_is_refused_as_soon_as_it_shows() {
        for (octets, problem) in [
            (&[0, 9][..], NotIpfix::Version(9)),
            (b"GET / HTTP/1.1", NotIpfix::Version(0x4745)),
            (&[0, 10, 0, 15], NotIpfix::Length(15)),
            (&[0, 10, 0, 0], NotIpfix::Length(0)),
        ] {
            let mut frames = Frames::default();
            frames.room().extend_from_slice(&message(16));
            frames.room().extend_from_slice(octets);
            assert_eq!(frames.next().map(|message| message.map(<[u8]>::len)), Ok(Some(16)));
            assert_eq!(frames.next(), Err(problem));
            assert_eq!(frames.next(), Err(problem), "and stays refused");
        }
    }

    #[test]
    fn messages_are_the_same_however_a_stream_of_them_is_cut_at_random() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..300 {
            let length = |random: &mut fastrand::Rng| match random.u8(..10) {
                0 => HEADER,
                1 => random.u16(60_000..),
                _ => random.u16(HEADER..2000),
            };
            let count = random.usize(1..20);
            let sent: Vec<_> = std::iter::repeat_with(|| message(length(&mut random))).take(count).collect();
            let octets = sent.concat();
            let (mut frames, mut received, mut rest) = (Frames::default(), Vec::new(), &octets[..]);
            while !rest.is_empty() {
                let most = *random.choice([1, 20, 1500, READ].iter()).expect("there are some");
                let (piece, others) = rest.split_at(random.usize(1..=most).min(rest.len()));
                frames.room().extend_from_slice(piece);
                rest = others;
                while let Some(message) = frames.next().expect("IPFIX") {
                    received.push(message.to_vec());
                }
            }
            assert!(received == sent, "seed {seed}");
            assert!(!frames.is_within_message());
        }
    }

    #[test]
    fn no_octets_make_it_keep_more_than_a_message_and_a_read() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2000 {
            let mut frames = Frames::default();
            let mut refused = false;
            while !refused && random.u8(..50) != 0 {
                let count = random.usize(1..=READ);
                let mut piece: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(count).collect();
                // Mostly the beginning of a message, of whatever length it says.
                if let [high, low, ..] = piece.as_mut_slice()
                    && random.u8(..4) != 0
                {
                    [*high, *low] = VERSION.to_be_bytes();
                }
                frames.room().extend_from_slice(&piece);
                loop {
                    match frames.next() {
                        Ok(Some(message)) => assert!(message.len() >= usize::from(HEADER), "seed {seed}"),
                        Ok(None) => break,
                        Err(_) => {
                            refused = true;
                            break;
                        }
                    }
                }
                assert!(refused || frames.octets.len() - frames.start < usize::from(u16::MAX), "seed {seed}");
                assert!(frames.octets.len() <= usize::from(u16::MAX) + READ, "seed {seed}");
            }
        }
    }
}
