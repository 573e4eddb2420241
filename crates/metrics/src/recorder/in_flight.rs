//! The most requests in flight in each second.
//!
//! A level lasts until it changes, so a second without a change has one too. And a second is told once, when it is
//! over: maxima of different lanes add up when they are merged, so two halves of one lane's second must not be.

/// One lane's level.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    second: u32,
    level: u64,
    most: u64,
}

impl InFlight {
    /// The level at an instant of `second`; tells the seconds before it.
    pub(super) fn set(&mut self, second: u32, level: u64, told: impl FnMut(u32, u64)) {
        self.close_before(second, told);
        self.level = level;
        self.most = self.most.max(level);
    }

    /// Every second before `second` is over.
    pub(super) fn close_before(&mut self, second: u32, mut told: impl FnMut(u32, u64)) {
        while self.second < second {
            if self.most > 0 {
                told(self.second, self.most);
            }
            self.second += 1;
            self.most = self.level;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_told_once_when_it_is_over_and_a_level_lasts() {
        let (mut gauge, mut told) = (InFlight::default(), Vec::new());
        let mut tell = |second, most| told.push((second, most));
        // Two start in second 1, one of them ends in second 4; second 2 and 3 see no change.
        gauge.set(1, 1, &mut tell);
        gauge.close_before(1, &mut tell);
        gauge.set(1, 2, &mut tell);
        gauge.close_before(3, &mut tell);
        gauge.set(4, 1, &mut tell);
        gauge.close_before(6, &mut tell);
        assert_eq!(told, [(1, 2), (2, 2), (3, 2), (4, 2), (5, 1)]);
    }
}
