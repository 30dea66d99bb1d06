//! The tunnels out of which open flows came, each once: many flows share one, most flows have none, and a number is a tenth of
//! its size.

use flowprobe_ebpf::Tunnel;
use hashbrown::HashMap;

/// A tunnel's number; [`TunnelNumber::NONE`] for flows that came out of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TunnelNumber(u32);

impl TunnelNumber {
    pub(super) const NONE: Self = Self(0);
}

/// Tunnels by number and numbers by tunnel.
#[derive(Default)]
pub(super) struct TunnelNumbers {
    numbers: HashMap<Tunnel, u32>,
    /// The tunnel of number 1 and so on, and how many flows hold it.
    held: Vec<(Tunnel, u32)>,
    free: Vec<u32>,
}

impl TunnelNumbers {
    /// The number of `tunnel`, if a flow holds it.
    pub(super) fn find(&self, tunnel: &Tunnel) -> Option<TunnelNumber> {
        if !tunnel.is_some() {
            return Some(TunnelNumber::NONE);
        }
        self.numbers.get(tunnel).map(|number| TunnelNumber(*number))
    }

    pub(super) fn tunnel(&self, number: TunnelNumber) -> Tunnel {
        position(number).map_or(Tunnel::NONE, |position| self.held[position].0)
    }

    /// One flow more is out of `tunnel`.
    pub(super) fn hold(&mut self, tunnel: &Tunnel) -> TunnelNumber {
        let number = self.find(tunnel).unwrap_or_else(|| self.add(*tunnel));
        if let Some(position) = position(number) {
            self.held[position].1 += 1;
        }
        number
    }

    /// One flow less is out of the tunnel.
    pub(super) fn release(&mut self, number: TunnelNumber) {
        let Some(position) = position(number) else { return };
        let (tunnel, flows) = &mut self.held[position];
        *flows -= 1;
        if *flows == 0 {
            self.numbers.remove(tunnel);
            self.free.push(number.0);
        }
    }

    fn add(&mut self, tunnel: Tunnel) -> TunnelNumber {
        let number = self.free.pop().unwrap_or_else(|| {
            self.held.push((Tunnel::NONE, 0));
            // There are no more tunnels than flows, and of those fewer than a u32 counts.
            u32::try_from(self.held.len()).unwrap_or(u32::MAX)
        });
        self.held[number as usize - 1] = (tunnel, 0);
        self.numbers.insert(tunnel, number);
        TunnelNumber(number)
    }
}

fn position(number: TunnelNumber) -> Option<usize> {
    (number.0 as usize).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use flowprobe_ebpf::TunnelKind;

    use super::*;

    fn tunnel(id: u32) -> Tunnel {
        Tunnel { kind: TunnelKind::Vxlan as u8, id, ..Tunnel::NONE }
    }

    #[test]
    fn a_number_is_a_tunnels_as_long_as_a_flow_holds_it() {
        let mut numbers = TunnelNumbers::default();
        assert_eq!(numbers.hold(&Tunnel::NONE), TunnelNumber::NONE);
        let [one, again, other] = [1, 1, 2].map(|id| numbers.hold(&tunnel(id)));
        assert!(one == again && one != other && one != TunnelNumber::NONE);
        numbers.release(one);
        assert_eq!((numbers.find(&tunnel(1)), numbers.tunnel(one)), (Some(one), tunnel(1)));
        numbers.release(one);
        assert_eq!(numbers.find(&tunnel(1)), None);
        assert_eq!(numbers.hold(&tunnel(3)), one);
        assert_eq!((numbers.tunnel(one), numbers.tunnel(other)), (tunnel(3), tunnel(2)));
    }
}
