//! All lists together: by which entries of which lists an address is listed.

use std::ops::Sub;

use hashbrown::HashMap;

use super::ListSettings;
use super::filter::{Filter4, Filter6};
use super::parse::{Note, Parsed};
use crate::detect::finding::Severity;
use crate::detect::flow::Ip;
use crate::detect::sketch::hash::stable;
use crate::enrich::ranges::{Address, Ranges};

/// Entries in which an address is, of all lists; none at 0.
pub(crate) type Found = u32;

/// A list, without its entries.
#[derive(Clone, Debug, PartialEq)]
pub struct ListInfo {
    /// As findings name it.
    pub name: String,
    /// The same for the same name, also after a restart.
    pub(crate) id: u64,
    /// Of an inside host that exchanges data with a listed address.
    pub severity: Severity,
    /// Whether inside hosts may be listed.
    pub match_inside: bool,
    /// Said where an entry has no reason of its own.
    pub reason: String,
    /// How many entries there are.
    pub entries: u64,
    /// Index of its first note.
    notes: usize,
}

/// That an address is listed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Listed<'a> {
    /// In which list.
    pub list: &'a ListInfo,
    /// With which score, if it has one.
    pub score: Option<f32>,
    /// Why; empty where nothing is said.
    pub reason: &'a str,
}

impl Listed<'_> {
    /// Reason and score; empty where neither is known.
    #[must_use]
    pub fn why(&self) -> String {
        match (self.reason, self.score) {
            (reason, None) => reason.to_owned(),
            ("", Some(score)) => format!("score {score}"),
            (reason, Some(score)) => format!("{reason}, score {score}"),
        }
    }
}

/// Lists to be looked up together. It does not change: another is made where a list does.
#[derive(Debug, Default)]
pub struct IndicatorSet {
    lists: Vec<ListInfo>,
    /// Of all lists, one behind the other.
    notes: Vec<Note>,
    /// What is found is a note, counted from 1 on, or behind these two of such numbers.
    pairs: Vec<(Found, Found)>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    may_v4: Filter4,
    may_v6: Filter6,
}

impl IndicatorSet {
    /// Puts lists together. Of entries of one list that overlap, the smallest says why.
    #[must_use]
    pub fn of(lists: impl IntoIterator<Item = (ListSettings, Parsed)>) -> Self {
        let lists: Vec<(ListSettings, Parsed)> = lists.into_iter().collect();
        let (of_v4, of_v6) =
            (|| lists.iter().flat_map(|(_, list)| &list.v4), lists.iter().flat_map(|(_, list)| &list.v6));
        let may_v4 = Filter4::of(of_v4().count(), of_v4().map(|(first, last, _)| (*first, *last)));
        let may_v6 = Filter6::of(of_v6.map(|(first, last, _)| (*first, *last)));
        let mut set = Self { may_v4, may_v6, ..Self::default() };
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (settings, parsed) in lists {
            let offset = set.notes.len();
            let (entries, name) = (parsed.len() as u64, settings.name_of(&parsed));
            let Parsed { v4: of_v4, v6: of_v6, notes, category, .. } = parsed;
            v4.push(ranges(of_v4, offset));
            v6.push(ranges(of_v6, offset));
            set.notes.extend(notes);
            set.lists.push(ListInfo {
                id: id(&name),
                name,
                severity: settings.severity,
                match_inside: settings.match_inside,
                reason: settings.reason.or(category).unwrap_or_default(),
                entries,
                notes: offset,
            });
        }
        set.notes.shrink_to_fit();
        let mut known = HashMap::new();
        let mut both = |one: Found, other: Found| pair(&mut set.pairs, &mut known, set.notes.len(), one, other);
        set.v4 = together(v4, &mut both);
        set.v6 = together(v6, &mut both);
        set.pairs.shrink_to_fit();
        set
    }

    /// Whether a list has addresses that match inside.
    pub(crate) fn may_match_inside(&self) -> bool {
        self.lists.iter().any(|list| list.match_inside)
    }

    /// Looks an address up.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "an IPv4 address is the lower half of the lower half")]
    pub(crate) fn find(&self, ip: Ip) -> Found {
        if ip.is_v4() {
            let v4 = ip.0 as u32;
            if self.may_v4.may_have(v4) { self.v4.find(v4) } else { 0 }
        } else if self.may_v6.may_have(ip.0) {
            self.v6.find(ip.0)
        } else {
            0
        }
    }

    /// Whether an address is listed at all.
    #[inline]
    #[must_use]
    pub fn has(&self, ip: Ip) -> bool {
        self.find(ip) != 0
    }

    /// Of each list in which an address is, the smallest entry.
    pub(crate) fn listed(&self, found: Found) -> Vec<Listed<'_>> {
        let listed = |index: usize| {
            let (note, of) = (self.notes.get(index)?, self.lists.partition_point(|list| list.notes <= index));
            let list = self.lists.get(of.checked_sub(1)?)?;
            let reason = if note.reason.is_empty() { list.reason.as_str() } else { &note.reason };
            Some(Listed { list, score: note.score, reason })
        };
        self.noted(found).into_iter().filter_map(listed).collect()
    }

    /// Indices of the notes behind what was found, of each list one.
    fn noted(&self, found: Found) -> Vec<usize> {
        let mut out = Vec::new();
        let mut open = vec![found as usize];
        while let Some(found) = open.pop() {
            if let Some((one, other)) = found.checked_sub(self.notes.len() + 1).and_then(|index| self.pairs.get(index))
            {
                open.extend([*other as usize, *one as usize]);
            } else {
                out.extend(found.checked_sub(1));
            }
        }
        out
    }

    /// By which lists an address is listed, and why.
    #[must_use]
    pub fn look_up(&self, ip: Ip) -> Vec<Listed<'_>> {
        self.listed(self.find(ip))
    }

    /// The lists.
    #[must_use]
    pub fn lists(&self) -> &[ListInfo] {
        &self.lists
    }

    /// One of the lists as if it had been read again: the same addresses are listed for the same reasons. Entries that lie in each other have
    /// become ranges that do not.
    #[must_use]
    pub fn taken_out(&self, at: usize) -> Option<Parsed> {
        let list = self.lists.get(at)?;
        let end = self.lists.get(at + 1).map_or(self.notes.len(), |next| next.notes);
        let mut known = HashMap::new();
        let mut note = |found: Found| {
            let of_list = || self.noted(found).into_iter().find(|index| (list.notes..end).contains(index));
            *known.entry(found).or_insert_with(|| u32::try_from(of_list()? - list.notes).ok())
        };
        Some(Parsed {
            v4: of_list(&self.v4, &mut note),
            v6: of_list(&self.v6, &mut note),
            notes: self.notes[list.notes..end].to_vec(),
            name: Some(list.name.clone()),
            category: Some(list.reason.clone()),
            ..Parsed::default()
        })
    }

    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.iter().all(|list| list.entries == 0)
    }

    /// Octets of memory: 8 for each IPv4 range, listed or between listed ones, 20 for each of IPv6, 512 KiB of index, a filter of
    /// 2 to 4 for each entry, and reasons.
    #[must_use]
    pub fn octets(&self) -> usize {
        let texts: usize = self.notes.iter().map(|note| note.reason.len()).sum();
        let index = 2 * (size_of::<u32>() << 16);
        let ranges = self.v4.len() * size_of::<(u32, u32)>() + self.v6.len() * (size_of::<u128>() + size_of::<u32>());
        ranges
            + index
            + self.may_v4.octets()
            + self.may_v6.octets()
            + texts
            + self.notes.len() * size_of::<Note>()
            + self.pairs.len() * size_of::<(Found, Found)>()
    }
}

fn id(name: &str) -> u64 {
    stable(&name)
}

/// Of one list; 0 is nothing, so that notes count from 1 on.
fn ranges<A: Address + Sub<Output = A> + From<u8>>(mut entries: Vec<(A, A, u32)>, offset: usize) -> Ranges<A> {
    let offset = u32::try_from(offset + 1).unwrap_or(u32::MAX);
    for (_, _, note) in &mut entries {
        *note = note.saturating_add(offset);
    }
    nest(&mut entries);
    Ranges::of(entries)
}

/// Ranges with a note of one list. Those that only other lists have divided are one.
fn of_list<A: Address + Sub<Output = A> + From<u8>>(
    all: &Ranges<A>,
    mut note: impl FnMut(Found) -> Option<u32>,
) -> Vec<(A, A, u32)> {
    let mut out: Vec<(A, A, u32)> = Vec::new();
    for (first, next, found) in all.iter() {
        let Some(note) = note(found) else { continue };
        let last = next.map_or(A::LAST, |next| next - A::from(1));
        match out.last_mut() {
            Some(before) if before.2 == note && before.1.next() == Some(first) => before.1 = last,
            _ => out.push((first, last, note)),
        }
    }
    out
}

/// Of two ranges that overlap without one lying in the other, cuts the first off where the second begins. Networks never do.
fn nest<A: Address + Sub<Output = A> + From<u8>>(entries: &mut [(A, A, u32)]) {
    entries.sort_by(|(a, a_last, _), (b, b_last, _)| a.cmp(b).then(b_last.cmp(a_last)));
    // Those in which the next may lie, the smallest last.
    let mut open: Vec<usize> = Vec::new();
    for next in 0..entries.len() {
        let (first, last, _) = entries[next];
        while let Some(before) = open.pop_if(|before| entries[*before].1 < last) {
            // It begins earlier: of those that begin together the largest comes first.
            if entries[before].1 >= first {
                entries[before].1 = first - A::from(1);
            }
        }
        open.push(next);
    }
}

/// Two at a time, so that each entry is looked at as often as the number of lists has binary digits.
fn together<A: Address>(mut all: Vec<Ranges<A>>, both: &mut impl FnMut(Found, Found) -> Found) -> Ranges<A> {
    while all.len() > 1 {
        let mut halved = Vec::with_capacity(all.len().div_ceil(2));
        let mut left = all.into_iter();
        while let Some(one) = left.next() {
            halved.push(match left.next() {
                Some(other) => one.and(&other, &mut *both),
                None => one,
            });
        }
        all = halved;
    }
    all.pop().unwrap_or_default()
}

/// The number for both.
fn pair(
    pairs: &mut Vec<(Found, Found)>,
    known: &mut HashMap<(Found, Found), Found>,
    notes: usize,
    one: Found,
    other: Found,
) -> Found {
    if one == 0 || other == 0 {
        return one | other;
    }
    *known.entry((one, other)).or_insert_with(|| {
        pairs.push((one, other));
        u32::try_from(notes + pairs.len()).unwrap_or(one)
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn ip(text: &str) -> Ip {
        text.parse::<std::net::IpAddr>().expect("an address").into()
    }

    fn set(lists: &[(&str, &str)]) -> IndicatorSet {
        IndicatorSet::of(lists.iter().map(|(name, text)| {
            let settings = ListSettings { name: Some((*name).to_owned()), ..ListSettings::default() };
            (settings, parse(text.as_bytes(), None).expect("a list"))
        }))
    }

    fn names(set: &IndicatorSet, address: &str) -> Vec<(String, String)> {
        set.look_up(ip(address)).into_iter().map(|listed| (listed.list.name.clone(), listed.why())).collect()
    }

    #[test]
    fn all_lists_say_what_they_say_of_an_address() {
        let set = set(&[
            ("a", "192.0.2.0/24 # net\n192.0.2.9 # host\n2001:db8::/32\n"),
            ("b", "192.0.2.9\t7\n198.51.100.1\t3\n"),
            ("empty", "# nothing\n"),
            ("c", "192.0.0.0-192.0.2.255 # range\n"),
        ]);
        let said =
            |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        assert_eq!(names(&set, "192.0.2.9"), said(&[("a", "host"), ("b", "score 7"), ("c", "range")]));
        assert_eq!(names(&set, "192.0.2.8"), said(&[("a", "net"), ("c", "range")]));
        assert_eq!(names(&set, "192.0.1.8"), said(&[("c", "range")]));
        assert_eq!(names(&set, "198.51.100.1"), said(&[("b", "score 3")]));
        assert_eq!(names(&set, "2001:db8:1::"), said(&[("a", "")]));
        for address in ["198.51.100.0", "198.51.100.2", "192.0.3.0", "191.255.255.255", "2001:db9::", "::192.0.2.9"] {
            assert_eq!(names(&set, address), [], "{address}");
        }
        assert!(IndicatorSet::default().is_empty() && IndicatorSet::default().look_up(ip("192.0.2.9")).is_empty());
        assert_eq!(set.lists().iter().map(|list| list.entries).collect::<Vec<_>>(), [3, 2, 0, 1]);
    }

    #[test]
    fn a_list_that_is_taken_out_says_what_it_has_said() {
        let all = "192.0.2.0/24 # net\n192.0.2.9 # host\n2001:db8::/32\nffff::/16 # end\n255.255.255.0/24\n";
        let others = set(&[("a", "192.0.2.8/30\n2001:db8:1::1\n"), ("b", all), ("c", "192.0.0.0/16 # wide\n")]);
        let again = IndicatorSet::of([(ListSettings::default(), others.taken_out(1).expect("a list"))]);
        assert_eq!((again.lists()[0].name.as_str(), again.lists()[0].id), ("b", others.lists()[1].id));
        for address in
            ["192.0.2.0", "192.0.2.9", "192.0.2.255", "192.0.3.0", "2001:db8:1::1", "ffff::1", "255.255.255.255"]
        {
            let before: Vec<_> = names(&others, address).into_iter().filter(|(name, _)| name == "b").collect();
            assert_eq!(names(&again, address), before, "{address}");
        }
        assert_eq!(again.lists()[0].entries, 6, "the network is divided by the host in it");
        assert!(others.taken_out(3).is_none());
    }

    #[test]
    fn overlapping_ranges_cover_what_they_cover() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let lists: Vec<Vec<(u32, u32)>> = (0..random.usize(1..6))
                .map(|_| {
                    (0..random.usize(1..20))
                        .map(|_| (random.u32(1..200), random.u32(1..200)))
                        .map(|(a, b)| (a.min(b), a.max(b)))
                        .collect()
                })
                .collect();
            let set = IndicatorSet::of(lists.iter().enumerate().map(|(index, ranges)| {
                let v4 = ranges.iter().map(|(first, last)| (*first, *last, 0)).collect();
                let settings = ListSettings { name: Some(index.to_string()), ..ListSettings::default() };
                (settings, Parsed { v4, notes: vec![Note::default()], ..Parsed::default() })
            }));
            for address in 0..210_u32 {
                let found: Vec<usize> = set
                    .look_up(std::net::Ipv4Addr::from_bits(address).into())
                    .iter()
                    .map(|listed| listed.list.name.parse().expect("a number"))
                    .collect();
                let plainly: Vec<usize> = (0..lists.len())
                    .filter(|list| lists[*list].iter().any(|(first, last)| (*first..=*last).contains(&address)))
                    .collect();
                assert_eq!(found, plainly, "{address} with seed {seed}");
            }
            // Each list can be had out of it again.
            let again = IndicatorSet::of((0..lists.len()).map(|at| {
                let taken = set.taken_out(at).expect("a list");
                assert!(taken.len() <= 2 * lists[at].len(), "{taken:?}");
                (ListSettings::default(), taken)
            }));
            for address in (0..210_u32).map(|address| std::net::Ipv4Addr::from_bits(address).into()) {
                let of = |set: &IndicatorSet| {
                    set.look_up(address).iter().map(|listed| listed.list.name.clone()).collect::<Vec<_>>()
                };
                assert_eq!(of(&again), of(&set), "seed {seed}");
            }
        }
    }
}
