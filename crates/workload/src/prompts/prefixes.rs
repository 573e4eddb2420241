//! Which groups a prompt belongs to, and the beginnings that it shares with theirs.
//!
//! Groups are drawn for each request from a stream of its own, so that every worker puts request k into the
//! same groups; a group's text is a stream of the salt, numbered by the way through the levels.

use super::material::Append;
use super::synthetic::Scale;
use crate::plan::{PrefixLevel, PrefixSize};
use crate::random::{Purpose, Random};

/// The levels of a plan, ready to draw from.
#[derive(Debug)]
pub(super) struct Prefixes {
    levels: Vec<Level>,
    seed: u64,
    salt: u64,
    scale: Scale,
}

#[derive(Debug)]
struct Level {
    groups: u64,
    size: PrefixSize,
    /// Sums of the weights of the first groups; empty where all are alike.
    cumulative: Vec<f64>,
}

/// What a prompt begins with, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Beside the prompt's own length.
    pub(super) beside: u32,
    /// Of it.
    pub(super) inside: u32,
    /// Both, in tokens of our tokenizer.
    pub(super) made: u32,
}

impl Level {
    fn new(level: &PrefixLevel) -> Self {
        let mut sum = 0.0;
        let weights = (1..=level.groups.get()).map(|group| {
            sum += libm::pow(f64::from(group), -level.zipf);
            sum
        });
        Self {
            groups: level.groups.get().into(),
            size: level.size,
            cumulative: if level.zipf == 0.0 { Vec::new() } else { weights.collect() },
        }
    }

    /// A group by its popularity; one draw.
    fn draw(&self, random: &mut Random) -> u64 {
        let Some(all) = self.cumulative.last() else { return random.below_u64(self.groups) };
        let at = random.unit() * all;
        self.cumulative.partition_point(|sum| *sum < at) as u64
    }

    /// Tokens before a prompt of `length`.
    fn tokens(&self, length: u32) -> Taken {
        match self.size {
            PrefixSize::Tokens(tokens) => Taken { beside: tokens.get(), ..Taken::default() },
            PrefixSize::Share(share) => {
                let inside = (share * f64::from(length)).round() as u32;
                Taken { inside, ..Taken::default() }
            }
        }
    }
}

impl Prefixes {
    pub(super) fn new(levels: &[PrefixLevel], seed: u64, salt: u64, scale: Scale) -> Self {
        Self { levels: levels.iter().map(Level::new).collect(), seed, salt, scale }
    }

    /// The groups of request `number`, outermost first.
    pub(super) fn groups(&self, number: u64) -> Vec<u64> {
        let mut random = Random::new(self.seed, Purpose::PrefixGroups, number);
        self.levels.iter().map(|level| level.draw(&mut random)).collect()
    }

    /// Appends what request `number`, whose own length is `length`, begins with.
    pub(super) fn append(
        &self,
        material: &dyn Append,
        text: &mut String,
        number: u64,
        length: u32,
    ) -> Taken {
        let (mut all, mut way) = (Taken::default(), 0);
        for ((depth, level), group) in (1..).zip(&self.levels).zip(self.groups(number)) {
            way = way * level.groups + group;
            let taken = level.tokens(length);
            // The plan bounds the ways: the depth stands above them. Stream 0 is the prefix common to all.
            let stream = (depth << 48) | way;
            let mut random = Random::new(self.salt, Purpose::CommonPrefix, stream);
            let made = self.scale.ours(taken.beside + taken.inside);
            material.append(text, &mut random, made);
            all.made += made;
            all.beside += taken.beside;
            all.inside += taken.inside;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::toy::toy;

    fn level(groups: u32, tokens: u32, zipf: f64) -> PrefixLevel {
        PrefixLevel {
            name: "x".to_owned(),
            groups: NonZeroU32::new(groups).unwrap(),
            size: PrefixSize::Tokens(NonZeroU32::new(tokens).unwrap()),
            zipf,
        }
    }

    fn text(prefixes: &Prefixes, number: u64, length: u32) -> String {
        let mut text = String::new();
        let _taken = prefixes.append(toy().words().unwrap(), &mut text, number, length);
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn groups_are_as_popular_as_zipf_says(groups in 1u32..40, tenths in 0u32..20, seed in any::<u64>()) {
            const DRAWS: u64 = 20_000;
            let zipf = f64::from(tenths) / 10.0;
            let prefixes = Prefixes::new(&[level(groups, 1, zipf)], seed, 1, Scale::by(1.0));
            let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
            (0..DRAWS).for_each(|number| *counts.entry(prefixes.groups(number)[0]).or_default() += 1);
            let weights: Vec<f64> = (1..=groups).map(|group| f64::from(group).powf(-zipf)).collect();
            let all: f64 = weights.iter().sum();
            for (group, weight) in (0..).zip(&weights) {
                let share = weight / all;
                let counted = f64::from(counts.get(&group).copied().unwrap_or(0)) / DRAWS as f64;
                // Six standard errors, and five draws for the long tail of those that are few: over 24 cases of 40 groups
                // nothing is expected beyond.
                let allowed = 6.0 * (share * (1.0 - share) / DRAWS as f64).sqrt() + 5.0 / DRAWS as f64;
                prop_assert!((counted - share).abs() <= allowed, "group {group}: {counted} of {share}");
            }
        }

        #[test]
        fn prompts_share_exactly_the_levels_whose_groups_they_share(one in 0u64..5_000, other in 0u64..5_000) {
            let levels = [level(2, 5, 0.0), level(3, 7, 1.0), level(4, 9, 0.5)];
            let prefixes = Prefixes::new(&levels, 42, 9, Scale::by(1.0));
            let (mine, theirs) = (prefixes.groups(one), prefixes.groups(other));
            let common = mine.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
            let tokens = [0, 5, 12, 21][common];
            let (mine, theirs) = (text(&prefixes, one, 1), text(&prefixes, other, 1));
            let shared = mine.split(' ').zip(theirs.split(' ')).take_while(|(a, b)| a == b).count();
            prop_assert!(shared >= tokens);
            // Different groups may begin with the same word by accident, of 145; not with three.
            prop_assert!(common == 3 || shared < tokens + 3, "{shared} of {tokens}");
        }
    }

    #[test]
    fn a_share_is_a_longer_beginning_of_the_same_text_in_a_longer_prompt() {
        let size = PrefixSize::Share(0.5);
        let prefixes =
            Prefixes::new(&[PrefixLevel { size, ..level(1, 1, 0.0) }], 1, 2, Scale::by(1.0));
        let (short, long) = (text(&prefixes, 0, 10), text(&prefixes, 1, 31));
        assert_eq!((short.split(' ').count(), long.split(' ').count()), (5, 16));
        assert!(long.starts_with(&short));
    }
}
