/// What waits for the result of a running call, in the order in which it came. Anything is taken out from wherever it stands without a look at
/// the rest: a peer chooses how many wait, and in which order it cancels them or lets their time pass.
pub(super) struct Queue<T> {
    /// By their places, which go up. What was taken out leaves a gap.
    places: Vec<(u64, Option<T>)>,
    /// Never more than half of the places, so that gaps take no more room than what waits.
    gaps: usize,
    /// No place is used again.
    next: u64,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Queue { places: Vec::new(), gaps: 0, next: 0 }
    }

    /// Adds behind everything else. Returns the place, by which it can be taken out.
    pub(super) fn push(&mut self, waiting: T) -> u64 {
        let place = self.next;
        self.next += 1;
        self.places.push((place, Some(waiting)));
        place
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> Queue<T> {
        let next = self.next;
        std::mem::replace(self, Queue { next, ..Queue::new() })
    }

    /// Takes out what stands at `place`, unless that has happened already.
    pub(super) fn take(&mut self, place: u64) -> Option<T> {
        let at = self.places.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let taken = self.places[at].1.take()?;
        self.gaps += 1;
        if self.gaps * 2 > self.places.len() {
            self.places.retain(|(_, waiting)| waiting.is_some());
            self.gaps = 0;
        }
        Some(taken)
    }
}

impl<T> IntoIterator for Queue<T> {
    type Item = T;
    type IntoIter =
        std::iter::FilterMap<std::vec::IntoIter<(u64, Option<T>)>, fn((u64, Option<T>)) -> Option<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.places.into_iter().filter_map(|(_, waiting)| waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_taken_out_comes_in_order() {
        let mut queue = Queue::new();
        let mut places: Vec<u64> = (0..5).map(|n| queue.push(n)).collect();
        assert_eq!(queue.take(places[4]), Some(4));
        assert_eq!(queue.take(places[1]), Some(1));
        assert_eq!(queue.take(places[1]), None);
        places.push(queue.push(5));
        assert_eq!(queue.take(places[0]), Some(0));
        assert_eq!(queue.take(places[5]), Some(5));
        queue.push(6);
        assert_eq!(queue.into_iter().collect::<Vec<_>>(), [2, 3, 6]);
    }

    /// In either direction and criss-cross: whoever looked at the others each time would not come to an end.
    #[test]
    fn taking_out_costs_the_same_however_many_wait() {
        const MANY: u64 = 200_000;
        let forwards = |at| at;
        let backwards = |at| MANY - 1 - at;
        let across = |at| at * 7_919 % MANY;
        for order in [forwards as fn(u64) -> u64, backwards, across] {
            let mut queue = Queue::new();
            let places: Vec<u64> = (0..MANY).map(|n| queue.push(n)).collect();
            for at in 0..MANY - 1 {
                let at = order(at);
                assert_eq!(queue.take(places[at as usize]), Some(at));
            }
            assert_eq!(queue.into_iter().collect::<Vec<_>>(), [order(MANY - 1)]);
        }
    }

    #[test]
    fn a_place_of_before_means_nothing_of_what_came_since() {
        let mut queue = Queue::new();
        let before = queue.push(0);
        assert_eq!(queue.take_all().into_iter().collect::<Vec<_>>(), [0]);
        let since = queue.push(1);
        assert_eq!(queue.take(before), None);
        assert_eq!(queue.take(since), Some(1));
    }

    #[test]
    fn gaps_take_no_more_room_than_what_waits() {
        let mut queue = Queue::new();
        let first = queue.push(0);
        for n in 1..100_000 {
            let place = queue.push(n);
            assert_eq!(queue.take(place), Some(n));
            assert!(queue.places.len() <= 2, "{} places", queue.places.len());
        }
        assert_eq!(queue.take(first), Some(0));
        assert!(queue.places.is_empty());
    }
}
