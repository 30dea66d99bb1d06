//! Chance: everything that can be done with a spool, in any order, against a list in memory.

use super::*;

/// What the spool should be like.
#[derive(Default)]
struct Model {
    next: u64,
    /// Arrived, all since the beginning.
    retired: Vec<u64>,
    in_flight: VecDeque<(Position, u64)>,
    unread: VecDeque<u64>,
    lost: Lost,
}

impl Model {
    /// What `losses` has more now: the oldest of `from`.
    fn lose(lost: &mut Lost, losses: &Losses, from: &mut VecDeque<u64>) {
        while *lost != losses.total() {
            *lost += message(from.pop_front().expect("losses are those of messages")).weight;
        }
    }

    fn append(&mut self, spool: &mut Spool, losses: &Losses, random: &mut fastrand::Rng) {
        for _ in 0..random.usize(1..200) {
            let length = random.usize(8..3000);
            spool.append(&sized(self.next, length, &templates(random.u8(0..3) / 2))).expect("it is appended");
            Self::lose(&mut self.lost, losses, &mut self.unread);
            self.unread.push_back(self.next);
            self.next += 1;
        }
    }

    fn read(&mut self, spool: &mut Spool, random: &mut fastrand::Rng) {
        for _ in 0..random.usize(1..300) {
            let got = spool.read().expect("it reads").map(|(position, message)| (position, number(&message)));
            assert_eq!(got.map(|(_, number)| number), self.unread.pop_front());
            self.in_flight.extend(got);
        }
    }

    fn rewind(&mut self, spool: &mut Spool, losses: &Losses, random: &mut fastrand::Rng) {
        if self.in_flight.is_empty() {
            return;
        }
        let back = self.in_flight.split_off(random.usize(..self.in_flight.len()));
        spool.rewind(back[0].0);
        let mut back: VecDeque<_> = back.into_iter().map(|(_, number)| number).collect();
        Self::lose(&mut self.lost, losses, &mut back);
        back.append(&mut self.unread);
        self.unread = back;
    }

    fn retire(&mut self, spool: &mut Spool, random: &mut fastrand::Rng) {
        let count = random.usize(..=self.in_flight.len());
        let position = self.in_flight.get(count).map_or(spool.position(), |(position, _)| *position);
        spool.retire(position).expect("it is retired");
        self.retired.extend(self.in_flight.drain(..count).map(|(_, number)| number));
    }

    /// After a restart. What was in flight has been gone back to, so that none of it is lost uncounted.
    fn reopened(&mut self, spool: &Spool, synced: bool) {
        let again = spool.waiting().messages - self.unread.len() as u64;
        assert!(again < if synced { 1 } else { UNSAVED_BELOW }, "{again} once more");
        let start = self.retired.len() - usize::try_from(again).expect("it is small");
        for number in self.retired.split_off(start).into_iter().rev() {
            self.unread.push_front(number);
        }
    }
}

#[test]
fn whatever_is_done_the_spool_is_as_a_list_would_be() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..6 {
        let (folder, losses, mut model) = (folder(), Losses::default(), Model::default());
        let open = || Spool::open(folder.path(), SMALLEST_BOUND, losses.clone()).expect("it opens");
        let mut spool = open();
        for _ in 0..200 {
            match random.u8(0..100) {
                0..35 => model.append(&mut spool, &losses, &mut random),
                35..60 => model.read(&mut spool, &mut random),
                60..70 => model.rewind(&mut spool, &losses, &mut random),
                70..90 => model.retire(&mut spool, &mut random),
                90..95 => spool.sync().expect("it is synced"),
                _ => {
                    if let Some((first, _)) = model.in_flight.front().copied() {
                        spool.rewind(first);
                        let mut back = model.in_flight.drain(..).map(|(_, number)| number).collect();
                        Model::lose(&mut model.lost, &losses, &mut back);
                        back.append(&mut model.unread);
                        model.unread = back;
                    }
                    let synced = random.bool();
                    if synced {
                        spool.sync().expect("it is synced");
                    }
                    drop(spool);
                    spool = open();
                    model.reopened(&spool, synced);
                }
            }
            let waiting = spool.waiting();
            let expected = (model.unread.len() as u64, weight(model.unread.iter().copied()));
            assert_eq!((waiting.messages, waiting.weight), expected);
            assert_eq!(spool.is_empty(), model.unread.is_empty());
            assert!(files(&folder).1 <= SMALLEST_BOUND && files(&folder).1 == spool.octets);
        }
        assert_eq!((rest(&mut spool), spool.damage()), (model.unread.into(), Damage::default()));
        assert!(losses.total() != Lost::default(), "the bound was reached");
    }
}
