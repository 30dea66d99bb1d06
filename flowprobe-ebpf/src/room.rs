//! How the room in the flow maps is given out: flows that are known keep theirs when a flood of new ones comes, and what finds
//! none is counted by where it goes.

use bytemuck::{Pod, Zeroable};

use crate::flow::{Address, FlowKey};

/// An entry of the map `ROOM`: what was put into one flow map of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Room {
    /// Flows in the map. Exact once the generation is retired.
    pub flows: u64,
    /// Not 0 once the daemon was told that the map is filling.
    pub told: u64,
}

/// Number of entries in the map `ROOM`.
pub const ROOMS: u32 = 4;

/// Index into `ROOM` of the map of flows out of tunnels, or of the one of other flows, of a generation.
#[must_use]
#[inline(always)]
pub const fn room_index(generation: u32, tunnelled: bool) -> u32 {
    (generation & 1) * 2 + tunnelled as u32
}

/// Of a flow map for `max_flows` flows: how many flows may be in it before those that are not known find no more room. A
/// quarter is kept for those that are.
#[must_use]
pub const fn newcomers(max_flows: u32) -> u32 {
    let reserve = max_flows / 4;
    max_flows - reserve
}

/// Of a flow map for `max_flows` flows: at how many the daemon is told that it is filling.
#[must_use]
pub const fn filling(max_flows: u32) -> u32 {
    max_flows.div_ceil(2)
}

/// Marks in a block of the map `KNOWN`, one octet each.
pub const MARKS_PER_BLOCK: usize = 64;

/// Known flows for which there is one block: each has four marks to itself.
const FLOWS_PER_BLOCK: u32 = 16;

/// A block of marks.
pub type Marks = [u8; MARKS_PER_BLOCK];

/// Blocks of the map `KNOWN` for `max_flows` known flows: four marks for each. A flow whose mark another flow has set is taken
/// for known.
#[must_use]
pub const fn mark_blocks(max_flows: u32) -> u32 {
    max_flows.div_ceil(FLOWS_PER_BLOCK)
}

/// Where a flow's mark is: the block among `blocks`, and the octet in it. Tunnels are not told apart.
#[must_use]
#[inline(always)]
pub fn mark_of(key: &FlowKey, blocks: u32) -> (u32, usize) {
    let words: [u32; 12] = bytemuck::cast(*key);
    let mut hash: u64 = 0;
    for pair in words.as_chunks::<2>().0 {
        // Multiplication by an odd number spreads upwards; the rotation brings it down again.
        hash = (hash ^ (pair[0] as u64 | (pair[1] as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let block = ((hash >> 32) * blocks as u64) >> 32;
    (block as u32, (hash >> 8) as usize & (MARKS_PER_BLOCK - 1))
}

/// The time in which marks are set, as it lies in `CONTROL[1]`: its number, 1 to 255, and the one before in the second octet. A
/// mark is the number of the time in which it was set, and holds for the next one too; so nobody has to take marks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The first: its number is 1.
    pub const FIRST: Self = Self(1 | 255 << 8);

    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        let current = self.0 & 0xff;
        Self((current % 255 + 1) | current << 8)
    }

    /// What a mark that is set now looks like.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest octet is meant")]
    pub const fn mark(self) -> u8 {
        self.0 as u8
    }

    /// Whether `mark` was set in this time or the one before.
    #[must_use]
    #[inline(always)]
    pub const fn holds(self, mark: u8) -> bool {
        mark as u32 == self.0 & 0xff || mark as u32 == self.0 >> 8 & 0xff
    }
}

/// Where packets went whose flow found no room. Key of the maps `OVER_HOSTS_*` and `OVER_NETS_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct OverflowKey {
    /// Destination address, zero beyond the prefix.
    pub destination: Address,
    /// The kernel's index of the interface.
    pub ifindex: u32,
    /// A [`crate::Direction`].
    pub direction: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// IANA protocol number.
    pub protocol: u8,
    /// Octets of the IPv6 or IPv4-mapped address that count: 16 for a host, else [`OverflowKey::NET_V4`] or
    /// [`OverflowKey::NET_V6`].
    pub prefix_octets: u8,
}

impl OverflowKey {
    /// Of an IPv4 network: a /24.
    pub const NET_V4: u8 = 15;
    /// Of an IPv6 network: a /64.
    pub const NET_V6: u8 = 8;

    /// The destination of a flow.
    #[must_use]
    #[inline(always)]
    pub const fn host(key: &FlowKey) -> Self {
        Self {
            destination: key.destination,
            ifindex: key.ifindex,
            direction: key.direction,
            ip_version: key.ip_version,
            protocol: key.protocol,
            prefix_octets: 16,
        }
    }

    /// The network in which the destination is.
    #[must_use]
    #[inline(always)]
    pub const fn net(key: &FlowKey) -> Self {
        let [a, b, c, d] = key.destination.0;
        let (destination, prefix_octets) = if key.ip_version == 4 {
            ([a, b, c, d & 0xffff_ff00_u32.to_be()], Self::NET_V4)
        } else {
            ([a, b, 0, 0], Self::NET_V6)
        };
        Self { destination: Address(destination), prefix_octets, ..Self::host(key) }
    }

    /// Length of the prefix, bits.
    #[must_use]
    pub const fn prefix_length(&self) -> u8 {
        let bits = self.prefix_octets.saturating_mul(8);
        if self.ip_version == 4 { bits.saturating_sub(96) } else { bits }
    }
}

/// Destinations that each of the overflow maps holds. What goes elsewhere is counted in its network, and what goes to further
/// networks in the sum only.
pub const OVERFLOW_DESTINATIONS: usize = 4096;

const _: () = {
    assert!(size_of::<Room>() == 16);
    assert!(MARKS_PER_BLOCK == 4 * FLOWS_PER_BLOCK as usize);
    assert!(size_of::<OverflowKey>() == 24);
};

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn key(number: u32) -> FlowKey {
        FlowKey {
            source: Ipv4Addr::from(0x0a00_0000 | number).into(),
            destination: Ipv4Addr::new(192, 0, 2, 77).into(),
            ip_version: 4,
            protocol: 6,
            ..FlowKey::default()
        }
    }

    #[test]
    fn marks_lie_in_the_map_and_rarely_on_each_other() {
        const FLOWS: u32 = 10_000;
        let blocks = mark_blocks(FLOWS);
        let mut set = [[false; MARKS_PER_BLOCK]; 625];
        assert_eq!(blocks as usize, set.len());
        let mut shared = 0;
        for number in 0..FLOWS {
            let (block, mark) = mark_of(&key(number), blocks);
            shared += u32::from(core::mem::replace(&mut set[block as usize][mark], true));
        }
        // Of as many throws into four times as many places, about an eighth meet another one.
        assert!((FLOWS / 10..FLOWS / 7).contains(&shared), "{shared}");
    }

    #[test]
    fn a_mark_holds_until_the_next_time_but_one_is_over() {
        let mut epoch = Epoch::FIRST;
        assert!(!epoch.holds(0));
        for _ in 0..600 {
            let mark = epoch.mark();
            assert!(mark != 0 && epoch.holds(mark) && epoch.next().holds(mark) && !epoch.next().holds(0));
            assert!(!epoch.next().next().holds(mark));
            epoch = epoch.next();
        }
    }

    #[test]
    fn a_network_is_the_beginning_of_its_hosts() {
        let host = OverflowKey::host(&key(1));
        let net = OverflowKey::net(&key(1));
        assert_eq!((host.prefix_length(), net.prefix_length()), (32, 24));
        assert_eq!(net.destination.to_ipv4(), Ipv4Addr::new(192, 0, 2, 0));
        let destination: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().expect("an address");
        let v6 = FlowKey { destination: destination.into(), ip_version: 6, ..key(1) };
        assert_eq!((OverflowKey::host(&v6).prefix_length(), OverflowKey::net(&v6).prefix_length()), (128, 64));
        let net: Ipv6Addr = "2001:db8:1:2::".parse().expect("an address");
        assert_eq!(OverflowKey::net(&v6).destination.to_ipv6(), net);
    }

    #[test]
    fn there_is_room_for_known_flows_beyond_that_for_new_ones() {
        for max_flows in [1, 3, 4, 1024, 1 << 24] {
            assert!(filling(max_flows) <= newcomers(max_flows) && newcomers(max_flows) <= max_flows);
            assert!(mark_blocks(max_flows) > 0);
        }
    }
}
